"""A primary that sentinels name: followed when it dies, is demoted, or is cut off unnoticed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.redis.errors import OperationFailed, Unavailable
from gateway.redis.servers import SentinelPrimary
from gateway.redis.url import RedisUrl
from gateway.security.keyring import Keyring
from gateway.store import stamp
from gateway.store.admin import Admin
from tests.clusters import START_S, Node, Sentinels, sentinels, wait_until
from tests.gateway.redis.conftest import node_link, node_subscriber
from tests.harness import FakeClock

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
        self.heard: list[bytes] = []
        self.ups: list[str] = []
        self.link = node_link(url, IDENTITY)
        self.subscriber = node_subscriber(url, lambda _, payload: self.heard.append(payload))
        self.link.on_up = lambda: self.ups.append("link")
        self.subscriber.on_up = lambda: self.ups.append("subscriber")

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Ends]:
        """Both are up, and `CHANNEL` is heard."""
        try:
            await self.link.start()
            await self.subscriber.start()
            await self.subscriber.subscribe(CHANNEL)
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


class _View:
    """A sentinel that sees the world so."""

    def __init__(self, **said: Any) -> None:
        self._said = said

    async def sentinel_master(self, _service: str, _responses: bool) -> dict[str, Any]:
        if not self._said:
            raise redis.ConnectionError("no answer")
        return self._said


async def test_the_newest_view_counts() -> None:
    """G1: a sentinel that was cut off with the old primary goes on naming it."""
    finder = SentinelPrimary(RedisUrl.parse("redis+sentinel://a,b,c/hp"), "test")
    old, new = ({"ip": "10.0.0.1", "port": 1, "config-epoch": 4}, {"ip": "10.0.0.2", "port": 2})
    finder._sentinels = [_View(**old), _View(**new, **{"config-epoch": "11"}), _View()]
    assert await finder.find() == ("10.0.0.2", 2)
    finder._sentinels = [_View(), _View()]
    with pytest.raises(Unavailable) as caught:
        await finder.find()
    assert caught.value.reason == "no_sentinel"


async def test_the_command_line_finds_the_primary(group: Sentinels, tmp_path: Path) -> None:
    """`homeport app` and `doctor` work where sentinels name the server, also after a failover."""
    keyring, now = Keyring.create(tmp_path / "keys.json", "sg"), FakeClock().ms
    async with Admin.open(group.url, "sg", keyring) as admin:
        facts = await admin.facts(now / 1000)
        assert (facts.replicas, facts.stamp_region) == (1, None)
    first = group.primary()
    first.kill()
    await asyncio.to_thread(wait_until, lambda: group.primary() is not first, "a new primary")
    async with Admin.open(group.url, "sg", keyring) as admin:
        assert await admin.begin_region()
        assert await admin.list_apps() == []
        assert (await admin.facts(now / 1000)).stamp_region == "sg"
