"""Clocks that are wrong: a machine's, from the start or from one moment to the next, and Redis'.

The clocks are those of real processes. A gateway's is moved by what runs before anything else in
it, and Valkey's by libfaketime.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from homeport import Client, Event, Lost, Message, Reset
from homeport.ids import direct_conversation
from redis.asyncio import Redis

from gateway.security.keyring import Keyring
from gateway.store.keys import STAMP, Keys
from gateway.store.stored import parse_message
from tests.chunks import chunk_name
from tests.harness import ANSWER_S, until
from tests.processes import GatewayProcess
from tests.system.ops import Ops
from tests.system.site import DEADLINE_S, OpenSite, Site, ws

DAYS_200_S = 200 * 86_400
NEAR_S = 60.0
"""Within which a time counts as now."""

_FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)

_PATCH = """
import time
from pathlib import Path
right = time.time
time.time = lambda: right() + float(Path({file!r}).read_text())
from gateway.store import sweeper
sweeper.INTERVAL_S = 0.1
"""


@dataclass
class Wrong:
    """A region with one gateway, whose machine's clock the test moves. `app` keeps messages for
    three days."""

    site: Site
    gateway: GatewayProcess
    ops: Ops
    file: Path

    def set(self, seconds: float) -> None:
        """Have the machine's clock be `seconds` ahead of the true time."""
        _replace(self.file, str(seconds))

    def client(self, user: str, told: list[Event] | None = None) -> Client:
        """A client of `user`."""
        note = None if told is None else told.append
        return self.site.client(ws(self.gateway), user, on_event=note)

    async def held(self) -> int:
        """How many messages from alice to bob Redis holds, also those whose time is over."""
        head = Keys("sg").conversation(self.site.app.id, direct_conversation("alice", "bob")).head
        async with Redis.from_url(self.site.store.url) as redis:
            packed: Any = await redis.hget(head, "h")
            values = await redis.hvals(chunk_name(head, packed))
        chunk = [value for value in values if isinstance(value, bytes)]
        return sum(parse_message(0, value).record is not None for value in chunk)

    async def lag(self, seconds: float) -> None:
        """Wait until nothing was swept for so long."""
        await self.ops.metrics_until(
            lambda metrics: metrics["homeport_store_sweeper_lag_seconds"] > seconds
        )

    async def off(self, clock: str, seconds: float) -> None:
        """Wait until the metrics say that `clock` is wrong by `seconds`."""
        name = f"homeport_runtime_clock_off_seconds{{{clock}}}"
        await self.ops.metrics_until(lambda metrics: abs(metrics.get(name, 0) - seconds) < NEAR_S)


@asynccontextmanager
async def wrong(site: Site, seconds: float = 0.0) -> AsyncIterator[Wrong]:
    """A gateway that starts with a clock that is `seconds` ahead."""
    ops, file = Ops(), site.folder / "clock"
    file.write_text(str(seconds))
    gateway = await site.gateway(patch=_PATCH.format(file=str(file)), ops_listen=ops.address)
    yield Wrong(site, gateway, ops, file)


def _replace(file: Path, text: str) -> None:
    """Write `file` anew. Whoever reads it meanwhile finds the old text or the new."""
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(file)


async def received(client: Client, count: int) -> list[Message]:
    """The next `count` messages."""
    found: list[Message] = []
    async with asyncio.timeout(ANSWER_S):
        async for message in client.messages():
            found.append(message)
            if len(found) == count:
                break
    return found


def is_now(message_ms: float) -> bool:
    """Whether a time, in ms since 1970, is about now by the test's own clock."""
    return abs(message_ms / 1000 - time.time()) < NEAR_S


