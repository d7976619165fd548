"""One WebSocket connection that carries frames.

It takes messages straight from the protocol instead of ``recv()``, and writes all frames of one
turn of the event loop at once: no task, no future and no system call a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import NegotiationError
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State
from websockets.typing import Subprotocol

from protocol.client.address import Address
from protocol.limits import MAX_FRAME_BYTES, SUBPROTOCOL

OPEN_TIMEOUT_S: Final = 10.0
"""Seconds for TCP, TLS and the WebSocket upgrade together."""

CLOSE_TIMEOUT_S: Final = 5.0
"""Seconds for the closing handshake (RFC 6455 section 7.1.1)."""


class Connection(ClientConnection):
    """A `ClientConnection` with a callback for messages and one write a turn.

    Attributes:
        receive: called with each binary message; must not raise. A server that speaks before it is
            set, so before it was asked anything, is dropped.
        fault: why this side ended the connection by `drop`, or None.
    """

    receive: Callable[[bytes], None] | None = None
    fault: str | None = None
    _parts = b""
    _write_planned = False
    _heard = 0.0
    _silence_s = 0.0
    _probe: bytes | None = None
    _closing = False
    _timer: asyncio.TimerHandle | None = None

    def process_event(self, event: Event) -> None:
        """Take a WebSocket frame from the protocol (called by websockets)."""
        if self.response is None or not isinstance(event, Frame):
            super().process_event(event)
        elif self.fault is not None:
            return  # what came in the same read as the fault
        elif self.receive is None:
            self.drop("the server spoke before it was asked")
        elif event.opcode is Opcode.BINARY and event.fin:
            self.receive(bytes(event.data))
        elif event.opcode is Opcode.TEXT:
            self.drop("the server sent a text message")
        elif event.opcode in (Opcode.BINARY, Opcode.CONT):
            self._parts += event.data
            if event.fin:
                whole, self._parts = self._parts, b""
                self.receive(whole)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket (called by asyncio)."""
        self._heard = self.loop.time()
        super().data_received(data)
        if self.close_deadline is not None and not self._closing:
            # The server said goodbye; it must not keep the socket open for ever.
            self._closing = True
            self._set_timer(self.close_deadline, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed (called by asyncio)."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def write(self, frame: bytes) -> None:
        """Send `frame` as one binary message at the end of this turn of the event loop.

        Does nothing on a connection that is closing: what matters is repeated on the next one.
        """
        if self.protocol.state is not State.OPEN:
            return
        self.protocol.send_binary(frame)
        if not self._write_planned:
            self._write_planned = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what was written, without waiting for the end of the turn."""
        self._write_planned = False
        if not self.transport.is_closing():  # uvloop's raise when written to after that
            self.send_data()

    def send_data(self) -> None:
        """Write what the protocol has to send (called by websockets, too)."""
        if self.protocol.state is State.OPEN:
            self.transport.write(b"".join(self.protocol.data_to_send()))
        else:
            super().send_data()  # it also handles the half-close that may be in there

    def drop(self, fault: str) -> None:
        """End the connection from this side without waiting for the other."""
        if self.fault is None:
            self.fault = fault
            self.transport.abort()

    def watch(self, silence_s: float, probe: bytes | None = None) -> None:
        """Drop the connection when nothing has been heard for `silence_s` seconds.

        `probe` is a frame to send half-way there, which the server must answer: it pings only
        clients that are silent themselves.
        """
        self._silence_s = silence_s
        self._probe = probe
        self._heard = self.loop.time()
        self._check()

    def _check(self) -> None:
        now, halfway = self.loop.time(), self._heard + self._silence_s / 2
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
        self._timer = self.loop.call_at(when, action)


class _Dial(connect):
    """`connect` that follows no redirect: the token is for the URL the caller gave."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def dial(address: Address) -> Connection:
    """Open a connection; the caller sets its ``receive`` before the first ``await``.

    Raises:
        OSError: TCP or TLS failed (`ssl.SSLCertVerificationError` is one).
        TimeoutError: it took over `OPEN_TIMEOUT_S`.
        websockets.exceptions.InvalidHandshake: the server or a proxy refused, or the server does
            not speak this subprotocol.
        websockets.exceptions.InvalidProxy: the proxy's URL can't be used.
        ImportError: a SOCKS proxy needs the package python-socks.
        ValueError: there can be no such host.
    """

    connection = await _Dial(
        address.url,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        compression=None,
        open_timeout=OPEN_TIMEOUT_S,
        close_timeout=CLOSE_TIMEOUT_S,
        ping_interval=None,  # the protocol has its own heartbeat
        max_size=MAX_FRAME_BYTES,
        max_queue=None,  # nothing is queued there
        create_connection=Connection,
        ssl=address.tls,
        proxy=None if address.is_loopback else address.proxy,
    )
    assert isinstance(connection, Connection)
    if connection.subprotocol != SUBPROTOCOL:
        connection.transport.abort()
        raise NegotiationError(f"the server does not speak {SUBPROTOCOL}")
    return connection
