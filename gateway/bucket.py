"""A token bucket. Pure: the clock's reading is passed in.

Its state is one number, the time at which the bucket is full again. A token taken puts that off by
the time a token takes to come back.
"""

from __future__ import annotations

from typing import Generic, TypeVar

_Key = TypeVar("_Key")


class TokenBucket:
    """`burst` tokens at once, and `rate` a second come back. It starts full.

    `now` is always a reading of the same steady clock, in seconds.
    """

    __slots__ = ("_burst", "_full_at", "_interval")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._full_at = now
        self.change(rate, burst)

    def change(self, rate: float, burst: int) -> None:
        """Hold to other numbers from now on. When it is full again does not change."""
        self._interval = 1 / rate
        # A hundredth of a token more, because sums of intervals are not exact.
        self._burst = burst + 0.01

    def wait(self, now: float, tokens: int = 1) -> float:
        """Seconds until there are as many tokens; 0.0 if there are now. More than a burst are there
        once the bucket is full."""
        left = self._burst - tokens
        wait = self._full_at - (left if left > 0.0 else 0.01) * self._interval - now
        return wait if wait > 0.0 else 0.0

    def left(self, now: float) -> tuple[int, float]:
        """How many tokens there are, and the seconds until the bucket is full."""
        missing_s = max(self._full_at - now, 0.0)
        return max(int(self._burst - missing_s / self._interval), 0), missing_s

    def full(self, now: float) -> bool:
        """True when nothing is missing."""
        return self._full_at <= now

    def take(self, now: float, tokens: int = 1) -> None:
        """Take tokens. Ask `wait` first. Those that are not there are a debt."""
        full_at = self._full_at
        self._full_at = (full_at if full_at > now else now) + tokens * self._interval


class RecentBuckets(Generic[_Key]):
    """A bucket for each of those who took a token lately.

    At most `capacity` are kept: where there are more at once, those who took longest ago are taken
    for full. So whoever comes under many names costs a bounded memory.
    """

    def __init__(self, rate: float, burst: int, capacity: int) -> None:
        self._rate = rate
        self._burst = burst
        self._capacity = capacity
        self._buckets: dict[_Key, TokenBucket] = {}  # in the order of their last token

    def __len__(self) -> int:
        return len(self._buckets)

    def change(self, rate: float, burst: int) -> None:
        """Hold to other numbers from now on."""
        self._rate, self._burst = rate, burst
        for bucket in self._buckets.values():
            bucket.change(rate, burst)

    def take(self, key: _Key, now: float) -> float:
        """Take a token of `key` and return 0.0, or take none and return the seconds until there is
        one."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = TokenBucket(self._rate, self._burst, now)
        elif wait := bucket.wait(now):
            return wait
        else:
            del self._buckets[key]
        bucket.take(now)
        self._buckets[key] = bucket
        self._forget(now)
        return 0.0

    def _forget(self, now: float) -> None:
        """Drop the oldest where there are too many, and up to two that are full by now: a full one
        is as good as none, and one was added at the most."""
        for _ in range(2):
            key, oldest = next(iter(self._buckets.items()))
            if len(self._buckets) <= self._capacity and not oldest.full(now):
                return
            del self._buckets[key]
