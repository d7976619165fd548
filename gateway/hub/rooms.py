"""The hub's rooms: which sessions of this process are in which room, and the fan-out to them.

One publish is read once and opened once in a process; every session gets the same payload, by
`gateway.hub.fanout`. A session that does not keep up, and a room whose fan-out does not, miss
messages by their priority; the client sees the hole in the numbers, at the next push or
`RoomState`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import structlog
from homeport import codec
from homeport.frames import Priority, RoomState
from homeport.limits import MAX_LAST

from gateway.hub.fanout import SLICE, UNTOLD, FanOut, RoomSession, Said, Seat
from gateway.hub.hub import SessionGone
from gateway.redis.errors import OperationFailed
from gateway.redis.subscriber import Subscriber
from gateway.security.sealing import UnknownKeyVersion
from gateway.store import events
from gateway.store.errors import AppNotFound
from gateway.store.rooms import KEEP_EVERY_S, Joined, RoomStore, Top, kept
from gateway.turns import Turns

KEEP_BATCH: Final = 500
"""Seats kept by one call of the script."""

_log = structlog.get_logger()

RoomOpener = Callable[[str, str, str, events.RoomMessage | events.Relayed], bytes | None]
"""Opens an event for (app id, room, channel); None: nothing to send."""


class Room:
    """One room with sessions here. `top` is the highest number heard of its numbering `epoch`."""

    __slots__ = (
        "app_id",
        "channel",
        "epoch",
        "fan_out",
        "id",
        "members",
        "past",
        "seats",
        "top",
    )

    def __init__(self, app_id: str, id: str, channel: str, turns: Turns[int]) -> None:
        self.app_id = app_id
        self.id = id
        self.channel = channel
        self.seats: dict[str, Seat] = {}  # by session id
        self.epoch = b""  # until the first seat is open
        self.top = 0
        self.past = 0
        self.members = 0
        self.fan_out = FanOut(self.seats, turns)


class RoomHub:
    """One per process.

    `find` gives the session of (app id, user, session id); `open_event` makes an event into what
    sessions are sent; `clock_ms` gives milliseconds since 1970.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        store: RoomStore,
        find: Callable[[str, str, str], RoomSession | None],
        open_event: RoomOpener,
        clock_ms: Callable[[], int],
    ) -> None:
        self._subscriber = subscriber
        self._store = store
        self._find = find
        self._open_event = open_event
        self._clock_ms = clock_ms
        self._rooms: dict[bytes, Room] = {}
        self._of: dict[str, dict[str, Room]] = {}  # session id, room id
        self._turns = Turns(SLICE)

    def __len__(self) -> int:
        """How many rooms have sessions here."""
        return len(self._rooms)

    # -- seats -----------------------------------------------------------------------------------

    def rooms_of(self, session_id: str) -> frozenset[str]:
        """The rooms that a session is in."""
        return frozenset(self._of.get(session_id, ()))

    def top(self, app_id: str, room_id: str) -> Top:
        """The highest number of a room that was heard here; none where nobody here is in it."""
        room = self._rooms.get(self._store.channel(app_id, room_id).encode())
        return Top() if room is None else Top(room.epoch.decode(), room.top)

    def enter(
        self, app_id: str, user: str, session_id: str, room_id: str, name: str
    ) -> tuple[Seat, asyncio.Future[None]]:
        """Make a seat that is not open yet, or the one there is so again.

        The future is done once Redis has confirmed the channel.

        Raises:
            SessionGone: it ended before it got here.
        """
        session = self._find(app_id, user, session_id)
        if session is None:
            raise SessionGone
        channel = self._store.channel(app_id, room_id)
        room = self._rooms.get(channel.encode())
        if room is None:
            room = self._rooms[channel.encode()] = Room(app_id, room_id, channel, self._turns)
        seat = room.seats.get(session.id)
        if seat is None:
            seat = room.seats[session.id] = Seat(session, name)
            self._of.setdefault(session.id, {})[room_id] = room
        elif seat.waiting is None:
            seat.waiting = deque(maxlen=MAX_LAST)
        return seat, self._subscriber.subscribe(channel, self)

    def holds(self, session_id: str, room_id: str, seat: Seat) -> bool:
        """False where the seat was left or its session ended."""
        room = self._of.get(session_id, {}).get(room_id)
        return room is not None and room.seats.get(session_id) is seat

    def open(self, session_id: str, room_id: str, seat: Seat, start: int, joined: Joined) -> None:
        """Give the seat the room's last messages, which follow number `start`, and go on."""
        if not self.holds(session_id, room_id, seat):
            return
        room, epoch = self._of[session_id][room_id], joined.epoch.encode()
        if room.epoch != epoch:
            self._begin(room, epoch, joined.top)
        room.top = max(room.top, joined.top)
        waiting, seat.waiting, seat.sent = seat.waiting or (), None, start
        for entry in joined.entries:
            opened = self._opened(room, events.RoomMessage(entry.seq, epoch, entry.record))
            if opened is not None:
                seat.push(Said(entry.seq, entry.record[0], opened))
        for said in waiting:
            seat.push(said)

    def leave(self, session_id: str, room_id: str) -> None:
        """Give the session nothing more of this room."""
        room = self._of.get(session_id, {}).pop(room_id, None)
        if room is None:
            return
        if not self._of[session_id]:
            del self._of[session_id]
        del room.seats[session_id]
        if not room.seats:
            del self._rooms[room.channel.encode()]
            room.fan_out.stop()
            self._subscriber.unsubscribe(room.channel)

    def gone(self, session_id: str) -> None:
        """The session ended: its seats are kept a while, for it to come back to."""
        for room_id, room in tuple(self._of.get(session_id, {}).items()):
            name = room.seats[session_id].name
            self.leave(session_id, room_id)
            away = self._store.away(room.app_id, room_id, name, self._clock_ms())
            away.add_done_callback(_noted)

    # -- fan-out ---------------------------------------------------------------------------------

    def heard(self, channel: bytes, payload: bytes) -> None:
        """Take an event of a room from the subscriber."""
        room = self._rooms[channel]
        event = events.parse(payload)
        seq, priority = 0, int(Priority.LOW)  # a signal's
        if isinstance(event, events.RoomMessage):
            if event.epoch != room.epoch:
                self._begin(room, event.epoch, event.seq - 1)
            room.top = max(room.top, event.seq)
            if event.record:
                seq, priority = event.seq, min(event.record[0], Priority.HIGH)
        elif not isinstance(event, events.Relayed):
            return
        if room.fan_out.takes(priority):
            opened = self._opened(room, event)
            if opened is not None:
                room.fan_out.add(Said(seq, priority, opened))

    def _begin(self, room: Room, epoch: bytes, top: int) -> None:
        """Take up the numbering `epoch`, which stands at `top`, and tell the sessions of it.

        What still waits for its fan-out has numbers of the one before, and goes first.
        """
        before, room.epoch, room.top, room.past = room.epoch, epoch, top, 0
        if not before:  # nobody here was told any other
            return
        room.fan_out.flush()
        state = _state(room, top)
        going_on = _state(room, top, kept(epoch.decode(), before.decode()))
        for seat in tuple(room.seats.values()):
            # Who does not know of the epoch before has numbers of an earlier one.
            told = state if seat.sent == UNTOLD else going_on
            _alone(partial(seat.renumber, top, told))

    def _opened(self, room: Room, event: events.RoomMessage | events.Relayed) -> bytes | None:
        try:
            return self._open_event(room.app_id, room.id, room.channel, event)
        except (UnknownKeyVersion, AppNotFound) as error:
            _log.error("room_event_unreadable", reason=type(error).__name__)
            return None

    # -- keeping seats ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the seats of this process' sessions, every `KEEP_EVERY_S`. Never returns."""
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            await self.keep()

    async def keep(self) -> None:
        """Keep every seat; tell each room's sessions how many members there are, and what is past.

        If Redis is away, the next time makes up.
        """
        for room in tuple(self._rooms.values()):
            try:
                await self._keep(room)
            except OperationFailed as error:
                _log.warning("room_seats_put_off", reason=type(error).__name__)

    async def _keep(self, room: Room) -> None:
        taken = [(id, seat) for id, seat in room.seats.items() if seat.waiting is None]
        if not taken:
            return
        members, epoch, top = 0, b"", 0
        for start in range(0, len(taken), KEEP_BATCH):
            batch = taken[start : start + KEEP_BATCH]
            # Only those who have not left while an earlier batch was on its way.
            names = [seat.name for id, seat in batch if room.seats.get(id) is seat]
            members, named, top = await self._store.keep(
                room.app_id,
                room.id,
                names,
                Top(room.epoch.decode(), room.top),
                self._clock_ms(),
            )
            epoch = named.encode()
        if epoch != room.epoch:
            self._begin(room, epoch, top)
        room.top = max(room.top, top)
        # Numbers of the last time, not of now: what was just published may still be on its way.
        past, room.past, changed = room.past, top, members != room.members
        room.members = members
        state = _state(room, past)
        for number, (session_id, seat) in enumerate(tuple(room.seats.items()), 1):
            if session_id in room.seats and (changed or seat.sent < past or seat.sent == UNTOLD):
                _alone(partial(seat.tell, past, state))
            if number % SLICE == 0:
                await asyncio.sleep(0)

    def close(self) -> None:
        """Give up what still waits for its fan-out."""
        for room in self._rooms.values():
            room.fan_out.stop()


def _alone(tell: Callable[[], None]) -> None:
    """Tell one session; if it fails, the others' turn comes all the same."""
    try:
        tell()
    except Exception as error:  # noqa: BLE001 - whatever it was
        _log.error("fan_out_failed", exc_info=error)


def _state(room: Room, past: int, same: int | None = None) -> bytes:
    """The `RoomState` in which numbers up to `past` are past, and those up to `same` of the epoch
    before mean what they did."""
    state = RoomState(room.id, past, room.members, room.epoch.decode(), same)
    return codec.encode(state)


def _noted(call: asyncio.Future[Any]) -> None:
    """A seat that could not be noted as away ends by itself, a little later."""
    if not call.cancelled() and call.exception() is not None:
        _log.info("room_away_not_noted")
