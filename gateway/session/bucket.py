"""A token bucket. Pure: the clock's reading is passed in.

Its state is one number, the time at which the bucket is full again. A token taken puts that off by
the time a token takes to come back.
"""

from __future__ import annotations


class TokenBucket:
    """`burst` tokens at once, and `rate` a second come back. It starts full.

    `now` is always a reading of the same steady clock, in seconds.
    """

    __slots__ = ("_full_at", "_interval", "_slack")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._full_at = now
        self.change(rate, burst)

    def change(self, rate: float, burst: int) -> None:
        """Hold to other numbers from now on. When it is full again does not change."""
        self._interval = 1 / rate
        # How far off `full_at` may be where one token is left. A hundredth of a token more, because
        # sums of intervals are not exact.
        self._slack = (burst - 0.99) * self._interval

    def wait(self, now: float) -> float:
        """Seconds until there is a token; 0.0 if there is one now."""
        wait = self._full_at - self._slack - now
        return wait if wait > 0.0 else 0.0

    def take(self, now: float) -> None:
        """Take a token. Ask `wait` first."""
        full_at = self._full_at
        self._full_at = (full_at if full_at > now else now) + self._interval
