"""The hubs of a process together: what all of them are told."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gateway.hub.hub import Hub, HubSession
from gateway.hub.presence import PresenceHub
from gateway.hub.rooms import RoomHub


@dataclass(frozen=True, slots=True)
class Hubs:
    """The hub of users' own channels, that of rooms, and that of presence."""

    users: Hub
    rooms: RoomHub
    presence: PresenceHub

    def leave(self, session: HubSession) -> None:
        """`session` has ended: it hears nothing more, sits in no room and watches nobody."""
        self.users.leave(session)
        self.rooms.gone(session.id)
        self.presence.gone(session.id)

    def heal(self, channels: Collection[bytes] | None = None) -> None:
        """Look for what was missed on `channels`, or on all of them.

        Rooms need no word: a client sees what it missed by the numbers.
        """
        self.users.heal(channels)
        self.presence.heal(channels)
