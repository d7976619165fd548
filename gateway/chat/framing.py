"""What Redis tells of, opened and made into the payloads that sessions are sent."""

from __future__ import annotations

from collections.abc import Callable

from gateway.chat.presence import Statuses
from gateway.chat.records import Records
from gateway.chat.room_records import RoomRecords
from gateway.security.sealing import Sealer
from gateway.store import events
from gateway.store.directory import AppDirectory
from gateway.store.errors import AppNotFound
from gateway.store.lateness import Lateness
from gateway.store.rows import conversation_of
from gateway.tally import Tally


class Framing:
    """One for each process: the hub hands each event to it once, for all sessions.

    Each method may raise as `AppDirectory.known`, and `UnknownKeyVersion`.
    """

    def __init__(
        self,
        sealer: Sealer,
        directory: AppDirectory,
        lateness: Lateness,
        clock_ms: Callable[[], int],
    ) -> None:
        self.records = Records(sealer)
        self.room_records = RoomRecords(sealer)
        self.statuses = Statuses(sealer)
        self.send_to_push = Tally()
        """Milliseconds from a message's time until Redis told of it, so that it could be pushed."""
        self.lateness = lateness
        self._directory = directory
        self._clock_ms = clock_ms

    def pushed(
        self, app_id: str, user: str, channel: str, event: events.Stored | events.Relayed
    ) -> bytes | None:
        """What a user's sessions are sent for an event.

        None where a frame was tampered with, and where a message has ended or Redis told of it so
        late that it may have been recalled since: then only the store knows what to push.
        """
        app = self._directory.known(app_id)
        if isinstance(event, events.Relayed):
            return self.records.relayed(app, channel, event.record, event.group)
        number, seq, message, now_ms = event.number, event.seq, event.message, self._clock_ms()
        self.send_to_push.add(now_ms - message.time_ms)
        if message.record is None or not message.readable(0, now_ms):
            return None
        if not self.lateness.fresh(message.time_ms):
            return None
        conversation = conversation_of(user, event.peer)
        return self.records.push(
            app, conversation, message.record, number=number, ms=message.time_ms, seq=seq
        )

    def in_room(
        self, app_id: str, room: str, channel: str, event: events.RoomMessage | events.Relayed
    ) -> bytes | None:
        """The same for those in a room."""
        app = self._directory.known(app_id)
        if isinstance(event, events.Relayed):
            return self.records.relayed(app, channel, event.record)
        return self.room_records.push(app, room, event.seq, event.record)

    def status(self, app_id: str, user: str, sealed: bytes) -> str:
        """A status text; empty where the app is gone."""
        try:
            return self.statuses.open(self._directory.known(app_id), user, sealed)
        except AppNotFound:
            return ""
