"""Rooms: join, leave, set. Sending to them is in `gateway.chat.sending`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from homeport import codes
from homeport.frames import RoomJoined
from homeport.ids import ROOM, is_user_id
from homeport.limits import MAX_ROOMS

from gateway.chat import prices
from gateway.chat.app_events import AppEvents
from gateway.chat.owning import Owning
from gateway.chat.principal import Principal, SessionUser, User, name_of
from gateway.chat.refused import Refused
from gateway.chat.requests import request
from gateway.hub.rooms import RoomHub
from gateway.redis.errors import OperationFailed, Unavailable
from gateway.store.rooms import THE_APP, RoomRefused, RoomStore, Start, kept
from gateway.store.storage import ROOM as ROOM_BYTES

JOIN_TIMEOUT_S: Final = 5.0


class RoomChat:
    """Answers requests about rooms. `clock_ms` is milliseconds since 1970."""

    def __init__(
        self,
        store: RoomStore,
        owning: Owning,
        hub: RoomHub,
        events: AppEvents,
        clock_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._owning = owning
        self._hub = hub
        self._events = events
        self._clock_ms = clock_ms

    @request(prices.join)
    async def join(
        self, user: SessionUser, room: str, *, last: int, epoch: str = "", after: int = 0
    ) -> RoomJoined:
        """Take a seat; its pushes begin in the loop's next turn, behind whatever the caller says of
        it now. The client wants the `last` messages, and has those up to `after` of `epoch`; the
        oldest are left out where all are too many bytes.

        Raises:
            Refused: invalid_field, too_many_rooms, unavailable; not_in_room where it was left
                meanwhile.
        """
        _check(room)
        app, seat_name = user.app, _seat(user)
        rooms = self._hub.rooms_of(user.session)
        if room not in rooms and len(rooms) >= MAX_ROOMS:
            raise Refused(codes.TOO_MANY_ROOMS)
        # First the channel, then the log: what is published in between is heard, or read, or both.
        seat, heard = self._hub.enter(app.id, user.id, user.session, room, seat_name)
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                await heard
            joined = await self._store.join(
                app,
                room,
                seat_name,
                Start(last, epoch, after),
                self._hub.top(app.id, room),
                self._clock_ms(),
            )
        except TimeoutError:
            self._hub.leave(user.session, room)
            raise Unavailable("timeout") from None
        except OperationFailed:
            self._hub.leave(user.session, room)
            raise
        if not self._hub.holds(user.session, room, seat):
            await self._store.leave(app.id, room, seat_name, self._clock_ms())
            raise Refused(codes.NOT_IN_ROOM, "The room was left before it was joined.")
        start = joined.entries[0].seq - 1 if joined.entries else joined.top
        # In the next turn of the loop, so that the answer goes first.
        asyncio.get_running_loop().call_soon(
            self._hub.open, user.session, room, seat, start, joined
        )
        return RoomJoined(joined.epoch, start, joined.members, kept(joined.epoch, epoch))

    @request(prices.CHANGE)
    async def leave(self, user: SessionUser, room: str) -> None:
        """Give the seat up.

        Raises:
            Refused: invalid_field, unavailable.
        """
        _check(room)
        self._hub.leave(user.session, room)
        await self._store.leave(user.app_id, room, _seat(user), self._clock_ms())

    @request(prices.CHANGE)
    async def set(self, principal: Principal, room: str, write: str, admins: Sequence[str]) -> None:
        """Create a room, or change its write policy. The app itself may change every room's, and is
        from then on the creator of one that has none; a room's creator stays its creator.

        Raises:
            Refused: invalid_field: an id has a wrong form. not_room_creator: a user asks, and
                another one or the app created the room, or it has no creator. too_many_own_rooms:
                the user created as many as the tier allows. storage_full. unavailable: Redis is
                away.
        """
        _check(room)
        if not all(map(is_user_id, admins)):
            raise Refused(codes.INVALID_FIELD, "`admins` must be user ids.")
        app, now_ms = principal.app, self._clock_ms()
        principal.allowance.keep(app.tier, ROOM_BYTES + 65 * len(admins))
        event = self._events.room_set(app, room, write, admins, name_of(principal), now_ms)
        if not isinstance(principal, User):
            await self._store.set(app, room, THE_APP, write, admins, now_ms, event=event)
            return
        await self._owning.make(principal, ROOM, room)
        try:
            await self._store.set(app, room, principal.id, write, admins, now_ms, event=event)
        except RoomRefused:
            await self._owning.forget(principal, ROOM, room)
            raise


def _check(room: str) -> None:
    if not is_user_id(room):
        raise Refused(codes.INVALID_FIELD, "`room` has a wrong form.")


def _seat(user: SessionUser) -> str:
    return f"{user.id}:{user.device}"
