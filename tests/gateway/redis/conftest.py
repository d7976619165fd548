"""Links and subscribers to servers of a test's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import hiredis
import redis

from gateway.dev.embedded import EmbeddedValkey
from gateway.redis.node_link import NodeLink
from gateway.redis.promises import Promises
from gateway.redis.servers import server_of
from gateway.redis.subscriber import NodeSubscriber
from gateway.redis.url import RedisUrl
from gateway.store.stamp import RegionIdentity, Stamp
from gateway.tasks import Tasks
from tests.gateway.conftest import Servers
from tests.harness import ANSWER_S
from tests.ports import free_port


async def replicated(servers: Servers) -> tuple[EmbeddedValkey, EmbeddedValkey]:
    """A primary, and a replica that follows it."""
    port = free_port()
    primary = servers("--port", str(port), "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0")
    replica = servers("--replicaof", "127.0.0.1", str(port))
    with redis.Redis.from_url(primary.url) as raw:

        def online() -> bool:
            info: Any = raw.info("replication")
            return bool(info["connected_slaves"] and info["slave0"]["state"] == "online")

        await until(online)
        raw.set("first", 1)
        assert raw.wait(1, 10_000) == 1
    return primary, replica


def beginning(identity: RegionIdentity) -> Stamp:
    """A stamp that an empty Redis is given: the key file of `identity` was not marked before."""
    return Stamp(identity, lambda: True)


def node_link(
    url: str, identity: RegionIdentity, replicas: int = 0, tasks: Tasks | None = None
) -> NodeLink:
    """A link to the one server, or the primary, of `url`, which is not started."""
    server = server_of(RedisUrl.parse(url), "homeport-link")
    return NodeLink(server, beginning(identity), tasks or Tasks(), Promises(replicas=replicas))


def node_subscriber(url: str) -> NodeSubscriber:
    """The same as a subscriber."""
    return NodeSubscriber(server_of(RedisUrl.parse(url), "homeport-subscriber"), Tasks())


class Heard(list[tuple[bytes, bytes]]):
    """A listener that keeps the (channel, payload) of all that it hears."""

    def heard(self, channel: bytes, payload: bytes) -> None:
        """See `ChannelListener`."""
        self.append((channel, payload))

    @property
    def payloads(self) -> list[bytes]:
        """What it heard, on whatever channel."""
        return [payload for _, payload in self]


class ScriptedRedis:
    """A server that says what a test has it say: for moments that no real one can be held at.

    It greets `redis-py` by itself; all other commands land in `commands`.
    """

    def __init__(self, path: Path) -> None:
        self.url = f"unix://{path}"
        self.commands: asyncio.Queue[list[bytes]] = asyncio.Queue()
        self.connections = 0
        self.close_after_greeting = False
        self._path = path
        self._writer: asyncio.StreamWriter | None = None

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        """Accept connections."""
        async with await asyncio.start_unix_server(self._serve, self._path):
            try:
                yield self
            finally:
                self.drop()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writer = writer
        parser = hiredis.Reader()
        while data := await reader.read(65536):
            parser.feed(data)
            while (command := parser.gets()) is not False:
                if command[0] != b"CLIENT":
                    self.commands.put_nowait(command)
                    continue
                writer.write(b"+OK\r\n")
                if self.close_after_greeting:
                    writer.transport.abort()
        writer.close()

    def say(self, *replies: bytes) -> None:
        """Send replies, in the protocol's own bytes."""
        assert self._writer is not None
        self._writer.write(b"".join(replies))

    def drop(self) -> None:
        """End the connection."""
        if self._writer is not None:
            self._writer.transport.abort()


@contextlib.asynccontextmanager
async def linked(
    url: str, identity: RegionIdentity | None = None, replicas: int = 0
) -> AsyncIterator[NodeLink]:
    """A link that is up."""
    link = node_link(url, identity or RegionIdentity("sg", {1: "a" * 16}), replicas)
    try:
        await link.start()
        yield link
    finally:
        await link.aclose()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what must come."""
    async with asyncio.timeout(ANSWER_S):
        while not condition():  # noqa: ASYNC110 - it is often another process' doing
            await asyncio.sleep(0.005)
