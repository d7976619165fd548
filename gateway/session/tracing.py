"""Tracing one user: each frame of each of their sessions as a line, by type and number.

An operator's command asks for it on a channel that every worker of the region hears, and asks again
every `REPEAT_S`: so a gateway that starts later takes part, and one whose operator is gone stops
after `LEASE_S`. Lines go back on a channel of the trace's own. Both are sealed. A line holds no
text, no body, no token and no user; nothing of a trace is stored.

A session that nobody traces pays for one comparison with each frame that it gets. One that is
traced sends through a `TracedWire`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import structlog
from homeport import codec
from homeport.codes import CloseCode
from msgspec import DecodeError, Struct, msgpack

from gateway.bucket import TokenBucket
from gateway.clock import Clock
from gateway.hub.fanout import Bundle
from gateway.security.sealing import REGION, Kind, Sealer, SealError
from gateway.session.wire import Wire
from gateway.store.keys import Keys
from gateway.store.readers import Reader

MAX_TRACES: Final = 4
"""Traces at a time, in a region."""

MAX_MINUTES: Final = 60
LEASE_S: Final = 15.0
REPEAT_S: Final = 3.0
LINES_PER_SECOND: Final = 200
"""In a worker, of all traces together; what is more is counted."""

FLUSH_S: Final = 0.25

_log = structlog.get_logger()


class Order(Struct, frozen=True):
    """Trace a user: from now on for `LEASE_S`, or no longer, where `ends` is set."""

    trace: str
    app_id: str
    user: str
    ends: bool = False


class Line(Struct, frozen=True, omit_defaults=True):
    """One frame, or the end of a session. `way` is ``in`` from the client, ``out`` to it.

    `frame` is the frame's name, ``malformed``, or ``close``; `number` its request id, or the number
    of a message; `code` that of an error or of a close. `ms` is milliseconds since 1970.
    """

    ms: int
    session: str
    device: str
    way: str
    frame: str
    size: int = 0
    number: int | None = None
    code: int | None = None


class TraceBatch(Struct, frozen=True, omit_defaults=True):
    """What one worker reports. `sessions` is how many it has of the user, told when it begins;
    `refused` that there are too many traces; `left_out` how many lines were too many."""

    gateway: str
    where: str
    lines: tuple[Line, ...] = ()
    left_out: int = 0
    sessions: int | None = None
    refused: bool = False


def seal(sealer: Sealer, channel: str, told: Order | TraceBatch, now_ms: int) -> bytes:
    """The bytes for `channel`."""
    return sealer.seal(REGION, Kind.TRACE, channel, b"", msgpack.encode(told), now_ms)


def open_order(sealer: Sealer, channel: str, payload: bytes) -> Order:
    """Read an order. Raises SealError or msgspec.DecodeError."""
    return msgpack.decode(_open(sealer, channel, payload), type=Order)


def open_batch(sealer: Sealer, channel: str, payload: bytes) -> TraceBatch:
    """Read a batch. Raises SealError or msgspec.DecodeError."""
    return msgpack.decode(_open(sealer, channel, payload), type=TraceBatch)


def _open(sealer: Sealer, channel: str, payload: bytes) -> bytes:
    return sealer.open(REGION, Kind.TRACE, channel, b"", payload)


class Traced(Protocol):
    """A session, as far as this needs it."""

    @property
    def reader(self) -> Reader: ...
    def trace(self, tap: Tap | None) -> None:
        """Tell `tap` of each frame from now on; None: nobody."""


class Publisher(Protocol):
    """The link, as far as this needs it."""

    def publish(self, channel: str, payload: bytes) -> asyncio.Future[Any]:
        """Publish `payload` to `channel`; the future is done once Redis has answered."""


class _Watch:
    """One traced user: the traces and their ends, lines not reported yet, the taps."""

    __slots__ = ("left_out", "lines", "taps", "traces")

    def __init__(self) -> None:
        self.traces: dict[str, float] = {}  # until when, by a steady clock
        self.lines: list[Line] = []
        self.left_out = 0
        self.taps: dict[str, Traced] = {}


class Tap:
    """What one session tells of its frames."""

    __slots__ = ("_add", "_clock", "_device", "_session")

    def __init__(self, add: Callable[[Line], None], clock: Clock, reader: Reader) -> None:
        self._add = add
        self._clock = clock
        self._session = reader.session
        self._device = reader.device

    def received(self, data: bytes) -> None:
        """One message of the client."""
        self._frame("in", data, codec.decode_client)

    def sent(self, payload: bytes | Bundle) -> None:
        """What goes to the client."""
        for data in (payload,) if isinstance(payload, bytes) else payload:
            self._frame("out", data, codec.decode_server)

    def closed(self, way: str, code: int) -> None:
        """A side ends the session."""
        self._line(way, "close", 0, None, code)

    def asked(self, frame: Any) -> None:
        """A frame that came before it was known whose it is."""
        self._line("in", _name(frame), len(codec.encode(frame)), frame.id, None)

    def _frame(self, way: str, data: bytes, decode: Callable[[bytes], Any]) -> None:
        try:
            frame = decode(data)
        except codec.MalformedFrame:
            self._line(way, "malformed", len(data), None, None)
        except codec.FrameError as error:
            self._line(way, "refused", len(data), error.request_id or None, error.code.number)
        else:
            numbers = (getattr(frame, name, None) for name in ("number", "id", "seq", "last"))
            number = next((each for each in numbers if isinstance(each, int)), None)
            self._line(way, _name(frame), len(data), number, getattr(frame, "code", None))

    def _line(self, way: str, frame: str, size: int, number: int | None, code: int | None) -> None:
        ms = self._clock.wall_ms()
        self._add(Line(ms, self._session, self._device, way, frame, size, number, code))


class TracedWire:
    """A `Wire` that passes everything on to another one, and shows it to a tap."""

    def __init__(self, wire: Wire, tap: Tap) -> None:
        self.wire = wire
        self._tap = tap

    @property
    def congested(self) -> bool:
        """True while the client does not read fast enough for what was already sent."""
        return self.wire.congested

    @property
    def waiting(self) -> int:
        """Bytes that were sent and that the client has not made room for yet."""
        return self.wire.waiting

    def send(self, payload: bytes) -> None:
        """Show the payload to the tap, and send it."""
        self._tap.sent(payload)
        self.wire.send(payload)

    def write(self, payload: bytes | Bundle) -> None:
        """Show the payloads to the tap, and write them at once."""
        self._tap.sent(payload)
        self.wire.write(payload)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Show the close to the tap, and close the connection."""
        self._tap.closed("out", code.number)
        self.wire.close(code, reason)

    def authenticated(self) -> None:
        """The client is known: its messages may be as large as v1 allows."""
        self.wire.authenticated()

    def throttle(self, throttled: bool) -> None:
        """Stop reading from the client, or resume."""
        self.wire.throttle(throttled)


