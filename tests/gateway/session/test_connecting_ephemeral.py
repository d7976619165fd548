"""Sessions that are no device, over real sockets; the scripts have tests of their own in
tests/gateway/store/test_inbox_ephemeral.py."""

from __future__ import annotations

import asyncio

import pytest
import redis
from homeport import codes, frames

from gateway.config import Settings
from gateway.store.keys import Keys
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock, RawClient, RunningWorker, running_worker, until


def rows(running: RunningWorker, user: str) -> set[str]:
    """The user's devices and ephemeral sessions, as Redis has them."""
    with redis.Redis.from_url(running.redis_url) as raw:
        names: list[bytes] = raw.hkeys(Keys("sg").user(running.app.id, user).meta)
    return {name.decode() for name in names if name[1:2] == b":"}


async def test_it_gets_what_waits_and_what_comes_and_its_acks_keep_it_going(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-19.2-1, HP-19.2-2: more than a window, none of which is dropped for it."""
    count = 300
    async with (
        running_worker(settings, clock=clock) as running,
        running.client("alice") as alice,
    ):
        for _ in range(count):
            assert isinstance(await alice.say("bob", "hi"), frames.Ok)
        async with running.client("bob", "cli", ephemeral=True) as looking:
            for number in range(1, count + 1):
                assert (await looking.until(frames.Push)).number == number
                await looking.send(frames.Ack(number))
            await alice.say("bob", "live")
            assert (await looking.until(frames.Push)).number == count + 1
            session = looking.connected.session
            assert rows(running, "bob") == {f"s:{session}"}
        await until(lambda: rows(running, "bob") == set())
        async with running.client("bob", "phone") as phone:
            assert (await phone.until(frames.Push)).number == 1


async def test_it_closes_nobody_and_nobody_closes_it(settings: Settings, clock: FakeClock) -> None:
    """HP-19.2-3: though all call themselves the same, on two gateways."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("bob", "d1") as device,
        two.client("bob", "d1", ephemeral=True) as first,
        one.client("bob", "d1", ephemeral=True) as second,
        two.client("alice") as alice,
        two.client("bob", "d1"),
    ):  # the device comes again, and replaces itself alone
        assert await device.closed() == codes.REPLACED.number
        await alice.say("bob", "hi")
        for looking in (first, second):
            assert (await looking.until(frames.Push)).number == 1


async def test_it_has_no_presence_and_asks_what_any_session_may(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-19.2-3: a presenceset is refused for good, not as if the store were away."""
    async with (
        running_worker(settings, clock=clock) as running,
        running.client("bob", "cli", ephemeral=True) as looking,
        running.client("alice") as alice,
    ):
        await looking.send(frames.PresenceSet(looking.request_id(), "away"))
        assert (await looking.until(frames.Error)).code == codes.INVALID_FIELD.number
        presence = await alice.ask(frames.PresenceGet, ("bob",))
        assert presence.users[0].state == "offline"
        assert isinstance(await looking.say("alice", "hi"), frames.Ok)


@pytest.mark.parametrize("leave", ["close", "abort"])
async def test_however_it_ends_it_is_gone(settings: Settings, clock: FakeClock, leave: str) -> None:
    """HP-19.2-1: also where its program was killed, so that only the socket ends."""
    async with running_worker(settings, clock=clock) as running:
        async with RawClient.open(running.url) as client:
            await client.connect(running.token("bob"), "cli", ephemeral=True)
            assert len(rows(running, "bob")) == 1
            if leave == "abort":
                client.websocket.transport.abort()
        await until(lambda: rows(running, "bob") == set())


async def test_one_too_many_is_refused(settings: Settings, clock: FakeClock) -> None:
    """HP-19.2-4: on the free tier two, beside two devices."""
    async with (
        running_worker(settings, clock=clock, tier="free") as running,
        running.client("bob", "cli", ephemeral=True),
        running.client("bob", "cli", ephemeral=True),
        running.client("bob", "phone"),
        running.client("bob", "tablet"),
        RawClient.open(running.url) as third,
    ):
        await third.send(frames.Connect(9, "cli", running.token("bob"), ephemeral=True))
        assert (await third.expect(frames.Error)).code == codes.TOO_MANY_DEVICES.number
        assert await third.closed() == codes.UNAUTHORIZED.number


async def test_it_can_be_kicked_and_revoked(settings: Settings, clock: FakeClock) -> None:
    """HP-5.5-4, HP-6.4-2: it is a session as any other for who ends sessions."""
    async with running_worker(settings, clock=clock) as running, running.admin() as admin:
        async with running.client("bob", "cli", ephemeral=True) as looking:
            await admin.access.kick(running.app.id, "bob")
            assert await looking.closed() == codes.KICKED.number
        async with running.client("bob", "cli", ephemeral=True) as looking:
            await admin.access.revoke(running.app.id, "bob", clock.ms + 1000)
            assert await asyncio.wait_for(looking.closed(), 1) == codes.REVOKED.number
