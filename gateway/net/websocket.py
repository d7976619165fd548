"""One WebSocket connection: bytes to messages for a session, and frames back.

`websockets` speaks the protocol (RFC 6455) without doing I/O; this is the I/O. Messages to the
client do not go through it: `gateway.net.framing` frames them, and all of one turn of the loop
leave in one write.

A close frame between the fragments of a message is answered with 1002, by `websockets` itself
(`Protocol.recv_frame`: "incomplete fragmented message"), where RFC 6455 section 5.4 lets control
frames lie between fragments. The connection ends either way, and a whole message was never there.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

import structlog
from homeport import codes
from homeport.codes import CloseCode
from homeport.limits import CONNECT_TIMEOUT_S, MAX_CONNECT_BYTES, MAX_FRAME_BYTES
from websockets.frames import Close, Frame, Opcode
from websockets.frames import CloseCode as WebSocketCode
from websockets.http11 import Request
from websockets.protocol import OPEN

from gateway.hub.fanout import Bundle
from gateway.net.admission import Visit
from gateway.net.framing import Framer
from gateway.net.incoming import SHARE, SHORT_BYTES, FrameCutter, RequestCutter, TooLong
from gateway.net.lost import is_lost
from gateway.net.outbound import Outbound
from gateway.net.outboxes import Outboxes
from gateway.net.upgrade import Upgrades
from gateway.session.session import Session
from gateway.session.sessions import Sessions
from gateway.session.timing import Timing
from gateway.turns import Turns

WRITE_HIGH_WATER: Final = 64 * 1024
"""Bytes waiting for a client past which nothing more is pushed to it."""

CLOSE_TIMEOUT_S: Final = 5.0
"""How long a client may take to answer a close frame, or to read what was sent before it."""

STRANGER_CLOSE_TIMEOUT_S: Final = 1.0
"""The same for a client whose connect was not accepted, once its time to connect is over. A client
without a token must not double its time on a connection by ignoring the close frame."""

_log = structlog.get_logger()


class WebSocketConnection(asyncio.Protocol):
    """Carries one `Session`. Implements `gateway.session.wire.Wire`."""

    __slots__ = (
        "_authenticated",
        "_behind",
        "_closing",
        "_connections",
        "_ended",
        "_fragments",
        "_framer",
        "_incoming",
        "_out",
        "_out_size",
        "_outbound",
        "_outboxes",
        "_peer",
        "_queued",
        "_request_cutter",
        "_session",
        "_sessions",
        "_throttled",
        "_timing",
        "_transport",
        "_turns",
        "_upgrades",
        "_visit",
        "congested",
    )

    def __init__(
        self,
        sessions: Sessions,
        upgrades: Upgrades,
        timing: Timing,
        visit: Visit,
        *,
        connections: set[WebSocketConnection],
        framer: Framer,
        outbound: Outbound,
        outboxes: Outboxes,
        turns: Turns[float],
    ) -> None:
        """`connections` are those of the listener that are open."""
        self._sessions = sessions
        self._upgrades = upgrades
        self._timing = timing
        self._connections = connections
        self._framer = framer
        self._outbound = outbound
        self._outboxes = outboxes
        self._turns = turns
        self._visit = visit
        self._session: Session | None = None
        self._out: list[bytes] = []
        self._out_size = 0
        self._fragments: bytearray | None = None
        self._behind = False  # frames were read and not handed on
        self._queued = False  # it waits for a turn
        self._throttled = False
        self._incoming: FrameCutter | None = None  # none before the upgrade
        self._request_cutter = RequestCutter()
        self._ended = False  # the client's side
        self._authenticated = False
        self._closing = False
        self.congested = False

    # -- asyncio.Protocol ------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open and, for WSS, TLS is done."""
        self._connections.add(self)
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self._peer = self._upgrades.peer()
        self._timing.wheel.schedule(self, self._visit.opened + CONNECT_TIMEOUT_S)

    def data_received(self, data: bytes) -> None:
        """Hand on each whole message in order: a share at once, the rest in turns."""
        if self._ended:
            return
        try:
            if self._session is None:
                data = self._request(data)
            if self._session is not None and self._incoming is not None:
                self._incoming.add(data)
                if not self._behind:
                    self._hand_on(self._session, self._incoming)
        except TooLong:  # the opening handshake
            self._upgrades.too_large()
            self._transport.abort()
        except Exception as error:  # noqa: BLE001 - whatever it is, the client must be told
            self._failed(error)

    def _take_turn(self, _: float) -> float:
        """Hand on a share of what came before; returns the seconds that it took."""
        began = self._timing.clock.steady()
        self._queued = False
        if self._session is not None and self._incoming is not None:  # else it was lost meanwhile
            try:
                self._hand_on(self._session, self._incoming)
            except Exception as error:  # noqa: BLE001 - as in `data_received`
                self._failed(error)
        return self._timing.clock.steady() - began

    def _hand_on(self, session: Session, incoming: FrameCutter) -> None:
        """Hand on a share of the whole frames that have come; none while throttled."""
        was_behind = self._behind
        if self._throttled:
            self._behind = len(incoming) > 0  # a transport may bring more after it was paused
        else:
            try:
                self._behind = self._share(session, incoming)
            except TooLong:
                self._behind = False
                self._peer.fail(WebSocketCode.MESSAGE_TOO_BIG)
                self._answer()
        if was_behind or self._behind:
            self._pace()

    def _share(self, session: Session, incoming: FrameCutter) -> bool:
        """Hand on a share of the whole frames; returns whether there may be more."""
        left = SHARE
        for plain, piece in incoming.cut():
            if plain:
                session.receive(piece)
            else:
                self._parse(piece)
            left -= 1 + len(piece) // SHORT_BYTES
            if left <= 0 or self._throttled:
                return len(incoming) > 0
        return False

    def _pace(self) -> None:
        """Read on only when everything that came is handed on, and wait for a turn until then."""
        if self._behind and not self._throttled and not self._queued:
            self._queued = True
            self._turns.ask(self._take_turn)
        reading = not (self._behind or self._throttled)
        if reading is not self._transport.is_reading():
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _failed(self, error: Exception) -> None:
        """Tell the client of a fault of ours, whatever it is, and end the connection."""
        _log.error("connection_failed", exc_info=error)
        if self._session is None:
            self._transport.abort()
        else:
            self._session.close(codes.INTERNAL_ERROR)

    def _request(self, data: bytes) -> bytes:
        """Parse the opening handshake, to the byte, and return what came behind it.

        Frames that are parsed together with it are answered before it is.
        """
        end = self._request_cutter.cut(data)
        if end is None:
            self._parse(data)
            return b""
        self._incoming = FrameCutter(MAX_CONNECT_BYTES)
        self._parse(data[:end])
        return data[end:]

    def _parse(self, data: bytes) -> None:
        self._peer.receive_data(data)
        for event in self._peer.events_received():
            if isinstance(event, Frame):
                self._frame(event)
            elif isinstance(event, Request):
                self._upgrade(event)
        self._answer()

    def eof_received(self) -> None:
        """The client half-closed; so the connection closes."""
        self._ended = True
        self._peer.receive_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._timing.wheel.cancel(self)
        self._out.clear()
        self._incoming = None
        self._connections.discard(self)
        self._outboxes.discard(self)
        self._visit.end()
        if self._session is not None:
            self._session.disconnected()

    def pause_writing(self) -> None:
        """The client does not read fast enough."""
        self.congested = True
        self._outboxes.add(self)
        if self._session is not None:
            self._session.writable(False)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.congested = False
        self._outboxes.discard(self)
        if self._session is not None:
            self._session.writable(True)

    def _upgrade(self, request: Request) -> None:
        accepted = self._upgrades.answer(self._peer, request, self._visit)
        if accepted is not None:
            self._timing.wheel.cancel(self)
            self._session = self._sessions.open(self, accepted.bearer, self._visit.opened)

    # -- messages --------------------------------------------------------------------------------

    def _frame(self, frame: Frame) -> None:
        session = self._session
        if session is None:
            return
        if not frame.fin or frame.opcode not in (Opcode.BINARY, Opcode.CONT):
            session.intake.take(self._timing.clock.steady())  # with a whole message, `receive` does
        if frame.opcode is Opcode.BINARY and frame.fin:
            session.receive(bytes(frame.data))
        elif frame.opcode is Opcode.TEXT:
            session.receive_text()
        elif frame.opcode is Opcode.CLOSE:
            session.left(Close.parse(frame.data).code)
        elif frame.opcode is Opcode.BINARY:
            self._fragments = bytearray(frame.data)
        elif frame.opcode is Opcode.CONT and self._fragments is not None:
            self._fragments += frame.data
            if self._incoming is not None and len(self._fragments) > self._incoming.limit:
                raise TooLong
            if frame.fin:
                message, self._fragments = bytes(self._fragments), None
                session.receive(message)

    def _answer(self) -> None:
        """Send what websockets wants sent: the handshake's response, pongs, the close frame."""
        for data in self._peer.data_to_send():
            if data:
                self._collect(data)
            else:  # SEND_EOF: this side is done
                self.flush()
                # To close with something unread resets the connection, and the reset may overtake
                # the close frame. TLS has no half-close; there the transport sees to it.
                if self._transport.can_write_eof():
                    self._write_eof()
                else:
                    self._transport.close()
        if self._peer.close_expected() and not self._closing:
            self._closing = True
            self._wind_up()

    def _write_eof(self) -> None:
        try:
            self._transport.write_eof()
        except OSError as error:  # shutdown(2) of a connection that was reset
            if not is_lost(error):
                raise
            self._transport.abort()

    # -- Wire ------------------------------------------------------------------------------------

    def send(self, payload: bytes) -> None:
        """Frame and send one payload, with everything else of this turn of the loop."""
        self._collect(self._framer.framed(payload))

    def write(self, payload: bytes | Bundle) -> None:
        """Frame and send what is already joined, at once and behind everything sent before."""
        framer = self._framer
        data = framer.framed(payload) if isinstance(payload, bytes) else framer.joined(payload)
        if self._out:
            self._collect(data)
        else:
            self._transport.write(data)

    def _collect(self, data: bytes) -> None:
        if not self._out:
            self._outbound.add(self)
        self._out.append(data)
        self._out_size += len(data)
        if self._out_size > WRITE_HIGH_WATER:
            self.flush()  # so that the transport can say, before more is made, that it is too much

    @property
    def waiting(self) -> int:
        """Bytes that were sent and that the client has not made room for yet."""
        return self._out_size + self._transport.get_write_buffer_size()

    def flush(self) -> None:
        """Write what this turn of the loop has collected."""
        if self._out:
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            self._transport.write(data)

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Send what was sent before, then a close frame, then end the connection."""
        if self._peer.state is OPEN:
            text = f"{code.name}: {reason}" if reason else code.name
            self._peer.send_close(code.number, text.encode()[:123].decode(errors="ignore"))
            self._answer()

    def authenticated(self) -> None:
        """The client is known: its messages may be as large as v1 allows."""
        self._authenticated = True
        if self._incoming is not None:
            self._incoming.limit = MAX_FRAME_BYTES

    def throttle(self, throttled: bool) -> None:
        """Hand on nothing more from the client, also of what was read; or resume."""
        self._throttled = throttled
        self._pace()

    # -- time ------------------------------------------------------------------------------------

    def visit(self, now: float) -> float | None:
        """The opening handshake took too long, or the closing one did: end the connection."""
        if self._session is None:
            self._upgrades.too_late()
        self._transport.abort()
        return None

    def _wind_up(self) -> None:
        if self._session is not None:
            # Nothing may follow a close frame (RFC 6455 section 5.5.1).
            self._session.disconnected()
        self.throttle(False)  # or the client's own close frame would not be heard
        ends = self._timing.clock.steady()
        if self._authenticated:
            ends += CLOSE_TIMEOUT_S
        else:
            opened = self._visit.opened
            ends = max(opened + CONNECT_TIMEOUT_S, ends + STRANGER_CLOSE_TIMEOUT_S)
        self._timing.wheel.schedule(self, ends)

    @property
    def closing(self) -> bool:
        """True once a close frame was sent or received; what was written before still leaves."""
        return self._closing

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    @property
    def session(self) -> Session | None:
        """The session, once the opening handshake is done."""
        return self._session