@pytest.mark.parametrize("seconds", [DAYS_200_S, -DAYS_200_S])
async def test_a_clock_that_jumps_deletes_nothing_and_stamps_nothing(
    open_site: OpenSite, seconds: float
) -> None:
    """G4: the clock of a gateway's machine went 200 days ahead for three quarters of a minute. The
    sweeper emptied every inbox of the region, nobody was told, and messages kept times in the
    future. Now the gateway says that it should not serve, deletes nothing, and what is sent through
    it all the same has the right time."""
    site = await open_site(tier="free")
    async with wrong(site) as gateway:
        await gateway.ops.until("/readyz", 200)
        async with gateway.client("alice") as alice:
            for number in range(3):
                await alice.send("bob", str(number))
            gateway.set(seconds)
            await gateway.ops.fails("clock", ["1"])
            await gateway.off("gateway", abs(seconds))
            assert is_now((await alice.send("bob", "3", ttl=1)).time)
            await gateway.lag(1.5)  # that one is over, and would be swept by a clock that is right
            assert await gateway.held() == 4
            gateway.set(0)
            await gateway.ops.until("/readyz", 200)
            assert is_now((await alice.send("bob", "4")).time)

        async def swept() -> bool:
            return await gateway.held() == 4

        await until(swept, within=DEADLINE_S)
        told: list[Event] = []
        async with gateway.client("bob", told) as bob:
            found = await received(bob, 4)
        assert [message.text for message in found] == ["0", "1", "2", "4"]
        assert all(is_now(message.time) for message in found)
        losses = [event for event in told if isinstance(event, Lost | Reset)]
        assert losses == [Lost(4, 4)]  # whose time is over
        await gateway.off("gateway", 0)
        right = '"clock_right"'
        # The worker, and the process that sends webhooks: each says it once.
        await until(lambda: site.log.read_text().count(right) == 2, "the log to say so", DEADLINE_S)
    words = site.log.read_text()
    assert words.count('"clock_wrong"') == words.count(right) == 2


async def test_a_gateway_that_starts_with_a_wrong_clock_goes_by_redis(open_site: OpenSite) -> None:
    """G4, G7: it is never ready; tokens and messages go by Redis' time; and a key whose time has
    not come is not sealed under, which others might not have yet."""
    site = await open_site(tier="free")
    Keyring.rotate(site.settings().key_file, 3600)
    async with wrong(site, DAYS_200_S) as gateway:
        await gateway.ops.fails("clock", ["1"])
        async with gateway.client("alice") as alice:
            assert is_now((await alice.send("alice", "hello")).time)
            assert [message.text for message in await received(alice, 1)] == ["hello"]
        async with Redis.from_url(site.store.url) as redis:
            stamp = await redis.hgetall(STAMP)
        assert b"key:1" in stamp
        assert b"key:2" not in stamp


@pytest.fixture
def set_redis_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Moves Valkey's clock to so many seconds ahead. Only what a test starts before `LD_PRELOAD` is
    taken away again goes by it."""
    if _FAKETIME is None:
        pytest.skip("libfaketime is not installed (Debian: faketime)")
    file = tmp_path / "redis-time"
    file.write_text("+0")
    for name, value in {
        "LD_PRELOAD": str(_FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }.items():
        monkeypatch.setenv(name, value)
    return lambda seconds: _replace(file, f"{seconds:+d}")


async def test_a_jump_of_redis_clock_deletes_nothing_and_stamps_nothing(
    open_site: OpenSite, set_redis_clock: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """G4: the other way round. The gateway goes on serving by the time that it had: it is ready,
    or no gateway of the region would be."""
    site = await open_site(tier="free")
    monkeypatch.delenv("LD_PRELOAD")
    async with wrong(site) as gateway:
        await gateway.ops.until("/readyz", 200)
        async with gateway.client("alice") as alice:
            for number in range(3):
                await alice.send("bob", str(number))
            set_redis_clock(DAYS_200_S)
            await gateway.off("redis", DAYS_200_S)
            assert (await gateway.ops.ask("/readyz"))[0] == 200
            assert is_now((await alice.send("bob", "3", ttl=1)).time)
            await gateway.lag(1.5)
            assert await gateway.held() == 4
            set_redis_clock(0)
            await gateway.off("redis", 0)

        async def swept() -> bool:
            return await gateway.held() == 3

        await until(swept, within=DEADLINE_S)
        async with gateway.client("bob") as bob:
            found = await received(bob, 3)
        assert [message.text for message in found] == ["0", "1", "2"]
        assert all(is_now(message.time) for message in found)
