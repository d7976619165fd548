"""A large group across gateways that die: `homeport serve` processes, the SDK, a real store."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
from homeport import Client, Message, Sent

from gateway.apps.app import App, create_app
from gateway.runtime.core import Core
from gateway.security import tokens
from gateway.security.keyring import Keyring
from gateway.store.keys import Keys
from gateway.store.stored import parse_references
from tests.ports import free_port
from tests.processes import GatewayProcess

ONLINE, OFFLINE = 200, 799
"""With the owner, who is online too: 1,000 members."""

MESSAGES = 20
BATCH = 5
WAIT_S = 60.0


@dataclass
class Region:
    """Two gateways and an app."""

    app: App
    redis_url: str
    gateways: list[GatewayProcess]

    @contextlib.asynccontextmanager
    async def client(self, user: str, gateway: int) -> AsyncIterator[Client]:
        """A client that begins at one gateway, and stays with it."""
        token = tokens.mint(self.app.id, self.app.certificates[0], "sg", user, time.time())
        url = self.gateways[gateway].urls[0]
        async with Client(url, device="d1", token=token) as client:
            yield client


@pytest.fixture
def region(redis_url: str, tmp_path: Path) -> Iterator[Region]:
    """A region with two gateways and an app of tier pro."""
    keyring = Keyring.create(tmp_path / "keys.json", "sg")
    app = create_app("test", "sg", "pro", "global", int(time.time() * 1000))

    async def register() -> None:
        async with Core.at(redis_url, keyring).admin() as admin:
            await admin.apps.create(app, app.created_ms)

    asyncio.run(register())
    gateways = []
    for number in range(2):
        config = tmp_path / f"g{number}.toml"
        config.write_text(
            f'region = "sg"\nredis_url = "{redis_url}"\nkey_file = "{tmp_path}/keys.json"\n'
            f'durability = "memory"\nplain_listen = "127.0.0.1:{free_port()}"\n'
        )
        gateways.append(GatewayProcess(config, tmp_path / f"g{number}.log").start())
    try:
        yield Region(app, redis_url, gateways)
    finally:
        for gateway in gateways:
            gateway.kill()


async def texts(client: Client, count: int) -> list[str]:
    """The next `count` messages that are no notices; numbers without a hole (G3)."""
    found: list[str] = []
    last: Message | None = None
    async for message in client.messages():
        assert last is None or message.seq == last.seq + 1
        last = message
        if message.notice is None:
            found.append(message.text)
            if len(found) == count:
                break
    return found


async def test_a_thousand_members_and_a_gateway_that_dies_half_way(region: Region) -> None:
    """G1, G2, G3, G4, G10 and HP-11.2-1: each accepted message reaches each member once, in order.

    200 members are online, half of them on each gateway; 799 come later. The sender's gateway is
    killed while it sends, and started again; the SDK goes on by itself.
    """
    online = [f"on{n:03}" for n in range(ONLINE)]
    offline = [f"off{n:03}" for n in range(OFFLINE)]
    expected = [f"message {n}" for n in range(MESSAGES)]
    async with contextlib.AsyncExitStack() as stack, asyncio.timeout(WAIT_S * 1.8):
        sender = await stack.enter_async_context(region.client("owner", 1))
        group = await sender.create_group("everybody", online + offline)
        info = await group.info()
        assert info.size == len(info.members) == 1000
        readers = [
            await stack.enter_async_context(region.client(user, number % 2))
            for number, user in enumerate(online)
        ]
        reading = [asyncio.create_task(texts(client, MESSAGES)) for client in readers]
        own = asyncio.create_task(texts(sender, MESSAGES))
        sent: list[Sent] = []
        for begin in range(0, MESSAGES, BATCH):
            batch = [
                asyncio.create_task(group.send(text, timeout=WAIT_S))
                for text in expected[begin : begin + BATCH]
            ]
            if begin == MESSAGES // 2:
                await batch[0]  # the others are on their way
                region.gateways[1].kill()
                await asyncio.to_thread(region.gateways[1].start)
            sent += await asyncio.gather(*batch)
        assert len({each.id for each in sent}) == MESSAGES
        for each in reading:
            assert await each == expected
        assert await own == expected
    seqs = [each.seq for each in sent]
    keys = Keys("sg")
    with redis.Redis.from_url(region.redis_url) as store:
        for user in offline:
            raw: Any = store.lrange(keys.inbox(region.app.id, user).refs, 0, -1)
            assert [each.seq for each in parse_references(1, raw) if each.seq in seqs] == seqs
    for user in offline[::100]:
        async with asyncio.timeout(WAIT_S), region.client(user, 0) as client:
            assert await texts(client, MESSAGES) == expected
