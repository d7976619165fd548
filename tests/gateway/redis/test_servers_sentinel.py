"""A primary that sentinels name: followed when it dies, is demoted, or is cut off unnoticed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hiredis
import pytest
import redis

from gateway.redis.connection import pack
from gateway.redis.errors import OperationFailed, Unavailable
from gateway.redis.servers import SentinelPrimary
from gateway.redis.url import RedisUrl, place_of
from gateway.runtime.core import Core
from gateway.security.keyring import Keyring
from gateway.store import stamp
from gateway.store.server_facts import store_facts
from tests.clusters import START_S, Node, Sentinels, sentinels, wait_until
from tests.gateway.redis.conftest import Heard, node_link, node_subscriber
from tests.ports import free_port

IDENTITY = stamp.RegionIdentity("sg", {1: "a" * 16})
CHANNEL = "hp:sg:{7}:ch:a:ann"


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Sentinels]:
    """A primary, a replica and three sentinels."""
    with sentinels(tmp_path) as group:
        yield group


class Ends:
    """A link and a subscriber of one process, and what they heard."""

    def __init__(self, url: str) -> None:
        self.listener = Heard()
        self.ups: list[str] = []
        self.link = node_link(url, IDENTITY)
        self.subscriber = node_subscriber(url)
        self.link.on_up = lambda: self.ups.append("link")
        self.subscriber.on_up = lambda: self.ups.append("subscriber")

    @property
    def heard(self) -> list[bytes]:
        """What came on `CHANNEL`."""
        return self.listener.payloads

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Ends]:
        """Both are up, and `CHANNEL` is heard."""
        try:
            await self.link.start()
            await self.subscriber.start()
            await self.subscriber.subscribe(CHANNEL, self.listener)
            yield self
        finally:
            await self.subscriber.aclose()
            await self.link.aclose()

    async def both_at(self, node: Node) -> None:
        """Wait until what is written and published through `node` arrives here."""
        async with asyncio.timeout(START_S):
            while True:
                self.heard.clear()
                with contextlib.suppress(redis.RedisError, OperationFailed):
                    await asyncio.to_thread(node.ask, "SPUBLISH", CHANNEL, "ping")
                    await asyncio.to_thread(node.ask, "SET", "probe", node.port)
                    await asyncio.sleep(0.02)
                    found = await self.link.call("GET", "probe")
                    where = await self.link.call("INFO", "server")
                    if (
                        self.heard
                        and found == b"%d" % node.port
                        and b"tcp_port:%d\r\n" % node.port in where
                    ):
                        return
                await asyncio.sleep(0.05)


async def test_a_primary_that_dies_is_replaced(group: Sentinels) -> None:
    """G10: commands and pub/sub go to the next primary, and both say that they were away."""
    first = group.primary()
    async with Ends(group.url).open() as ends:
        assert await ends.link.call("SET", "a", "1") == b"OK"
        await asyncio.to_thread(wait_until, lambda: first.ask("WAIT", 1, 100) == 1, "the copy")
        first.kill()
        second = next(each for each in group.servers if each is not first)
        await ends.both_at(second)
        assert await ends.link.call("GET", "a") == b"1"
        assert set(ends.ups) == {"link", "subscriber"}


async def test_a_primary_that_is_demoted_is_left(group: Sentinels) -> None:
    """G1: a failover that an operator asks for kills nobody; both connections leave with it."""
    first = group.primary()
    async with Ends(group.url).open() as ends:
        await asyncio.to_thread(group.watchers[0].ask, "SENTINEL", "FAILOVER", "hp")
        second = next(each for each in group.servers if each is not first)
        await ends.both_at(second)


async def test_a_primary_that_was_cut_off_is_left(group: Sentinels) -> None:
    """G1: the old primary answers us and nobody else, and would for ever; the sentinels, asked
    every second, name another, and what is written goes there."""
    first = group.primary()
    for node in group.servers:
        node.ask("ACL", "SETUSER", "homeport", "on", ">pass-word", "~*", "&*", "+@all")
    url = group.url.replace("://", "://homeport:pass-word@")
    async with Ends(url).open() as ends:
        with first.client(username="homeport", password="pass-word") as inside:
            inside.acl_setuser("default", enabled=False)  # sentinels and the replica come as it
            inside.client_kill_filter(user="default")
            second = next(each for each in group.servers if each is not first)
            await ends.both_at(second)
            assert inside.info("replication")["role"] == "master", "it was told, not left"


async def test_a_replica_is_not_used(group: Sentinels, monkeypatch: pytest.MonkeyPatch) -> None:
    """G1: a sentinel that names a server too early, or too late, is not believed: the server is
    asked what it is, and then the sentinels again."""
    first = group.primary()
    second = next(each for each in group.servers if each is not first)
    asked: list[None] = []
    find = SentinelPrimary.find

    async def early(self: SentinelPrimary) -> tuple[str, int]:
        asked.append(None)
        return ("127.0.0.1", second.port) if len(asked) == 1 else await find(self)

    monkeypatch.setattr(SentinelPrimary, "find", early)
    subscriber = node_subscriber(group.url)  # a link would be told by READONLY
    async with asyncio.timeout(START_S):
        await subscriber.start()
    assert len(asked) >= 2
    assert "homeport-subscriber" in str(first.ask("CLIENT LIST"))
    assert "homeport-subscriber" not in str(second.ask("CLIENT LIST"))
    await subscriber.aclose()


@contextlib.asynccontextmanager
async def sentinel_that_names(host: str, port: int, epoch: int) -> AsyncIterator[str]:
    """A sentinel that holds the server at `host` for the primary; gives its own address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader()
        while data := await reader.read(65536):
            parser.feed(data)
            while (command := parser.gets()) is not False:
                assert command[:2] == [b"SENTINEL", b"MASTER"]
                said = ("ip", host, "port", port, "flags", "master", "config-epoch", epoch)
                writer.write(pack(said))  # Redis writes a list as it reads a command
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield place_of(*server.sockets[0].getsockname())


