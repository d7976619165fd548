"""Relayed frames: sealed, published to sessions that are connected now, and stored nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from homeport.frames import Message, ServerFrame, Transient
from homeport.ids import GROUP

from gateway.apps.app import App
from gateway.chat.records import Records
from gateway.store import events
from gateway.store.entries import Stored
from gateway.store.group_state import Group
from gateway.store.groups import GroupStore
from gateway.store.inbox import InboxStore
from gateway.store.rooms import RoomStore


class Relay:
    """Tells frames to sessions on every gateway of the region, sealed on the way.

    A session that is not there, or does not read, misses them. Each method raises, or its future
    does, `Unavailable` where Redis is away, and `SealError` where nothing can be sealed.
    """

    def __init__(
        self,
        inboxes: InboxStore,
        rooms: RoomStore,
        groups: GroupStore,
        records: Records,
        clock_ms: Callable[[], int],
    ) -> None:
        self._inboxes = inboxes
        self._rooms = rooms
        self._groups = groups
        self._records = records
        self._clock_ms = clock_ms

    async def to_user(self, app: App, user: str, frame: ServerFrame) -> None:
        """Tell every session of `user`."""
        channel = self._inboxes.channel(app.id, user)
        sealed = self._records.relay(app, channel, frame, self._clock_ms())
        await self._inboxes.publish(app.id, user, events.relayed(sealed))

    async def to_room(self, app: App, room: str, sender: str, frame: ServerFrame) -> None:
        """Tell every session in `room`.

        Raises:
            RoomRefused: `sender` may not.
        """
        now_ms = self._clock_ms()
        sealed = self._records.relay(app, self._rooms.channel(app.id, room), frame, now_ms)
        await self._rooms.signal(app.id, room, sender, events.relayed(sealed), now_ms)

    async def to_group(self, app: App, group: Group, frame: ServerFrame) -> None:
        """Tell every session of each member of `group`."""
        # Sealed for the group and not for each channel: once, whatever the number of members.
        sealed = self._records.relay(app, GROUP + group.id, frame, self._clock_ms())
        await self._groups.signal(app, group, events.relayed_to_group(group.id, sealed))

    def once(
        self, app: App, users: Sequence[str], message: Message, remembered_ms: int
    ) -> asyncio.Future[Stored]:
        """Tell `message` to every session of `users`, unless its id already was.

        The future is as that of `InboxStore.tell`.
        """
        frame, payloads = Transient(message), {}
        for user in users:
            channel = self._inboxes.channel(app.id, user)
            sealed = self._records.relay(app, channel, frame, message.time)
            payloads[user] = events.relayed(sealed)
        return self._inboxes.tell(app.id, message.id, payloads, message.time, remembered_ms)
