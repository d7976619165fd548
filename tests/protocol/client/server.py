"""A server whose part the test plays: real sockets, scripted answers.

A test takes each connection as a `Peer`, reads the client's frames one by one, and answers, or
does not. Nothing is answered by itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from homeport import frames
from homeport.codec import decode_client, encode
from homeport.frames import Ack, ClientFrame, Connect, Cursor, Limits, Message, ServerFrame
from homeport.limits import PATH, SUBPROTOCOL
from msgspec import Raw, Struct
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

USER = "alice"
EPOCH = "e1"
MESSAGE_ID = "6d" * 16
"""The id that `Peer.ok` gives to what was sent."""
SEQ = 500
"""The number that it gives to that in the conversation; before those of `push`."""

_F = TypeVar("_F")


class Peer:
    """The server's end of one connection."""

    def __init__(self, ws: ServerConnection) -> None:
        self.ws = ws
        self._marks: list[frames.Mark] = []

    async def next(self) -> ClientFrame:
        """The client's next frame. A mark, which leaves by itself, is kept for `mark`."""
        while True:
            data = await self.ws.recv()
            assert isinstance(data, bytes)
            frame = decode_client(data)
            if not isinstance(frame, frames.Mark):
                return frame
            self._marks.append(frame)

    async def mark(self) -> frames.Mark:
        """The client's next mark; nothing but acks may come before it."""
        while not self._marks:
            data = await self.ws.recv()
            assert isinstance(data, bytes)
            frame = decode_client(data)
            assert isinstance(frame, frames.Mark | Ack), frame
            if isinstance(frame, frames.Mark):
                return frame
        return self._marks.pop(0)

    async def expect(self, kind: type[_F]) -> _F:
        """The client's next frame, which must be a `kind`."""
        frame = await self.next()
        assert isinstance(frame, kind), frame
        return frame

    async def acked(self, number: int) -> list[int]:
        """The acks up to the one of `number`; nothing else may come."""
        acks = [(await self.expect(Ack)).number]
        while acks[-1] < number:
            acks.append((await self.expect(Ack)).number)
        assert acks[-1] == number
        return acks

    async def send(self, *answers: ServerFrame) -> None:
        """Send frames."""
        for answer in answers:
            await self.ws.send(encode(answer))

    def send_together(self, *answers: ServerFrame | bytes) -> None:
        """Send frames, or what is to be none, so that they arrive in one read."""
        data = [each if isinstance(each, bytes) else encode(each) for each in answers]
        raw = [Frame(Opcode.BINARY, each).serialize(mask=False) for each in data]
        self.ws.transport.write(b"".join(raw))

    async def accept(self, **changes: Any) -> Connect:
        """Read connect, and answer connected, by default from where the client's cursor is."""
        connect = await self.expect(Connect)
        await self.send(answer(connect, **changes))
        return connect

    async def push(self, first: int, last: int | None = None, sender: str = "bob") -> None:
        """Push numbers `first` to `last`."""
        await self.send(*(push(number, sender) for number in range(first, (last or first) + 1)))

    async def ok(self, send: frames.Send | frames.RoomSend, time: int = 1000) -> None:
        """Accept a send."""
        seq = SEQ if isinstance(send, frames.Send) else 0
        await self.done(send, frames.Accepted(bytes.fromhex(MESSAGE_ID), time, seq))

    async def done(self, request: frames.Request[Any], answer: Struct | None = None) -> None:
        """Answer a request with ok."""
        await self.send(ok(request, answer))

    async def refuse(self, code: int, close: int, **fields: Any) -> Connect:
        """Read connect, and refuse it."""
        connect = await self.expect(Connect)
        await self.send(frames.Error(connect.id, code, "no", **fields))
        await self.ws.close(close)
        return connect

    async def closed(self) -> int | None:
        """Wait until the client has closed; returns its code."""
        try:
            frame = await self.next()
        except ConnectionClosed:
            return self.ws.close_code
        raise AssertionError(f"the client sent {type(frame).__name__} instead of closing")

    async def hung_up(self) -> None:
        """Wait until the client has closed the socket; websockets must not be reading from it."""
        end = self.ws.transport.get_extra_info("socket")
        loop = asyncio.get_running_loop()
        with socket.socket(fileno=os.dup(end.fileno())) as read:
            try:
                while await loop.sock_recv(read, 4096):
                    pass
            except ConnectionResetError:
                return

    def cut(self) -> None:
        """Lose the connection without a word."""
        self.ws.transport.abort()


def ok(request: frames.Request[Any], answer: Struct | None = None) -> frames.Ok:
    """What says that a request was done, with its answer."""
    return frames.Ok(request.id, Raw(encode(answer)))


def answer(connect: Connect, **changes: Any) -> frames.Connected:
    """Connected, by default from where the client's cursor is."""
    fields: dict[str, Any] = {
        "id": connect.id,
        "session": "s1",
        "region": "eu",
        "user": USER,
        "heartbeat": 25.0,
        "expires": 4_000_000_000,
        "cursor": connect.cursor or Cursor(EPOCH, 0, 0),
        "resumed": connect.cursor is not None,
        "lost": None,
        "limits": Limits(8192, 256, 600_000),
    }
    return frames.Connected(**fields | changes)


def push(number: int, sender: str = "bob") -> frames.Push:
    """Number `number` of the inbox, whose body is the number. In its conversation it is `SEQ` and
    that: the two are never the same."""
    message = Message(number.to_bytes(16, "big"), sender, USER, 7, "text", str(number).encode())
    return frames.Push(number, 1000 + number, SEQ + number, message)


def reset(number: int, seq: int, peer: str = "bob") -> frames.Reset:
    """Number `number` of the inbox: a conversation counts no more above `seq`."""
    return frames.Reset(number, 1000 + number, peer, seq)


class Server:
    """Where connections arrive."""

    def __init__(self) -> None:
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.paths: list[str] = []
        self.url = ""

    async def peer(self) -> Peer:
        """The next connection."""
        return await self.peers.get()

    async def handle(self, ws: ServerConnection) -> None:
        """Take a connection, until it ends."""
        assert ws.request is not None
        self.paths.append(ws.request.path)
        self.peers.put_nowait(Peer(ws))
        await ws.wait_closed()


@asynccontextmanager
async def running(
    tls: ssl.SSLContext | None = None, listening: socket.socket | None = None, **options: Any
) -> AsyncIterator[Server]:
    """A server on a free port of loopback, or on the socket `listening`."""
    server = Server()
    at: dict[str, Any] = {"host": "127.0.0.1", "port": 0}
    if listening is not None:
        at = {"sock": listening}
    settings: dict[str, Any] = {
        "subprotocols": [Subprotocol(SUBPROTOCOL)],
        "compression": None,
        "ping_interval": None,
        "close_timeout": 1,
        "ssl": tls,
    }
    async with serve(server.handle, **at, **settings | options) as served:
        port = next(iter(served.sockets)).getsockname()[1]
        server.url = f"{'ws' if tls is None else 'wss'}://localhost:{port}{PATH}"
        yield server
