"""The times of messages: within a conversation no two are equal.

A receipt names a message by its time alone, so messages of one conversation that a gateway accepts
within one millisecond get successive ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MAX_REMEMBERED: Final = 65_536
"""Conversations remembered while the clock stands, or was set back. Past it all are forgotten."""


class Times:
    """Gives times, in milliseconds since 1970. `clock_ms` gives the time of day."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._given: dict[tuple[str, str], int] = {}
        self._highest = 0
        self._floor = 0  # what was forgotten is not above it

    def next(self, app_id: str, conversation: str) -> int:
        """A time for a message: now, and above any that this conversation was given here."""
        now = self._clock_ms()
        if now > self._highest or len(self._given) >= MAX_REMEMBERED:
            # Nearly every call ends up here: what was given is past.
            self._given.clear()
            self._floor = self._highest
        key = (app_id, conversation)
        time = max(now, self._given.get(key, self._floor) + 1)
        self._given[key] = time
        self._highest = max(self._highest, time)
        return time
