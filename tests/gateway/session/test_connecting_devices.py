"""How many devices of a user may be connected, over real sockets; the script has tests of its own
in tests/gateway/store/test_inbox_admission.py."""

from __future__ import annotations

import contextlib

import pytest
from homeport import codes, frames

from gateway.apps.tiers import TIERS
from gateway.config import Settings
from gateway.store.inbox import SEEN_MS, STALE_MS
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock, RawClient, RunningWorker, running_worker, until


async def refused(running: RunningWorker, user: str, device: str, platform: str = "") -> None:
    """Connect, and be told that there are too many devices."""
    async with RawClient.open(running.url) as client:
        connect = frames.Connect(9, device, running.token(user), platform=platform)
        await client.send(connect)
        error = await client.expect(frames.Error)
        assert (error.id, error.code) == (9, codes.TOO_MANY_DEVICES.number)
        assert error.retry_after is None
        assert await client.closed() == codes.UNAUTHORIZED.number


@pytest.mark.parametrize("tier", TIERS)
async def test_each_tier_has_its_number(settings: Settings, clock: FakeClock, tier: str) -> None:
    """HP-19.1-1: on two gateways together; the next is refused where none is of its platform."""
    async with (
        two_workers(settings, clock, tier) as workers,
        contextlib.AsyncExitStack() as stack,
    ):
        clients = [
            await stack.enter_async_context(
                workers[n % 2].client("alice", f"d{n}", platform=f"p{n}")
            )
            for n in range(TIERS[tier].devices)
        ]
        for worker in workers:
            await refused(worker, "alice", "one-more", "new")
        for client in clients:
            assert isinstance(await client.say("bob", "still here"), frames.Ok)
        async with workers[0].client("bob", "d1"):
            pass


async def test_the_oldest_of_the_platform_makes_room(settings: Settings, clock: FakeClock) -> None:
    """HP-19.1-2, HP-19.1-6: on another gateway; it may come back, and finds its messages."""
    async with (
        two_workers(settings, clock, "basic") as (one, two),
        one.client("alice", "web1", platform="web") as web,
        contextlib.AsyncExitStack() as stack,
    ):

        async def connect(worker: RunningWorker, device: str) -> RawClient:
            clock.advance(1)
            return await stack.enter_async_context(worker.client("alice", device, platform="ios"))

        first = await connect(one, "phone1")
        await first.say("alice", "m1")
        second, third = await connect(two, "phone2"), await connect(two, "phone3")
        fourth = await connect(two, "phone4")
        assert await first.closed() == codes.DEVICE_LIMIT.number
        for client in (web, second, third, fourth):
            assert isinstance(await client.say("alice", "here"), frames.Ok)
        again = await connect(one, "phone1")
        assert again.connected.cursor.number == 0
        assert (await again.expect(frames.Push)).message.body == b"m1"
        assert await second.closed() == codes.DEVICE_LIMIT.number


async def test_an_app_may_refuse_instead(settings: Settings, clock: FakeClock) -> None:
    """HP-19.1-3, HP-19.1-4, HP-19.1-5, HP-19.1-8: by its policy, from the next connect on."""
    async with (
        running_worker(settings, tier="free", clock=clock) as running,
        running.client("alice", "d1") as first,
        running.client("alice", "d2") as second,
    ):
        directory = running.inside.directory
        async with running.admin() as admin:
            await admin.apps.change(running.app.id, "device_policy", "refuse", clock.ms)
            await until(lambda: directory.known(running.app.id).device_policy == "refuse")
        await refused(running, "alice", "d3")
        assert isinstance(await first.say("bob", "still here"), frames.Ok)
        async with running.client("alice", "d1") as again:
            assert await first.closed() == codes.REPLACED.number
            for client in (again, second):
                assert isinstance(await client.say("bob", "still here"), frames.Ok)


async def test_a_lower_tier_closes_nobody(settings: Settings, clock: FakeClock) -> None:
    """HP-19.1-8: what is connected stays; who connects next counts."""
    async with (
        running_worker(settings, tier="basic", clock=clock) as running,
        contextlib.AsyncExitStack() as stack,
    ):
        clients = [
            await stack.enter_async_context(running.client("alice", f"d{n}", platform=f"p{n}"))
            for n in range(4)
        ]
        async with running.admin() as admin:
            await admin.apps.change(running.app.id, "tier", "free", clock.ms)
        directory = running.inside.directory
        await until(lambda: directory.known(running.app.id).tier is TIERS["free"])
        await refused(running, "alice", "d9", "p9")
        for client in clients:
            assert isinstance(await client.say("bob", "still here"), frames.Ok)


async def test_a_missed_word_is_found_by_the_regular_check(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-19.1-2: pub/sub may drop it."""
    async with (
        two_workers(settings, clock, "free") as (one, two),
        one.client("alice", "d1") as first,
        two.client("alice", "d2"),
    ):
        with one.inside.deaf():
            async with two.client("alice", "d3") as third:
                assert isinstance(await third.say("bob", "x"), frames.Ok)
                assert isinstance(await first.say("bob", "not told yet"), frames.Ok)
                one.pass_time(31)
                assert await first.closed() == codes.DEVICE_LIMIT.number


@pytest.mark.parametrize("heartbeat_s", [1.0, 25.0, 600.0])
async def test_a_connected_device_is_seen_often_enough(
    settings: Settings, clock: FakeClock, heartbeat_s: float
) -> None:
    """HP-19.1-1: whatever the heartbeat, an idle device does not seem to have gone."""
    changed = settings.model_copy(update={"heartbeat_s": heartbeat_s})
    async with (
        running_worker(changed, tier="free", clock=clock) as running,
        running.client("alice", "d1") as client,
    ):
        meta = running.inside.keys.user(running.app.id, "alice").meta
        seen = []
        for _ in range(300):
            running.pass_time(1)
            await client.send(frames.Ping())
            await client.until(frames.Pong)
            await running.inside.saved()
            row = await running.inside.link.call("HGET", meta, "d:d1")
            seen.append(clock.ms - int(row.split(b" ")[1]))
        assert max(seen) < STALE_MS - 10_000
        assert sum(age == 0 for age in seen) <= 300 * 1000 / SEEN_MS + 1, "but not at each check"
