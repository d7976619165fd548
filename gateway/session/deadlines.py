"""When a session must be pinged, warned, checked or ended. Pure: the clocks' readings are passed
in."""

from __future__ import annotations

from enum import Enum, auto
from math import inf
from typing import Final

EXPIRY_WARNING_S: Final = 60.0
MISSED_PINGS: Final = 2
STALLED_HEARTBEATS: Final = 2
"""For so many heartbeats a client may stay behind in reading."""

CHECK_INTERVAL_S: Final = 30.0
"""How often a session is compared with the store."""


class Due(Enum):
    """What a visit found."""

    PING = auto()
    SILENT = auto()
    EXPIRING = auto()
    EXPIRED = auto()
    STALLED = auto()
    CHECK = auto()


class Deadlines:
    """The deadlines of one live session.

    `now` is always a reading of the steady clock, `wall` one of the wall clock, both in seconds.
    A jump of the wall clock moves only what depends on the token.
    """

    __slots__ = ("_checked", "_expires", "_heartbeat", "_last", "_pings", "_stalled", "_warn_at")

    def __init__(self, heartbeat_s: float, now: float, expires_s: int, wall: float) -> None:
        self._heartbeat = heartbeat_s
        self._stalled: float | None = None
        self.heard(now)
        self.checked(now)
        self.renewed(expires_s, wall)

    def heard(self, now: float) -> None:
        """A frame came from the client."""
        self._last = now  # heard from, or pinged
        self._pings = 0

    def checked(self, now: float) -> None:
        """The session is compared with the store."""
        self._checked = now

    def stalled(self, now: float) -> None:
        """The client fell behind in reading, and is not read until it has caught up."""
        self._stalled = now

    def flowing(self) -> None:
        """The client has caught up."""
        self._stalled = None

    def renewed(self, expires_s: int, wall: float) -> None:
        """The token ends at `expires_s`: warn a minute before, or half-way if that is nearer."""
        left = expires_s - wall
        self._expires = expires_s
        self._warn_at: float | None = expires_s - min(EXPIRY_WARNING_S, left / 2)

    def visit(self, now: float, wall: float) -> list[Due]:
        """What is due. A client that is not read, because it is behind, can't be silent."""
        if now >= self._too_slow():
            return [Due.STALLED]
        if wall >= self._expires:
            return [Due.EXPIRED]
        due = []
        if self._stalled is None and now >= self._last + self._heartbeat:
            if self._pings == MISSED_PINGS:
                return [Due.SILENT]
            self._pings += 1
            self._last = now
            due.append(Due.PING)
        if self._warn_at is not None and wall >= self._warn_at:
            self._warn_at = None
            due.append(Due.EXPIRING)
        if now >= self._checked + CHECK_INTERVAL_S:
            due.append(Due.CHECK)
        return due

    def next_visit(self, now: float, wall: float) -> float:
        """When something may be due, by the steady clock: in a heartbeat at the latest."""
        token = self._expires if self._warn_at is None else self._warn_at
        ping = self._last + self._heartbeat
        if ping <= now:  # it is not being listened to
            ping = now + self._heartbeat
        # A heartbeat may be longer than a connected device may go unseen.
        check = now + CHECK_INTERVAL_S
        return max(now, min(ping, now + token - wall, check, self._too_slow()))

    def _too_slow(self) -> float:
        if self._stalled is None:
            return inf
        return self._stalled + STALLED_HEARTBEATS * self._heartbeat
