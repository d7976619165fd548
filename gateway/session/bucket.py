"""A token bucket: how often something may happen. Pure: the clock's reading is passed in."""

from __future__ import annotations


class TokenBucket:
    """Holds `burst` tokens at most, and gets `rate` new ones a second; it begins full."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float) -> float:
        """Take one token: 0, or in how many seconds there will be one. `now` is steady seconds."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0
