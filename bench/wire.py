"""WebSocket and TLS from the client's side, without I/O, made for a load generator.

`websockets` would cost more for one frame than a gateway does. This reads only what servers may
send (RFC 6455: unmasked frames, here never fragmented), hands on each message by its place in the
bytes that were read, and masks with a key of zeros, which every server must take and which costs
nothing here.
"""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
from collections.abc import Callable
from typing import Final

TEXT: Final = 0x81
BINARY: Final = 0x82
_CLOSE: Final = 0x88
_PING: Final = 0x89
_PONG: Final = 0x8A
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_HEAD: Final = 16 * 1024

NO_CLOSE_FRAME: Final = 1006
"""The close code of a connection that ended without one (RFC 6455 section 7.1.5)."""


class WireFault(Exception):
    """The server sent what it may not send."""


def masked(payload: bytes, first: int = BINARY) -> bytes:
    """`payload` as one final client frame whose first byte is `first`."""
    size = len(payload)
    if size < 126:
        return b"%c%c\0\0\0\0%b" % (first, 0x80 | size, payload)
    if size < 65536:
        return b"%c\xfe%b\0\0\0\0%b" % (first, size.to_bytes(2, "big"), payload)
    return b"%c\xff%b\0\0\0\0%b" % (first, size.to_bytes(8, "big"), payload)


class WebSocketClient:
    """One client's side of a WebSocket. Subclasses say what messages mean.

    Bytes that came go to `receive`; what is to be sent goes to `write`, which whoever does the I/O
    sets, like `end`, which closes the connection.
    """

    __slots__ = ("_accept", "_tail", "close_code", "end", "upgraded", "write")

    def __init__(self) -> None:
        self.write: Callable[[bytes], None]
        self.end: Callable[[], None]
        self._accept = b""
        self._tail = b""
        self.upgraded = False
        self.close_code = NO_CLOSE_FRAME

    # -- what subclasses say ---------------------------------------------------------------------

    def on_open(self) -> None:
        """The opening handshake is done."""

    def on_message(self, data: bytes, start: int, end: int) -> None:
        """A message is ``data[start:end]``."""
        raise NotImplementedError

    def on_read(self) -> None:
        """All messages of one read were handed on."""

    # -- the opening handshake -------------------------------------------------------------------

    def begin(self, host: str, path: str, subprotocol: str | None) -> None:
        """Ask for the upgrade. `host` is the Host header's value, `path` the target."""
        key = base64.b64encode(os.urandom(16))
        self._accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        self._tail = b""
        self.upgraded = False
        self.close_code = NO_CLOSE_FRAME
        offer = f"Sec-WebSocket-Protocol: {subprotocol}\r\n" if subprotocol else ""
        self.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key.decode()}\r\n"
            f"{offer}\r\n".encode()
        )

    def _upgrade(self, data: bytes) -> None:
        data = self._tail + data
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            if len(data) > _MAX_HEAD:
                raise WireFault("the answer to the upgrade does not end")
            self._tail = data
            return
        status, *lines = head.split(b"\r\n")
        if not status.startswith(b"HTTP/1.1 101"):
            raise WireFault(f"the upgrade was refused: {status.decode(errors='replace')}")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in lines)
        }
        if headers.get(b"sec-websocket-accept") != self._accept:
            raise WireFault("the answer to the upgrade has another Sec-WebSocket-Accept")
        self._tail = b""
        self.upgraded = True
        self.on_open()
        if rest:
            self.receive(rest)

    # -- frames ----------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Take what was read.

        Raises:
            WireFault: the upgrade was refused, or this is not WebSocket.
        """
        if not self.upgraded:
            self._upgrade(data)
            return
        if self._tail:
            data = self._tail + data
        at, size = 0, len(data)
        while size - at >= 2:
            length, start = data[at + 1], at + 2
            if length >= 126:
                if length > 127:
                    raise WireFault("a frame of the server is masked")
                start += 2 if length == 126 else 8  # past `size` where it has not all come
                length = int.from_bytes(data[at + 2 : start], "big")
            end = start + length
            if end > size:
                break
            opcode = data[at]
            if opcode in (BINARY, TEXT):
                self.on_message(data, start, end)
            else:
                self._control(opcode, data[start:end])
            at = end
        self._tail = data[at:] if at < size else b""
        self.on_read()

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == _CLOSE:
            if len(payload) >= 2:
                self.close_code = int.from_bytes(payload[:2], "big")
            self.write(masked(payload[:2], _CLOSE))
            self.end()
        elif opcode == _PING:
            self.write(masked(payload, _PONG))
        elif opcode != _PONG:
            raise WireFault(f"a frame begins with {opcode:#04x}")

    def say_goodbye(self) -> None:
        """Send a close frame; the server answers it and ends the connection."""
        self.write(masked((1000).to_bytes(2, "big"), _CLOSE))


class TlsPipe:
    """TLS between a client and the bytes on the wire, with a session that can be taken up again.

    asyncio's own TLS can't be given a session. `write` sends bytes on the wire, `on_plain` takes
    what was decrypted, `on_ready` is called after the handshake.
    """

    __slots__ = ("_incoming", "_object", "_on_plain", "_on_ready", "_outgoing", "_ready", "_write")

    def __init__(
        self,
        context: ssl.SSLContext,
        host: str,
        session: ssl.SSLSession | None,
        write: Callable[[bytes], object],
        on_ready: Callable[[], None],
        on_plain: Callable[[bytes], None],
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=host, session=session
        )
        self._write = write
        self._on_ready = on_ready
        self._on_plain = on_plain
        self._ready = False

    @property
    def session(self) -> ssl.SSLSession | None:
        """The session as it is now; TLS 1.3 tickets come after the handshake."""
        return self._object.session

    @property
    def resumed(self) -> bool:
        """Whether the server took the session up."""
        return bool(self._object.session_reused)

    def start(self) -> None:
        """Say the client's hello."""
        self._handshake()

    def receive(self, data: bytes) -> None:
        """Take bytes from the wire.

        Raises:
            ssl.SSLError: they are not what the handshake or the keys ask for.
        """
        self._incoming.write(data)
        if not self._ready:
            self._handshake()
        if self._ready:
            self._read()

    def _handshake(self) -> None:
        try:
            self._object.do_handshake()
            self._ready = True
        except ssl.SSLWantReadError:
            pass  # the rest has not come yet
        self._flush()
        if self._ready:
            self._on_ready()

    def _read(self) -> None:
        while True:
            try:
                plain = self._object.read(65536)
            except ssl.SSLWantReadError:
                break
            if not plain:
                break  # close_notify
            self._on_plain(plain)
            if not self._incoming.pending and not self._object.pending():
                break

    def send(self, plain: bytes) -> None:
        """Encrypt and write."""
        self._object.write(plain)
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._write(self._outgoing.read())
