"""Opening a connection: what is given up leaves nothing behind, at whatever step it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from homeport import Disconnected

from tests.protocol.client.conftest import Setting


class Silent:
    """A server that is connected to and never answers, but for a proxy's 200 where it is one."""

    def __init__(self) -> None:
        self.reached: asyncio.Queue[None] = asyncio.Queue()
        self.left: asyncio.Queue[None] = asyncio.Queue()
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read until the client has closed."""
        begun = await reader.read(65536)
        if begun.startswith(b"CONNECT tls.example"):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await reader.read(65536)
        self.reached.put_nowait(None)
        try:
            while await reader.read(65536):
                pass
        except ConnectionResetError:
            pass
        finally:
            writer.close()
            self.left.put_nowait(None)


@asynccontextmanager
async def silent() -> AsyncIterator[Silent]:
    """See `Silent`."""
    found = Silent()
    server = await asyncio.start_server(found.handle, "127.0.0.1", 0)
    async with server:
        found.port = server.sockets[0].getsockname()[1]
        yield found


STEPS = {
    "upgrade": "ws://127.0.0.1:{port}",
    "TLS": "wss://127.0.0.1:{port}",
    "proxy": "ws://chat.example",
    "TLS through the proxy": "wss://tls.example",
}


@pytest.mark.parametrize("step", STEPS)
async def test_cancelled_while_opening(setting: Setting, step: str) -> None:
    """Of a program that gives up, the server sees the end at once."""
    async with silent() as server:
        proxy = f"http://127.0.0.1:{server.port}"
        client = setting.client(url=STEPS[step].format(port=server.port), proxy=proxy)
        entering = asyncio.create_task(client.__aenter__())
        await server.reached.get()
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        async with asyncio.timeout(5):  # less than opening may take
            await server.left.get()


@pytest.mark.parametrize("step", STEPS)
async def test_opening_takes_too_long(
    setting: Setting, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bound for all steps together; then the client tries again on another socket."""
    monkeypatch.setattr("homeport.client.opening.OPEN_TIMEOUT_S", 0.1)
    async with silent() as server:
        proxy = f"http://127.0.0.1:{server.port}"
        client = setting.client(url=STEPS[step].format(port=server.port), proxy=proxy)
        entering = asyncio.create_task(client.__aenter__())
        async with asyncio.timeout(5):
            told = await setting.events.next(Disconnected)
            await server.left.get()
        assert "not open after 0.1 seconds" in told.reason
        entering.cancel()
        await asyncio.wait([entering])
