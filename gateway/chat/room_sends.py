"""The published side of a message to a room, for `gateway.chat.sending` alone.

The store looks at the sender's seat, and nobody here at anything else: limits, blocks, kind and
body are looked at before. So `Chat` has no way to it.
"""

from __future__ import annotations

import asyncio

from homeport.frames import Message

from gateway.chat.app_events import AppEvents
from gateway.chat.principal import SessionUser, User
from gateway.chat.room_records import RoomRecords
from gateway.hub.rooms import RoomHub
from gateway.store.entries import NewEntry, Stored
from gateway.store.rooms import RoomStore


class RoomSends:
    """Publishes messages to rooms."""

    def __init__(
        self, store: RoomStore, records: RoomRecords, hub: RoomHub, events: AppEvents
    ) -> None:
        self._store = store
        self._records = records
        self._hub = hub
        self._events = events

    def deliver(
        self, sender: User, room: str, message: Message, priority: int, remembered_ms: int
    ) -> asyncio.Future[Stored]:
        """Seal `message` and publish it to the room that it is for. A user of a session needs a
        seat there, and one on behalf of the app does not.

        The future is as that of `RoomStore.send`.

        Raises:
            SealError: it can't be sealed.
        """
        app = sender.app
        record = self._records.make(app, room, message, priority)
        event = self._events.sent(app, message, message.to)
        new = NewEntry(
            message.id,
            record,
            message.time,
            sender.id,
            event=event,
            remembered_ms=remembered_ms,
        )
        seated = isinstance(sender, SessionUser)
        return self._store.send(app, room, new, self._hub.top(app.id, room), seated=seated)
