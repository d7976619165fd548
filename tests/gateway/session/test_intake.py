"""Mirrors gateway/session/intake.py: a frame that asks for nothing has a price, too (G9)."""

from __future__ import annotations

import asyncio

import pytest
from homeport import codes, frames

from gateway.apps.tiers import TIERS
from gateway.config import Settings
from gateway.session.intake import FAULTY, MAX_REFUSALS, Intake, rate_of
from tests.harness import FakeClock, RunningWorker, running_worker, until

FREE = TIERS["free"]


async def test_a_connection_that_spent_its_frames_is_not_read_until_some_came_back(
    clock: FakeClock,
) -> None:
    """HP-17.4-1: the connection is told when to stop reading, and when to go on."""
    looks = list[bool]()
    intake = Intake(clock.clock(), lambda: looks.append(intake.empty))
    intake.known(FREE)
    rate, burst = rate_of(FREE)
    for _ in range(burst):
        assert not intake.empty
        intake.take(clock.steady)
    assert (intake.empty, looks) == (True, [True])
    clock.advance(2 / rate)
    await until(lambda: looks == [True, False])
    assert not intake.empty


def test_a_tier_allows_every_request_of_a_session_and_its_acks() -> None:
    """HP-17.4-1: the frames of a connection never run out before the tokens of its session do."""
    for tier in TIERS.values():
        rate, burst = rate_of(tier)
        assert rate > 4 * tier.session.per_s
        assert burst > 2 * tier.session.burst


async def test_a_client_that_sends_rubbish_is_soon_not_read(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-17.4-1: what is refused unread costs 21 frames; then the client waits, and nobody else."""
    rate, burst = rate_of(FREE)
    async with (
        running_worker(settings, tier="free", clock=clock) as running,
        running.client("alice") as client,
        running.client("bob") as bob,
    ):
        for _ in range(burst // (1 + FAULTY) + 1):
            await client.send(b"\x91\xcc\xff")
            assert isinstance(await client.receive(), frames.Error)
        await client.send(frames.Ping())
        await bob.send(frames.Ping())
        await bob.expect(frames.Pong)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.receive(), 0.1)
        clock.advance((1 + FAULTY) / rate)
        await client.expect(frames.Pong)


@pytest.mark.parametrize(
    ("frame", "price"),
    [
        (b"\x93\x12\x00" + b"\xc5\x0c\x00" + bytes(3_072), 1),  # an ack, with an element too many
        (b"\x93\x12\x00" + b"\xc5\x40\x00" + bytes(16_384), 3),
        ([b"\x92\x12", b"\x00"], 3),  # `websockets` ends with an empty one
    ],
)
async def test_a_frame_is_paid_for_once_and_again_for_each_8_kib(
    settings: Settings, clock: FakeClock, frame: bytes | list[bytes], price: int
) -> None:
    """HP-17.4-1: a long message cost two frames, however long; of one in fragments, each is a
    frame."""
    _, burst = rate_of(FREE)
    async with (
        running_worker(settings, tier="free", clock=clock) as running,
        running.client("alice") as client,
    ):
        for _ in range(burst // price - 1):
            await client.websocket.send(frame)
        await client.send(frames.Ping())
        await client.expect(frames.Pong)
        for _ in range(2):
            await client.websocket.send(frame)
        await client.send(frames.Ping())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.receive(), 0.1)


async def test_a_client_that_is_refused_without_end_is_sent_away(
    running: RunningWorker, clock: FakeClock
) -> None:
    """HP-17.4-2: 512 refusals in a row end the connection, with a code that says why."""
    async with running.client("alice") as client:
        for n in range(1, MAX_REFUSALS + 1):
            await client.send(frames.Send(n, f"m{n}", "x:y", "text", b""))
        assert await client.closed() == codes.TOO_MANY_REFUSALS.number


def test_a_request_that_succeeds_begins_the_count_anew(clock: FakeClock) -> None:
    """HP-17.4-2: refusals count only while nothing succeeds in between."""
    intake = Intake(clock.clock(), lambda: None)
    for _ in range(MAX_REFUSALS - 1):
        assert not intake.refused(codes.BLOCKED)
    intake.answered()
    assert not intake.refused(codes.BLOCKED)


def test_what_the_server_could_not_do_is_not_held_against_the_client(clock: FakeClock) -> None:
    """HP-17.4-2: while Redis is away, everything is refused."""
    intake = Intake(clock.clock(), lambda: None)
    assert not any(intake.refused(codes.UNAVAILABLE) for _ in range(MAX_REFUSALS * 2))
