"""One WebSocket connection that carries frames.

`websockets` speaks the protocol (RFC 6455) without doing I/O; this is the I/O. Messages are handed
on as they arrive, and all frames of one turn of the event loop leave in one write: no task, no
future and no system call a message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from websockets.client import ClientProtocol
from websockets.exceptions import NegotiationError
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from homeport.limits import MAX_FRAME_BYTES, SUBPROTOCOL
from homeport.version import __version__

CLIENT: Final = f"homeport-python/{__version__}"
"""How this SDK names itself."""

CLOSE_TIMEOUT_S: Final = 5.0
"""Seconds for the closing handshake (RFC 6455 section 7.1.1)."""

_quiet = logging.getLogger("homeport.client.websockets")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False
_quiet.setLevel(logging.CRITICAL)
"""At DEBUG, websockets logs the beginning of each frame, and so of bodies and tokens."""


class Connection(asyncio.Protocol):
    """The client's end of a WebSocket, with a callback for messages and one write a turn.

    Attributes:
        receive: called with each binary message; must not raise. A server that speaks before it is
            set, so before it was asked anything, is dropped.
        fault: why this side ended the connection by `drop`, or None.
        congested: more waits to be written than the server takes.
    """

    def __init__(self, uri: WebSocketURI) -> None:
        self.receive: Callable[[bytes], None] | None = None
        self.fault: str | None = None
        self.congested = False
        self._loop = asyncio.get_running_loop()
        self._peer = ClientProtocol(
            uri,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            max_size=MAX_FRAME_BYTES,
            logger=_quiet,
        )
        self._transport: asyncio.Transport | None = None
        self._answered = asyncio.Event()  # the upgrade, in whatever way
        self._selected = False  # our subprotocol
        self._lost = asyncio.Event()
        self._parts = b""
        self._write_planned = False
        self._heard = 0.0
        self._silence_s = 0.0
        self._probe: bytes | None = None
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None

    # --- asyncio.Protocol ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The server is reached: ask for the upgrade."""
        self._transport = cast("asyncio.Transport", transport)
        request = self._peer.connect()
        request.headers["User-Agent"] = CLIENT
        self._peer.send_request(request)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Hand on each whole message, at once and in order."""
        self._heard = self._loop.time()
        self._peer.receive_data(data)
        events = self._peer.events_received()
        self._send()  # pongs, and the answer to a close frame
        for event in events:
            if isinstance(event, Frame):
                self._frame(event)
            else:
                self._selected = bool(event.headers.get_all("Sec-WebSocket-Protocol"))
        if self._peer.state is State.OPEN:
            if not self._answered.is_set():
                self._answered.set()
        elif self._peer.close_expected():
            self._wind_up()

    def eof_received(self) -> None:
        """The server ended; so asyncio closes the connection."""
        self._peer.receive_eof()
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        if self._timer is not None:
            self._timer.cancel()
        self._peer.receive_eof()
        self._answered.set()
        self._lost.set()

    def pause_writing(self) -> None:
        """The server does not read fast enough."""
        self.congested = True

    def resume_writing(self) -> None:
        """The server has caught up."""
        self.congested = False

    # --- opening and closing ------------------------------------------------------------------

    async def upgraded(self) -> None:
        """Wait until the server has answered the upgrade.

        Raises:
            websockets.exceptions.InvalidHandshake: the server refused, or it does not speak this
                subprotocol.
        """
        await self._answered.wait()
        if self._peer.handshake_exc is not None:
            raise self._peer.handshake_exc
        if not self._selected:
            raise NegotiationError(f"the server does not speak {SUBPROTOCOL}")

    async def closed(self) -> tuple[int, str]:
        """Wait until the socket is closed; returns the server's close code (1006 for none) and
        reason."""
        await self._lost.wait()
        # An IntEnum shows as one in logs.
        return int(self._peer.close_code or 1006), self._peer.close_reason or ""

    async def close(self) -> None:
        """Do the closing handshake, unless it was done; leave no socket even when cancelled."""
        try:
            if self._peer.state is State.OPEN:
                self._peer.send_close(1000)
                self._send()
                self._wind_up()
            await self._lost.wait()
        finally:
            self.abort()

    def drop(self, fault: str) -> None:
        """End the connection from this side without waiting for the other."""
        if self.fault is None:
            self.fault = fault
            self.abort()

    def abort(self) -> None:
        """Close the socket at once, if there is one."""
        if self._transport is not None:
            self._transport.abort()

    def _wind_up(self) -> None:
        """The server is to close the socket, and must not keep it open for ever."""
        self._answered.set()
        if not self._closing:
            self._closing = True
            self._set_timer(self._loop.time() + CLOSE_TIMEOUT_S, self.abort)

    # --- frames -------------------------------------------------------------------------------

    def _frame(self, frame: Frame) -> None:
        if self.fault is not None:
            return  # what came in the same read as the fault
        if self.receive is None:
            self.drop("the server spoke before it was asked")
        elif frame.opcode is Opcode.BINARY and frame.fin:
            self.receive(bytes(frame.data))
        elif frame.opcode is Opcode.TEXT:
            self.drop("the server sent a text message")
        elif frame.opcode in (Opcode.BINARY, Opcode.CONT):
            self._parts += frame.data
            if frame.fin:
                whole, self._parts = self._parts, b""
                self.receive(whole)

    def write(self, frame: bytes) -> None:
        """Send `frame` as one binary message at the end of this turn of the event loop.

        Does nothing on a connection that is closing: what matters is repeated on the next one.
        """
        if self._peer.state is not State.OPEN:
            return
        self._peer.send_binary(frame)
        if not self._write_planned:
            self._write_planned = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what was written, without waiting for the end of the turn."""
        self._write_planned = False
        self._send()

    def _send(self) -> None:
        """Write what the protocol has to send."""
        data = self._peer.data_to_send()
        transport = self._transport
        if not data or transport is None or transport.is_closing():
            return  # uvloop's raise when written to after that
        transport.write(b"".join(data))
        if not data[-1]:  # the end, after which the server is not read any more either
            transport.close()

    # --- silence ------------------------------------------------------------------------------

    def watch(self, silence_s: float, probe: bytes | None = None) -> None:
        """Drop the connection when nothing has been heard for `silence_s` seconds.

        `probe` is a frame to send half-way there, which the server must answer: it pings only
        clients that are silent themselves.
        """
        self._silence_s = silence_s
        self._probe = probe
        self._heard = self._loop.time()
        self._check()

    def _check(self) -> None:
        now, halfway = self._loop.time(), self._heard + self._silence_s / 2
        until = self._heard + self._silence_s
        if now >= until:
            self.drop(f"nothing was heard for {self._silence_s:g} seconds")
        elif self._probe is None or now < halfway:
            self._set_timer(until if self._probe is None else halfway, self._check)
        else:
            self.write(self._probe)
            self._set_timer(until, self._check)

    def _set_timer(self, when: float, action: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, action)
