"""When a session must be pinged, warned or ended. Pure: the clocks' readings are passed in."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

EXPIRY_WARNING_S: Final = 60.0
MISSED_PINGS: Final = 2


class Due(Enum):
    """What a visit found."""

    PING = auto()
    SILENT = auto()
    EXPIRING = auto()
    EXPIRED = auto()


class Deadlines:
    """The deadlines of one live session.

    `now` is always a reading of the steady clock, `wall` one of the wall clock, both in seconds.
    A jump of the wall clock moves only what depends on the token.
    """

    __slots__ = ("_expires", "_heartbeat", "_last", "_pings", "_warn_at")

    def __init__(self, heartbeat_s: float, now: float, expires_s: int, wall: float) -> None:
        self._heartbeat = heartbeat_s
        self.heard(now)
        self.renewed(expires_s, wall)

    def heard(self, now: float) -> None:
        """A frame came from the client."""
        self._last = now  # heard from, or pinged
        self._pings = 0

    def renewed(self, expires_s: int, wall: float) -> None:
        """The token ends at `expires_s`: warn a minute before, or half-way if that is nearer."""
        left = expires_s - wall
        self._expires = expires_s
        self._warn_at: float | None = expires_s - min(EXPIRY_WARNING_S, left / 2)

    def visit(self, now: float, wall: float, listening: bool) -> list[Due]:
        """What is due. A client that is not being read (`listening` false) can't be silent."""
        if wall >= self._expires:
            return [Due.EXPIRED]
        due = []
        if listening and now >= self._last + self._heartbeat:
            if self._pings == MISSED_PINGS:
                return [Due.SILENT]
            self._pings += 1
            self._last = now
            due.append(Due.PING)
        if self._warn_at is not None and wall >= self._warn_at:
            self._warn_at = None
            due.append(Due.EXPIRING)
        return due

    def next_visit(self, now: float, wall: float) -> float:
        """When something may be due, by the steady clock: in a heartbeat at the latest."""
        token = self._expires if self._warn_at is None else self._warn_at
        ping = self._last + self._heartbeat
        if ping <= now:  # it is not being listened to
            ping = now + self._heartbeat
        return max(now, min(ping, now + token - wall))
