"""A client below WebSocket: bytes on a socket, so that it can stop anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any, Self, cast

from homeport import codec, frames
from homeport.limits import SUBPROTOCOL
from websockets.frames import Frame, Opcode

from gateway.address import Address
from tests.harness import ANSWER_S

UPGRADE = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": SUBPROTOCOL,
}
"""The headers of a good upgrade (RFC 6455 section 1.2)."""


def upgrade(path: str = "/v1", *more: tuple[str, str], **changes: str | None) -> bytes:
    """An upgrade request with `more` headers; one of `changes` that is None is left out.

    Names in `changes` have ``_`` for ``-``.
    """
    headers = {**UPGRADE, **{name.replace("_", "-"): value for name, value in changes.items()}}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    lines += [f"{name}: {value}" for name, value in more]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def message(payload: bytes, opcode: Opcode = Opcode.BINARY, *, fin: bool = True) -> bytes:
    """One masked WebSocket frame, as a client sends it."""
    return Frame(opcode, payload, fin).serialize(mask=True)


class RawSocket:
    """One TCP or TLS connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @property
    def transport(self) -> asyncio.Transport:
        """What reads and writes; while its reading is paused, this client does not read."""
        return cast("asyncio.Transport", self.writer.transport)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        address: Address | None,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int = 0,
        source: str = "",
        first: bytes = b"",
    ) -> AsyncIterator[Self]:
        """Connect. `receive_buffer` is the kernel's, in bytes, where it must be small; `source` is
        the local address to come from; `first` is sent before TLS begins."""
        assert address is not None
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            sock.bind((source, 0))
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", address.port))
            await asyncio.get_running_loop().sock_sendall(sock, first)
        except OSError:
            sock.close()
            raise
        options: dict[str, Any] = {"ssl": tls, "server_hostname": "localhost"} if tls else {}
        reader, writer = await asyncio.open_connection(sock=sock, limit=2**16, **options)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def other_end(self) -> socket.socket:
        """The server's end of a connection to a gateway in this process, as the kernel has it; to
        be closed by the caller, which leaves the connection as it is."""
        name = self.writer.get_extra_info("sockname")
        for descriptor in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # gone meanwhile, or not connected
                if not os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
                    continue
                with socket.socket(fileno=os.dup(int(descriptor))) as found:
                    if found.getpeername() == name:
                        return found.dup()
        raise AssertionError("no descriptor of this process is the other end")

    async def response(self) -> tuple[int, str]:
        """The status and the whole head of the HTTP response."""
        async with asyncio.timeout(ANSWER_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        return int(head.split(" ", 2)[1]), head

    async def frame(self) -> tuple[int, bytes]:
        """The next WebSocket frame, as (opcode, payload)."""
        async with asyncio.timeout(ANSWER_S):
            first, size = await self.reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
            return first & 15, await self.reader.readexactly(size)

    async def server_frame(self) -> frames.ServerFrame:
        """The next frame of protocol v1."""
        opcode, payload = await self.frame()
        assert opcode == Opcode.BINARY
        return codec.decode_server(payload)

    async def closed(self) -> int | None:
        """The code of the close frame; None where the connection ends without one."""
        try:
            while True:
                opcode, payload = await self.frame()
                if opcode == Opcode.CLOSE:
                    return int.from_bytes(payload[:2], "big")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    async def ended(self) -> bytes:
        """What is left to read, once the server has ended the connection."""
        rest = b""
        async with asyncio.timeout(ANSWER_S):
            with contextlib.suppress(ConnectionError):
                while data := await self.reader.read(2**16):
                    rest += data
        return rest

    async def open_session(self, token: str, device: str = "d1") -> None:
        """Upgrade and connect."""
        self.writer.write(upgrade())
        assert (await self.response())[0] == 101
        self.writer.write(message(codec.encode(frames.Connect(1, device, token))))
        assert isinstance(await self.server_frame(), frames.Connected)
