"""An inbox over its cap: the oldest go, and the device is told which."""

from __future__ import annotations

import asyncio

from homeport import Client, frames
from homeport.limits import WINDOW

from gateway.apps.tiers import TIERS
from gateway.config import Settings
from tests.gateway.replicas import blast
from tests.harness import FakeClock, RawClient, RunningWorker, running_worker

CAP = TIERS["free"].inbox_cap
BURST = TIERS["free"].session.burst
OVER = 234


async def _send(running: RunningWorker, count: int) -> None:
    """From so many senders that nobody has more than a share of the inbox."""
    for start in range(0, count, CAP // 10):
        token = running.token(f"alice{start}")
        async with Client(running.url, device="d1", token=token) as alice:
            numbers = range(start, min(start + CAP // 10, count))
            await asyncio.gather(*(alice.send("bob", str(n)) for n in numbers))


async def _pushes(bob: RawClient, first: int, last: int) -> None:
    """Expect the numbers `first` to `last`, and acknowledge each half window."""
    for number in range(first, last + 1):
        push = await bob.expect(frames.Push)
        assert push.number == number
        if number % (WINDOW // 2) == 0 or number == last:
            await bob.send(frames.Ack(number))


async def test_offline(settings: Settings) -> None:
    """G5, HP-7.4-3: 1,234 for an inbox of 1,000: `connected.lost` is 1 to 234, then the rest."""
    async with running_worker(settings, tier="free") as running:
        async with running.client("bob"):
            pass
        await _send(running, CAP + OVER)
        async with RawClient.open(running.url) as bob:
            connected = await bob.connect(running.token("bob"))
            assert connected.lost == (1, OVER)
            assert connected.cursor.number == OVER
            assert not connected.resumed
            await _pushes(bob, OVER + 1, CAP + OVER)


async def test_in_the_middle_of_a_session(settings: Settings) -> None:
    """G5, G9, HP-7.4-2: a session with a full window is told what went while it was not looking."""
    async with running_worker(settings, tier="free") as running, running.client("bob") as bob:
        await _send(running, WINDOW + CAP + OVER)
        for number in range(1, WINDOW + 1):
            assert (await bob.expect(frames.Push)).number == number
        # All but the newest 1,000 are gone: of those not pushed, the first 234.
        await bob.send(frames.Ack(WINDOW))
        assert await bob.receive() == frames.Lost(WINDOW + 1, WINDOW + OVER)
        await _pushes(bob, WINDOW + OVER + 1, WINDOW + OVER + CAP)


async def test_a_device_that_had_acknowledged_lost_nothing(settings: Settings) -> None:
    """G5: what the cap took was read before, so nothing is said."""
    async with running_worker(settings, tier="free") as running:
        async with running.client("bob") as bob:
            await _send(running, OVER)
            await _pushes(bob, 1, OVER)
        await _send(running, CAP)
        async with RawClient.open(running.url) as bob:
            connected = await bob.connect(running.token("bob"))
            assert (connected.lost, connected.cursor.number) == (None, OVER)
            await _pushes(bob, OVER + 1, OVER + CAP)


async def test_a_loss_is_said_until_something_behind_it_is_acknowledged(settings: Settings) -> None:
    """G5: a client without a cursor of its own may have gone before it heard of the loss.

    A session that was told and then ended used to count as having acknowledged it.
    """
    async with running_worker(settings, tier="free") as running:
        await _send(running, CAP + OVER)
        for _ in range(2):
            async with RawClient.open(running.url) as bob:
                assert (await bob.connect(running.token("bob"))).lost == (1, OVER)
                bob.websocket.transport.abort()
        async with RawClient.open(running.url) as bob:
            await bob.connect(running.token("bob"))
            await _pushes(bob, OVER + 1, OVER + 1)
        async with RawClient.open(running.url) as bob:
            connected = await bob.connect(running.token("bob"))
            assert (connected.lost, connected.cursor.number) == (None, OVER + 1)


async def test_a_flood_drops_only_its_own(settings: Settings, clock: FakeClock) -> None:
    """HP-7.4-5, HP-7.4-4, G3, G5: what carol wrote before and during mallory's flood is pushed, and
    each number is either pushed or reported."""
    async with running_worker(settings, tier="free", clock=clock) as running:
        async with running.client("bob"):
            pass
        async with running.client("carol") as carol, running.client("mallory") as mallory:
            await carol.say("bob", "first")
            await flood(mallory, clock, CAP // 2 + CAP // 4)
            await carol.say("bob", "second")
            await flood(mallory, clock, CAP // 2)
        async with RawClient.open(running.url) as bob:
            connected = await bob.connect(running.token("bob"))
            assert connected.lost is None
            told, said = 0, dict[int, str]()
            top = CAP + CAP // 4 + 2
            while told < top:
                frame = await bob.receive()
                if isinstance(frame, frames.Lost):
                    assert frame.first == told + 1
                    told = frame.last
                else:
                    assert isinstance(frame, frames.Push)
                    assert frame.number == told + 1
                    told = frame.number
                    said[told] = frame.message.sender
                    if told % (WINDOW // 2) == 0:
                        await bob.send(frames.Ack(told))
            assert len(said) == CAP
            assert [number for number, sender in said.items() if sender == "carol"] == [1, 752]


async def flood(client: RawClient, clock: FakeClock, count: int) -> None:
    """Send bob `count` messages, as fast as the limits allow."""
    for start in range(0, count, BURST // 2):
        for answer in await blast(client, min(BURST // 2, count - start), "bob"):
            assert isinstance(answer, frames.Ok), answer
        clock.advance(BURST)
