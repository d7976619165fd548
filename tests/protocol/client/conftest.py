"""A scripted server and a client of it, whose waits before a reconnect are noted and not slept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from homeport import Client, Event, TokenExpiring
from homeport.client.backoff import Backoff
from homeport.frames import Expiring

from tests.clients import client_with
from tests.protocol.client.server import Peer, Server, running

_E = TypeVar("_E")


class Events:
    """What a client told."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event] = asyncio.Queue()
        self.put = self.queue.put_nowait
        self.passed: list[Event] = []
        """What was skipped."""

    async def next(self, kind: type[_E]) -> _E:
        """The next event of this kind; others before it are skipped."""
        while True:
            event = await self.queue.get()
            if isinstance(event, kind):
                return event
            self.passed.append(event)


class Setting:
    """One server, the events of the client, and the delays it waited before reconnecting."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.events = Events()
        self.delays: list[float] = []

    async def sleep(self, delay: float) -> None:
        """Note the delay, and let others run."""
        self.delays.append(delay)
        await asyncio.sleep(0)

    def client(self, **options: Any) -> Client:
        """A client of the server; half a ceiling is its jitter."""
        defaults: dict[str, Any] = {"device": "laptop", "on_event": self.events.put}
        if "get_token" not in options:
            defaults["token"] = "token-1"
        given = defaults | options
        backoff = given.pop("backoff", Backoff(self.sleep, lambda: 0.5))
        return client_with(backoff, given.pop("url", self.server.url), **given)

    async def settled(self, peer: Peer) -> None:
        """Wait until the client has handled all that `peer` sent: a last frame makes an event."""
        await peer.send(Expiring(1))
        await self.events.next(TokenExpiring)

    @asynccontextmanager
    async def live(
        self, accept: dict[str, Any] | None = None, **options: Any
    ) -> AsyncIterator[tuple[Client, Peer]]:
        """A client that is connected, and the server's end of it."""

        async def answer() -> Peer:
            peer = await self.server.peer()
            await peer.accept(**(accept or {}))
            return peer

        answering = asyncio.create_task(answer())
        async with self.client(**options) as client:
            yield client, await answering


@pytest.fixture
async def setting(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Setting]:
    """See `Setting`."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    async with running() as server:
        yield Setting(server)


def tokens(*values: str) -> Callable[[], Any]:
    """A get_token that gives these, one after the other."""
    left = list(values)

    async def get_token() -> str:
        return left.pop(0)

    return get_token
