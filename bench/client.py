"""A Homeport client of the generator: the hot path of a push, and all else by `homeport.codec`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from homeport import codec, codes, frames
from homeport.limits import MAX_LAST
from msgspec import Struct

from bench.ledger import Received, Sent
from bench.record import Recorder
from bench.stamp import FROM_END, STAMP
from bench.wire import WebSocketClient, masked

KIND: Final = "bench"
PROGRAM: Final = "homeport-bench"
_PUSH: Final = 17
_RESET: Final = 20
_ROOMPUSH: Final = 52
_OK: Final = 3
_HALF_WINDOW: Final = 128
_PONG: Final = masked(codec.encode(frames.Pong()))


class Who(Struct, frozen=True, kw_only=True):
    """One client.

    Attributes:
        index: its number, which its stamps carry.
        user, device, token: who it is.
        sends_to: the `to` of what it sends; empty where it sends nothing.
        hears: numbers of the clients whose messages must reach it.
        room: the room to join; empty for none.
        group: users of a group that this client creates; `sends_to` then is that group.
        churns: whether its connection is dropped now and then.
        late: whether it connects only when the others have sent.
        timed: whether its latencies are recorded.
    """

    index: int
    user: str
    device: str
    token: str
    sends_to: str = ""
    hears: tuple[int, ...] = ()
    room: str = ""
    group: tuple[str, ...] = ()
    churns: bool = False
    late: bool = False
    timed: bool = True


class Totals:
    """What all clients of one process count together, and where latencies go.

    `from_ns` is when measuring begins: what was due before is counted, but not timed. `last_ns` is
    when the last message was delivered.
    """

    def __init__(self, run: int, filler: bytes, ack_every: float) -> None:
        self.run = run
        self.filler = filler
        self.ack_every = ack_every
        self.from_ns = 0
        self.sent = 0
        self.accepted = 0
        self.delivered = 0
        self.last_ns = 0
        self.told_lost = 0
        self.told_reset = 0
        self.refused: Counter[str] = Counter()
        self.closes: Counter[int] = Counter()
        self.delivery = Recorder()
        self.answer = Recorder()


def _uint(data: bytes, at: int) -> tuple[int, int]:
    """The MessagePack unsigned integer at `at`, and where the next value begins."""
    first = data[at]
    if first < 0x80:
        return first, at + 1
    after = at + 1 + (1 << (first - 0xCC))
    return int.from_bytes(data[at + 1 : after], "big"), after


class Client(WebSocketClient):
    """One session, which may be connected again.

    `on_connected` is called after `connected`, `on_refused` with a word where the server refuses.
    """

    __slots__ = (
        "_ack_timer",
        "_cursor",
        "_due",
        "_last",
        "_last_at",
        "_next_id",
        "_numbers",
        "_pending",
        "_pushes",
        "_refused",
        "_requests",
        "_room_last",
        "_room_last_at",
        "_seat",
        "_timed",
        "_total",
        "back_in_s",
        "connected",
        "on_connected",
        "on_refused",
        "received",
        "sends_to",
        "who",
    )

    def __init__(self, who: Who, total: Totals) -> None:
        super().__init__()
        self.who = who
        self.sends_to = who.sends_to
        self.received = Received()
        self.connected = False
        self.on_connected: Callable[[], None]
        self.on_refused: Callable[[str], None]
        self._total = total
        self._timed = who.timed
        self._due = self.received.due
        self._next_id = 0
        self._numbers = 0
        self._pending: dict[int, tuple[int, int]] = {}  # request id: number, due
        self._requests: dict[int, Callable[[frames.Ok | frames.Error], None]] = {}
        self._cursor: frames.Cursor | None = None
        self._last = b""  # the last read with a push or reset of the inbox, and where that begins
        self._last_at = 0
        self._room_last = b""  # the same of the last push of the room
        self._room_last_at = 0
        self._seat: tuple[str, int] | None = None  # the room's epoch, and what was heard at joining
        self.back_in_s = 0.0  # what a goaway asked to wait before connecting again
        self._pushes = 0  # since the last ack
        self._ack_timer: asyncio.TimerHandle | None = None
        self._refused: set[int] = set()  # numbers of ours

    # -- the connection --------------------------------------------------------------------------

    def on_open(self) -> None:
        """Say connect, with the cursor of the connection before, if there was one."""
        self._next_id += 1
        if self._last and self._cursor is not None:
            number, ms = self._last_place()
            self._cursor = frames.Cursor(self._cursor.epoch, ms, number)
        self._last = b""
        self._pushes = 0
        who = self.who
        connect = frames.Connect(self._next_id, who.device, who.token, self._cursor, PROGRAM)
        self.write(masked(codec.encode(connect)))

    def _last_place(self) -> tuple[int, int]:
        number, at = _uint(self._last, self._last_at + 2)
        ms, _ = _uint(self._last, at)
        return number, ms

    def lost(self) -> None:
        """The connection is gone, for whatever reason."""
        self.connected = False

    # -- what comes ------------------------------------------------------------------------------

    def on_message(self, data: bytes, start: int, end: int) -> None:
        """Take a frame. Pushes and answers are read in place; the rest is rare."""
        kind = data[start + 1]
        total = self._total
        if kind in (_PUSH, _ROOMPUSH):
            run, sender, number, due = STAMP.unpack_from(data, end - FROM_END)
            if run == total.run:
                if self._due.get(sender, 0) == number:
                    self._due[sender] = number + 1
                else:
                    self.received.odd(sender, number)
                total.delivered += 1
                total.last_ns = now = time.monotonic_ns()
                # Its own direct message comes back to a sender too; nobody waits for that one.
                waited_for = kind == _ROOMPUSH or sender != self.who.index
                if self._timed and waited_for and due >= total.from_ns:
                    total.delivery.append(now - due)
            else:
                self._other(data[start:end])
            if kind == _PUSH:
                self._take(data, start)
            else:
                self._room_last, self._room_last_at = data, start
        elif kind == _OK:
            request_id, _ = _uint(data, start + 2)
            pending = self._pending.pop(request_id, None)
            if pending is not None:
                total.accepted += 1
                if self._timed and pending[1] >= total.from_ns:
                    total.answer.append(time.monotonic_ns() - pending[1])
            else:
                self._other(data[start:end])
        elif kind == _RESET:  # its number and time stand where those of a push do
            total.told_reset += 1
            self._take(data, start)
        else:
            self._other(data[start:end])

    def _take(self, data: bytes, start: int) -> None:
        """A push or a reset of the inbox begins at `start`: acknowledge it soon."""
        self._last, self._last_at = data, start
        if not self._pushes and self._total.ack_every:
            self._ack_timer = asyncio.get_running_loop().call_later(self._total.ack_every, self.ack)
        self._pushes += 1

    def on_read(self) -> None:
        """Acknowledge what came, at once or when half of the window is full."""
        if self._pushes and (not self._total.ack_every or self._pushes >= _HALF_WINDOW):
            self.ack()

    def ack(self) -> None:
        """Acknowledge every push that came."""
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        if self._pushes and self.connected:
            self._pushes = 0
            number, _ = _uint(self._last, self._last_at + 2)
            self.write(masked(codec.encode(frames.Ack(number))))

    def _other(self, data: bytes) -> None:
        frame = codec.decode_server(data)
        if isinstance(frame, frames.Connected):
            self.connected = True
            self._cursor = frame.cursor
            if frame.lost is not None:
                self._total.told_lost += frame.lost[1] - frame.lost[0] + 1
            self.on_connected()
            if self._seat is not None:
                self.join(lambda _: None)
            for request_id, (number, due) in tuple(self._pending.items()):
                self._write(request_id, number, due)  # the same message id: it counts once
        elif isinstance(frame, frames.Ok):
            if (answered := self._requests.pop(frame.id, None)) is not None:
                answered(frame)
        elif isinstance(frame, frames.Error):
            self._error(frame)
        elif isinstance(frame, frames.Ping):
            self.write(_PONG)
        elif isinstance(frame, frames.Goaway):
            self.back_in_s = frame.reconnect_in
        elif isinstance(frame, frames.Lost):
            self._total.told_lost += frame.last - frame.first + 1

    def _error(self, frame: frames.Error) -> None:
        name = codes.ERRORS[frame.code].name if frame.code in codes.ERRORS else str(frame.code)
        if not self.connected:
            self.on_refused(name)
        elif (answered := self._requests.pop(frame.id, None)) is not None:
            answered(frame)
        else:
            self._total.refused[name] += 1
            refused = self._pending.pop(frame.id, None)
            if refused is not None:
                self._refused.add(refused[0])

    def join(self, answered: Callable[[frames.Ok | frames.Error], None]) -> None:
        """Join the room; once it was joined, to go on behind the last message that came."""
        epoch, after = self._seat or ("", 0)
        if self._room_last:
            after, _ = _uint(self._room_last, self._room_last_at + 2)
        last = MAX_LAST if self._seat is not None else 0

        def joined(answer: frames.Ok | frames.Error) -> None:
            if isinstance(answer, frames.Ok):
                told = codec.decode_answer(frames.RoomJoin, answer)
                self._seat = (told.epoch, told.seq)
            else:
                self._total.refused["rejoin" if self._seat is not None else "join"] += 1
            answered(answer)

        self.request(lambda id: frames.RoomJoin(id, self.who.room, last, epoch, after), joined)

    # -- what goes -------------------------------------------------------------------------------

    def send(self, due: int) -> None:
        """Send the next message, which was due at `due`, in monotonic nanoseconds."""
        self._next_id += 1
        self._pending[self._next_id] = (self._numbers, due)
        if self.connected:  # else it goes with what else is repeated on the next connection
            self._write(self._next_id, self._numbers, due)
        self._numbers += 1
        self._total.sent += 1

    def _write(self, request_id: int, number: int, due: int) -> None:
        total, index = self._total, self.who.index
        stamp = STAMP.pack(total.run, index, number, due)
        client_id = f"{total.run:x}-{index}-{number}"
        frame = frames.Send(request_id, client_id, self.sends_to, KIND, total.filler + stamp)
        self.write(masked(codec.encode(frame)))

    def request(
        self,
        make: Callable[[int], frames.ClientFrame],
        answered: Callable[[frames.Ok | frames.Error], None],
    ) -> None:
        """Send any other request; `answered` gets its `ok` or `error`."""
        self._next_id += 1
        self._requests[self._next_id] = answered
        self.write(masked(codec.encode(make(self._next_id))))

    @property
    def waits(self) -> int:
        """How many sends have no answer yet."""
        return len(self._pending)

    def told(self) -> Sent:
        """What this client sent, for the ledger."""
        unanswered = {number for number, _ in self._pending.values()}
        return Sent(self._numbers, frozenset(unanswered | self._refused))
