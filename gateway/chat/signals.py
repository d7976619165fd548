"""Signals: told to whoever is connected now, sealed on the way, kept nowhere."""

from __future__ import annotations

from collections.abc import Callable

from gateway.apps.app import App
from gateway.chat.records import Records
from gateway.chat.refused import Refused
from gateway.chat.relay import Relay
from gateway.chat.rooms import refused
from gateway.store import events
from gateway.store.rooms import RoomRefused, RoomStore
from protocol import codes
from protocol.frames import Signal, Signaled
from protocol.ids import is_user_id, room_of
from protocol.limits import MAX_SIGNAL_BYTES


class Signals:
    """Passes signals on. `clock_ms` gives milliseconds since 1970."""

    def __init__(
        self, relay: Relay, rooms: RoomStore, records: Records, clock_ms: Callable[[], int]
    ) -> None:
        self._relay = relay
        self._rooms = rooms
        self._records = records
        self._clock_ms = clock_ms

    async def signal(self, app: App, user: str, frame: Signal) -> None:
        """Tell every session of the user `frame.to`, or every session in the room.

        Raises:
            Refused: unknown_recipient, body_too_large, not_in_room, room_read_only.
            Unavailable: Redis is away.
        """
        if len(frame.body) > MAX_SIGNAL_BYTES:
            raise Refused(
                codes.BODY_TOO_LARGE, f"The body of a signal is {MAX_SIGNAL_BYTES} bytes at most."
            )
        told = Signaled(user, frame.to, frame.kind, frame.body)
        room = room_of(frame.to)
        if room is not None:
            await self._to_room(app, user, room, told)
        elif is_user_id(frame.to):
            await self._relay.to_user(app, frame.to, told)
        else:
            raise Refused(codes.UNKNOWN_RECIPIENT)

    async def _to_room(self, app: App, user: str, room: str, told: Signaled) -> None:
        now_ms = self._clock_ms()
        record = self._records.relay(app, self._rooms.channel(app.id, room), told, now_ms)
        try:
            await self._rooms.signal(app.id, room, user, events.relayed(record), now_ms)
        except RoomRefused as error:
            raise refused(error) from error