@contextlib.asynccontextmanager
async def finding(*sentinels: str) -> AsyncIterator[SentinelPrimary]:
    """Asks the sentinels at these addresses."""
    finder = SentinelPrimary(RedisUrl.parse(f"redis+sentinel://{','.join(sentinels)}/hp"), "test")
    try:
        yield finder
    finally:
        await finder.aclose()


async def test_the_newest_view_counts() -> None:
    """G1: a sentinel that was cut off with the old primary goes on naming it."""
    silent = f"127.0.0.1:{free_port()}"
    async with (
        sentinel_that_names("10.0.0.1", 1, epoch=4) as old,
        sentinel_that_names("10.0.0.2", 2, epoch=11) as new,
        finding(old, new, silent) as finder,
    ):
        assert await finder.find() == ("10.0.0.2", 2)
    async with finding(silent, f"127.0.0.1:{free_port()}") as finder:
        with pytest.raises(Unavailable) as caught:
            await finder.find()
        assert caught.value.reason == "no_sentinel"


async def test_the_command_line_finds_the_primary(group: Sentinels, tmp_path: Path) -> None:
    """`homeport app` and `doctor` work where sentinels name the server, also after a failover."""
    keyring = Keyring.create(tmp_path / "keys.json", "sg")
    async with Core.at(group.url, keyring).admin() as admin:
        facts = await store_facts(admin.link, admin.region)
        assert (facts.replicas, facts.stamp_region) == (1, None)
    first = group.primary()
    first.kill()
    await asyncio.to_thread(wait_until, lambda: group.primary() is not first, "a new primary")
    async with Core.at(group.url, keyring).admin() as admin:
        assert await admin.region.begin()
        assert await admin.apps.all() == []
        assert (await store_facts(admin.link, admin.region)).stamp_region == "sg"
