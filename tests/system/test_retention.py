"""How long a message waits: every tier, and tiers that change while sessions live."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from homeport import frames

from gateway.apps.tiers import TIERS
from gateway.config import Settings
from tests.harness import ANSWER_S, FakeClock, RawClient, RunningWorker, running_worker

DAY_S = 24 * 60 * 60
DAYS = {"free": 3, "basic": 7, "pro": 90, "enterprise": 180}


async def _say(running: RunningWorker, text: str) -> None:
    async with running.client("alice") as alice:
        assert isinstance(await alice.say("bob", text), frames.Ok)


async def _set_tier(running: RunningWorker, tier: str) -> None:
    """Change the tier, and wait until the gateway has heard of it."""
    assert running.clock is not None
    async with running.admin() as admin:
        await admin.apps.change(running.app.id, "tier", tier, running.clock.ms)
    async with asyncio.timeout(ANSWER_S):
        while True:
            async with RawClient.open(running.url) as carol:
                connected = await carol.connect(running.token("carol"))
                if connected.limits.max_body == TIERS[tier].max_body:
                    return


@pytest.mark.parametrize("tier", DAYS)
async def test_a_message_waits_for_the_tiers_time(
    settings: Settings, clock: FakeClock, tier: str
) -> None:
    """G4, G5: delivered a second before its time is over, not a second after, and then the device
    is told that it is lost."""
    async with running_worker(settings, tier=tier, clock=clock) as running:
        for device in ("phone", "laptop"):
            async with running.client("bob", device):
                pass
        await _say(running, "hello")
        clock.advance(DAYS[tier] * DAY_S - 1)
        async with RawClient.open(running.url) as bob:
            connected = await bob.connect(running.token("bob"), "phone")
            assert connected.lost is None
            push = await bob.expect(frames.Push)
            assert (push.number, push.message.body) == (1, b"hello")
        clock.advance(2)
        async with RawClient.open(running.url) as bob:  # the phone has not acknowledged it
            assert (await bob.connect(running.token("bob"), "phone")).lost == (1, 1)
        async with contextlib.AsyncExitStack() as stack:
            bobs = []
            for device in ("laptop", "new"):  # free lets two be connected at once
                bob = await stack.enter_async_context(RawClient.open(running.url))
                connected = await bob.connect(running.token("bob"), device)
                assert connected.lost == (1, 1)
                assert (connected.cursor.number, connected.resumed) == (1, False)
                bobs.append(bob)
            await _say(running, "after it")
            for bob in bobs:
                push = await bob.expect(frames.Push)
                assert (push.number, push.message.body) == (2, b"after it")


async def test_an_upgrade_gives_back_what_is_still_held(
    settings: Settings, clock: FakeClock
) -> None:
    """G4: past free's three days a message is not delivered; in pro it is again."""
    async with running_worker(settings, tier="free", clock=clock) as running:
        await _say(running, "hello")
        clock.advance(3 * DAY_S + 1)
        async with RawClient.open(running.url) as bob:
            assert (await bob.connect(running.token("bob"), "phone")).lost == (1, 1)
        await _set_tier(running, "pro")
        async with RawClient.open(running.url) as bob:
            assert (await bob.connect(running.token("bob"), "laptop")).lost is None
            assert (await bob.expect(frames.Push)).message.body == b"hello"


async def test_a_downgrade_hides_at_once_what_is_too_old(
    settings: Settings, clock: FakeClock
) -> None:
    """G4, G5: four days old is fine in pro and lost in free; what is younger stays."""
    async with running_worker(settings, tier="pro", clock=clock) as running:
        await _say(running, "old")
        clock.advance(4 * DAY_S)
        await _say(running, "young")
        await _set_tier(running, "free")
        async with RawClient.open(running.url) as bob:
            connected = await bob.connect(running.token("bob"), "phone")
            assert connected.lost == (1, 1)
            push = await bob.expect(frames.Push)
            assert (push.number, push.message.body) == (2, b"young")


async def test_a_live_session_obeys_the_new_tier(settings: Settings, clock: FakeClock) -> None:
    """The size limit of a session that was there before the change, in both directions."""
    body = "x" * (TIERS["free"].max_body + 1)
    async with (
        running_worker(settings, tier="free", clock=clock) as running,
        running.client("alice") as alice,
    ):
        assert isinstance(await alice.say("bob", body), frames.Error)
        await _set_tier(running, "pro")
        assert isinstance(await alice.say("bob", body), frames.Ok)
        await _set_tier(running, "free")
        assert isinstance(await alice.say("bob", body), frames.Error)
