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

    def next(self, app_id: str, conversation: str) -> int:
        """A time for a message: now, and above any that this conversation was given here."""
        now = self._clock_ms()
        if now > self._highest or len(self._given) >= MAX_REMEMBERED:
            # Whatever was given is past, so it can't come again. Nearly every call ends up here.
            self._given.clear()
        key = (app_id, conversation)
        time = max(now, self._given.get(key, 0) + 1)
        self._given[key] = time
        self._highest = max(self._highest, time)
        return time
