"""A client that floods, as a program of its own: ``python -m tests.system.flood``.

It reads a `Flood` from its standard input, as MessagePack. It says "ready" when its sessions are
connected, floods when it reads another line, and says at the end how many bytes it could send.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from homeport import codec, frames
from homeport.limits import SUBPROTOCOL
from websockets.client import ClientProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from tests.harness import client_tls
from tests.system.costly import Stock, block, forms, framed, pieces

BURST_BYTES = 64 * 1024
"""What is written at once, before anything else and again and again."""


class Flood(msgspec.Struct):
    """What to do: `form` is one of `tests.system.costly.forms`, or `CONNECTS`. An empty `ca` is no
    TLS. `tokens` has one for each session, all of the same user."""

    url: str
    ca: str
    form: str
    stock: Stock
    tokens: list[str]
    seconds: float


CONNECTS = "connects"
"""To connect, and leave, again and again."""


class Session:
    """A raw session: it is connected, and reads what comes as fast as it can."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._reader = reader
        self.sent = 0

    @classmethod
    async def open(cls, flood: Flood, number: int) -> Session:
        """Shake hands, connect and wait for the answer."""
        uri = urlsplit(flood.url)
        tls = client_tls(Path(flood.ca)) if flood.ca else None
        reader, writer = await asyncio.open_connection(uri.hostname, uri.port, ssl=tls)
        protocol = ClientProtocol(parse_uri(flood.url), subprotocols=[Subprotocol(SUBPROTOCOL)])
        protocol.send_request(protocol.connect())
        writer.write(b"".join(protocol.data_to_send()))
        await reader.readuntil(b"\r\n\r\n")
        connect = frames.Connect(1, f"d{number}", flood.tokens[number])
        writer.write(framed(codec.encode(connect)))
        await reader.readexactly(2)  # what comes first is the answer
        return cls(reader, writer)

    async def read(self) -> None:
        """Read until it ends."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(1 << 20):
                pass

    async def flood(self, flood: Flood, until: float) -> None:
        """Send as fast as it goes."""
        reading = asyncio.create_task(self.read())
        made = pieces(forms()[flood.form], flood.stock, os.urandom(6).hex())
        try:
            async with asyncio.timeout_at(until):
                while not reading.done():
                    data = block(made, BURST_BYTES)
                    self.writer.write(data)
                    await self.writer.drain()
                    self.sent += len(data)
                    await asyncio.sleep(0)
        except (TimeoutError, ConnectionError):
            pass
        finally:
            reading.cancel()


async def _connects(flood: Flood, number: int, until: float) -> int:
    count = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(until):
            while True:
                with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                    session = await Session.open(flood, number)
                    session.writer.transport.abort()
                    count += 1
    return count


async def _main(flood: Flood) -> None:
    many = range(len(flood.tokens))
    loop = asyncio.get_running_loop()
    sessions = []
    if flood.form != CONNECTS:
        sessions = [await Session.open(flood, number) for number in many]
        for session in sessions:
            joined = frames.RoomJoin(1, flood.stock.room, 0)
            session.writer.write(framed(codec.encode(joined)))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.buffer.readline)
    until = loop.time() + flood.seconds
    if flood.form == CONNECTS:
        counts = await asyncio.gather(*(_connects(flood, number, until) for number in many))
        print(sum(counts), flush=True)
        return
    await asyncio.gather(*(session.flood(flood, until) for session in sessions))
    print(sum(session.sent for session in sessions), flush=True)
    for session in sessions:
        session.writer.transport.abort()


if __name__ == "__main__":
    # A real one has a machine of its own, also where all that is measured has real-time priority.
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.nice(10)
    size = int(sys.stdin.buffer.readline())
    asyncio.run(_main(msgspec.msgpack.decode(sys.stdin.buffer.read(size), type=Flood)))