class Tracer:
    """One per worker. `gateway` is its name and its place; `sessions` gives those of a user."""

    def __init__(
        self,
        keys: Keys,
        link: Publisher,
        sealer: Sealer,
        clock: Clock,
        *,
        gateway: tuple[str, str],
        sessions: Callable[[str, str], Iterable[Traced]],
    ) -> None:
        self.channel = keys.trace_orders
        self._keys = keys
        self._link = link
        self._sealer = sealer
        self._clock = clock
        self._gateway, self._where = gateway
        self._sessions = sessions
        self._began: dict[str, float] = {}  # each trace of the last hours, by a steady clock
        self._watches: dict[tuple[str, str], _Watch] = {}
        self._room = TokenBucket(LINES_PER_SECOND, LINES_PER_SECOND, clock.steady())
        self._ticking = False

    # -- from sessions ---------------------------------------------------------------------------

    def joined(self, session: Traced) -> Tap | None:
        """A session is known to be its user's: is it traced?"""
        if not self._watches:
            return None
        reader = session.reader
        watch = self._watches.get((reader.app_id, reader.user))
        return None if watch is None else self._tap(watch, session)

    def gone(self, session: Traced) -> None:
        """A session that was traced has ended."""
        reader = session.reader
        watch = self._watches.get((reader.app_id, reader.user))
        if watch is not None:
            watch.taps.pop(reader.session, None)

    def refused(self, app_id: str, user: str, session: str, code: int) -> None:
        """A token that the app did sign let the user not in."""
        watch = self._watches.get((app_id, user))
        if watch is not None:
            line = Line(self._clock.wall_ms(), session, "", "out", "error", code=code)
            self._add(watch, line)

    def _tap(self, watch: _Watch, session: Traced) -> Tap:
        tap = Tap(lambda line: self._add(watch, line), self._clock, session.reader)
        watch.taps[session.reader.session] = session
        session.trace(tap)
        return tap

    def _add(self, watch: _Watch, line: Line) -> None:
        now = self._clock.steady()
        if self._room.wait(now):
            watch.left_out += 1
        else:
            self._room.take(now)
            watch.lines.append(line)

    # -- from the operator -----------------------------------------------------------------------

    def heard(self, _: bytes, payload: bytes) -> None:
        """Take an order from the subscriber."""
        try:
            order = open_order(self._sealer, self.channel, payload)
        except (SealError, DecodeError) as error:
            _log.warning("trace_order_unreadable", reason=type(error).__name__)
            return
        key, now = (order.app_id, order.user), self._clock.steady()
        watch = self._watches.get(key)
        if order.ends:
            if watch is not None and watch.traces.pop(order.trace, None) is not None:
                self._tell(order.trace, watch.lines, watch.left_out)
                self._end_unwatched()
            return
        latest = self._began.get(order.trace, now) + MAX_MINUTES * 60
        if now >= latest:
            return  # whoever repeats it does not know that it may be no longer
        if watch is None or order.trace not in watch.traces:
            if sum(len(each.traces) for each in self._watches.values()) >= MAX_TRACES:
                self._publish(order.trace, TraceBatch(self._gateway, self._where, refused=True))
                return
            watch = self._begin(key, order.trace, now)
        watch.traces[order.trace] = min(now + LEASE_S, latest)

    def _begin(self, key: tuple[str, str], trace: str, now: float) -> _Watch:
        watch = self._watches.get(key)
        if watch is None:
            watch = self._watches[key] = _Watch()
            for session in tuple(self._sessions(*key)):
                self._tap(watch, session)
        long_ago = now - 2 * MAX_MINUTES * 60
        self._began = {each: at for each, at in self._began.items() if at > long_ago}
        self._began.setdefault(trace, now)
        named = self._sealer.names.fields(*key)
        _log.info("trace_began", trace=trace, sessions=len(watch.taps), **named)
        here = TraceBatch(self._gateway, self._where, sessions=len(watch.taps))
        self._publish(trace, here)
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(FLUSH_S, self._tick)
        return watch

    # -- time ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """While there is a trace: tell what there is, and end what is over."""
        now = self._clock.steady()
        for watch in self._watches.values():
            if watch.lines or watch.left_out:
                for trace in watch.traces:
                    self._tell(trace, watch.lines, watch.left_out)
                watch.lines, watch.left_out = [], 0
            for trace in [trace for trace, until in watch.traces.items() if until <= now]:
                del watch.traces[trace]
                _log.info("trace_ended", trace=trace)
        self._end_unwatched()
        self._ticking = bool(self._watches)
        if self._ticking:
            asyncio.get_running_loop().call_later(FLUSH_S, self._tick)

    def _end_unwatched(self) -> None:
        for key in [key for key, watch in self._watches.items() if not watch.traces]:
            for session in self._watches.pop(key).taps.values():
                session.trace(None)

    def _tell(self, trace: str, lines: list[Line], left_out: int) -> None:
        self._publish(trace, TraceBatch(self._gateway, self._where, tuple(lines), left_out))

    def _publish(self, trace: str, batch: TraceBatch) -> None:
        channel = self._keys.trace_lines(trace)
        sealed = seal(self._sealer, channel, batch, self._clock.wall_ms())
        # Redis may be away; the lines are lost then, as whatever is published.
        self._link.publish(channel, sealed).add_done_callback(asyncio.Future.exception)


def _name(frame: Any) -> str:
    return type(frame).__name__.lower()
