"""What a room's frames mean: join, leave, set, and a send to ``r:<room id>``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from gateway.apps.app import App
from gateway.chat.refused import Refused, check_body
from gateway.chat.requests import Caller, Handlers
from gateway.chat.room_records import RoomRecords
from gateway.redis.errors import OperationFailed, Unavailable
from gateway.store.rooms import Joined, RoomStore, Top
from protocol import codes
from protocol.frames import (
    Message,
    Priority,
    RoomJoin,
    RoomJoined,
    RoomLeave,
    RoomSend,
    RoomSet,
    Send,
)
from protocol.ids import is_user_id, message_id, room_of
from protocol.limits import MAX_ROOMS

JOIN_TIMEOUT_S: Final = 5.0


class Audience(Protocol):
    """Who of this process is in which room: `gateway.hub.rooms.RoomHub`."""

    def enter(
        self, app_id: str, user: str, session_id: str, room_id: str, name: str
    ) -> tuple[Any, asyncio.Future[None]]: ...
    def holds(self, session_id: str, room_id: str, seat: Any) -> bool: ...
    def open(
        self, session_id: str, room_id: str, seat: Any, start: int, joined: Joined
    ) -> None: ...
    def leave(self, session_id: str, room_id: str) -> None: ...
    def rooms_of(self, session_id: str) -> frozenset[str]: ...
    def top(self, app_id: str, room_id: str) -> Top: ...


class RoomChat:
    """Answers requests about rooms. `clock_ms` gives milliseconds since 1970."""

    def __init__(
        self,
        store: RoomStore,
        records: RoomRecords,
        audience: Audience,
        clock_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._records = records
        self._audience = audience
        self._clock_ms = clock_ms

    def handlers(self) -> Handlers:
        """By the type of the frame."""
        return {RoomJoin: self.join, RoomLeave: self.leave, RoomSet: self.set}

    async def join(self, caller: Caller, frame: RoomJoin) -> RoomJoined:
        """Take a seat; its pushes begin behind the answer.

        Raises:
            Refused: invalid_field, too_many_rooms, not_in_room where it was left meanwhile.
            Unavailable: Redis is away.
        """
        room = _checked(frame.room)
        app_id, name = caller.app.id, f"{caller.user}:{caller.device}"
        rooms = self._audience.rooms_of(caller.session)
        if room not in rooms and len(rooms) >= MAX_ROOMS:
            raise Refused(codes.TOO_MANY_ROOMS)
        # First the channel, then the log: what is published in between is heard, or read, or both.
        seat, heard = self._audience.enter(app_id, caller.user, caller.session, room, name)
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                await heard
            joined = await self._store.join(
                app_id,
                caller.app.tier,
                room,
                name,
                frame.last,
                frame.epoch,
                frame.after,
                self._audience.top(app_id, room),
                self._clock_ms(),
            )
        except TimeoutError:
            self._audience.leave(caller.session, room)
            raise Unavailable("timeout") from None
        except OperationFailed:
            self._audience.leave(caller.session, room)
            raise
        if not self._audience.holds(caller.session, room, seat):
            await self._store.leave(app_id, room, name, self._clock_ms())
            raise Refused(codes.NOT_IN_ROOM, "The room was left before it was joined.")
        start = joined.entries[0].seq - 1 if joined.entries else joined.top
        # In the next turn of the loop, so that the answer goes first.
        asyncio.get_running_loop().call_soon(
            self._audience.open, caller.session, room, seat, start, joined
        )
        return RoomJoined(joined.epoch, start, joined.members)

    async def leave(self, caller: Caller, frame: RoomLeave) -> None:
        """Give the seat up. Raises as `join` does."""
        room = _checked(frame.room)
        self._audience.leave(caller.session, room)
        seat = f"{caller.user}:{caller.device}"
        await self._store.leave(caller.app.id, room, seat, self._clock_ms())

    async def set(self, caller: Caller, frame: RoomSet) -> None:
        """Create a room, or change who may write there.

        Raises:
            Refused: invalid_field, not_room_creator.
        """
        room = _checked(frame.room)
        if not all(map(is_user_id, frame.admins)):
            raise Refused(codes.INVALID_FIELD, "`admins` must be user ids.")
        await self._store.set(
            caller.app.id,
            caller.app.tier,
            room,
            caller.user,
            frame.write,
            frame.admins,
            self._clock_ms(),
        )

    def send(
        self, app: App, user: str, frame: Send | RoomSend
    ) -> tuple[bytes, asyncio.Future[int]]:
        """Seal `frame` and publish it to its room; returns as `MessageChat.send` does.

        Raises:
            Refused: unknown_recipient, body_too_large. The future: Unavailable, CommandFault,
                RoomRefused.
        """
        room = room_of(frame.to)
        if room is None:
            raise Refused(codes.UNKNOWN_RECIPIENT)
        check_body(app, frame.body)
        now_ms = self._clock_ms()
        mid = message_id(app.id, user, frame.client_id)
        message = Message(mid, user, frame.to, now_ms, frame.kind, frame.body)
        priority = frame.priority if isinstance(frame, RoomSend) else Priority.NORMAL
        record = self._records.make(app, room, message, priority)
        heard = self._audience.top(app.id, room)
        return mid, self._store.send(app.id, app.tier, room, user, mid, record, heard, now_ms)


def _checked(room: str) -> str:
    if not is_user_id(room):
        raise Refused(codes.INVALID_FIELD, "`room` has a wrong form.")
    return room
