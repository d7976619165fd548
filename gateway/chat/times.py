"""The times of messages: within a conversation no two are equal.

A receipt names a message by its time alone, so messages of one conversation that a gateway accepts
within one millisecond get successive ones. Those run ahead of the clock by a second at most, so a
conversation takes 1,000 messages per second of each gateway, and another thousand at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from homeport import codes

from gateway.chat.refused import Refused

AHEAD_MS: Final = 1000
"""How far a message's time may be ahead of the clock."""

MAX_REMEMBERED: Final = 65_536
"""Conversations of one app that are remembered while its times are ahead, or the clock stands. Past
it all are forgotten, and what comes next in any of them is behind what all had."""


@dataclass(slots=True)
class _Given:
    """What was given to one app's conversations. What was forgotten is not above `floor`."""

    times: dict[str, int] = field(default_factory=dict)
    highest: int = 0
    floor: int = 0


class Times:
    """Gives times, in milliseconds since 1970. `clock_ms` gives the time of day."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._apps: dict[str, _Given] = {}

    def next(self, app_id: str, conversation: str) -> int:
        """A time for a message: now, and above any that this conversation was given here.

        Raises:
            Refused: rate_limited, where that would be more than `AHEAD_MS` from now.
        """
        now = self._clock_ms()
        given = self._apps.get(app_id)
        if given is None or given.highest > now + AHEAD_MS:
            # In the second case the clock was set back, and times go with it.
            given = self._apps[app_id] = _Given()
        elif now > given.highest or len(given.times) >= MAX_REMEMBERED:
            # Nearly every call ends up here: what was given is past.
            given.times.clear()
            given.floor = given.highest
        time = max(now, given.times.get(conversation, given.floor) + 1)
        if time > now + AHEAD_MS:
            raise Refused(
                codes.RATE_LIMITED,
                "A conversation takes 1,000 messages per second.",
                retry_after=AHEAD_MS / 1000,
            )
        given.times[conversation] = time
        given.highest = max(given.highest, time)
        return time

    def __len__(self) -> int:
        """How many conversations are remembered."""
        return sum(len(given.times) for given in self._apps.values())
