"""Signals, over real sockets and a real store. SPEC.md section 16."""

from __future__ import annotations

from typing import Any

import pytest
from homeport import codes, frames
from homeport.frames import RoomSet, Signal, Signaled

from gateway.config import Settings
from tests.gateway.chat.rooming import join
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock, RawClient, RunningWorker, make_settings, running_worker


async def test_a_signal_reaches_every_session_of_a_user(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-16.1-1: on two gateways; nobody else, and the sender is not answered."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        one.client("bob", "d1") as here,
        two.client("bob", "d2") as there,
        two.client("carol") as carol,
    ):
        await alice.send(Signal("bob", "typing", b"\x01"))
        for client in (here, there):
            assert await client.expect(Signaled) == Signaled("alice", "bob", "typing", b"\x01")
        for client in (alice, carol):
            assert await one.under_way(client) == []


async def test_a_signal_to_a_room(store_url: str, tmp_path: Any, clock: FakeClock) -> None:
    """HP-16.1-1: every session in the room, on two gateways, on Valkey and Redis 7.0."""
    settings = make_settings(store_url, tmp_path)
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("bob") as bob,
        two.client("carol") as carol,
    ):
        await join(alice)
        await join(bob)
        await alice.send(Signal("r:lobby", "typing", b""))
        for client in (alice, bob):
            assert await client.until(Signaled) == Signaled("alice", "r:lobby", "typing", b"")
        assert await one.under_way(carol) == []


async def test_a_signal_is_kept_nowhere_and_sealed_on_its_way(
    running: RunningWorker, store: Any
) -> None:
    """HP-16.1-2, G7: no key changes, and the channel carries no text."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        channel = running.inside.inboxes.channel(running.app.id, "bob")
        with store.pubsub() as pubsub:
            pubsub.ssubscribe(channel)
            pubsub.parse_response()
            before = {key: store.dump(key) for key in store.keys("*")}
            await alice.send(Signal("bob", "call", b"the secret offer"))
            await bob.expect(Signaled)
            assert b"secret" not in pubsub.parse_response()[2]
            assert {key: store.dump(key) for key in store.keys("*")} == before
        async with running.client("bob", "d2") as late:
            assert await running.under_way(late) == []


@pytest.mark.parametrize(
    ("signal", "wrong"),
    [
        (Signal("g:nobody", "typing", b""), codes.UNKNOWN_RECIPIENT),
        (Signal("a b", "typing", b""), codes.UNKNOWN_RECIPIENT),
        (Signal("r:", "typing", b""), codes.UNKNOWN_RECIPIENT),
        (Signal("r:a b", "typing", b""), codes.UNKNOWN_RECIPIENT),
        (Signal("bob", "typing", bytes(4097)), codes.BODY_TOO_LARGE),
        (Signal("r:lobby", "typing", b""), codes.NOT_IN_ROOM),
        (Signal("r:news", "typing", b""), codes.ROOM_READ_ONLY),
        (Signal("bob", "", b""), codes.INVALID_FIELD),
    ],
)
async def test_misuse_is_told_with_id_0(
    running: RunningWorker, signal: Signal, wrong: codes.ErrorCode
) -> None:
    """HP-16.1-3: each with its own code; the connection stays."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await bob.ask(RoomSet, "news", "admins")
        await join(alice, "news")
        await alice.send(signal)
        error = await alice.expect(frames.Error)
        assert (error.id, error.code) == (frames.NO_REQUEST, wrong.number)
        for client in (alice, bob):
            assert await running.under_way(client) == []


async def test_signals_have_a_rate_of_their_own(running: RunningWorker) -> None:
    """HP-16.1-4: a burst of 20, then 10 a second; a session's own, and apart from sends."""
    async with (
        running.client("alice", "d1") as alice,
        running.client("alice", "d2") as other,
        running.client("bob") as bob,
    ):
        for number in range(25):
            await alice.send(Signal("bob", str(number), b""))
        for _ in range(5):
            error = await alice.expect(frames.Error)
            assert (error.id, error.code) == (0, codes.RATE_LIMITED.number)
            assert error.retry_after == pytest.approx(0.1, abs=0.002)
        assert isinstance(await alice.say("alice", "a send is free"), frames.Ok)
        await other.send(Signal("bob", "other", b""))
        running.pass_time(0.5)
        for number in range(6):
            await alice.send(Signal("bob", f"later {number}", b""))
        assert (await alice.until(frames.Error)).code == codes.RATE_LIMITED.number
        kinds = [(await bob.expect(Signaled)).kind for _ in range(26)]
        alices = [kind for kind in kinds if kind != "other"]
        assert alices == [*map(str, range(20)), *(f"later {n}" for n in range(5))]
        assert await running.under_way(bob) == []


async def test_a_signal_that_is_refused_takes_of_the_rate_too(running: RunningWorker) -> None:
    """HP-16.1-4: or a client could have as many refused as it likes."""
    async with running.client("alice") as alice:
        for _ in range(20):
            await alice.send(Signal("a b", "typing", b""))
            assert (await alice.expect(frames.Error)).code == codes.UNKNOWN_RECIPIENT.number
        await alice.send(Signal("bob", "typing", b""))
        assert (await alice.expect(frames.Error)).code == codes.RATE_LIMITED.number


async def test_while_the_store_is_away_a_signal_is_said_to_be_lost(
    running: RunningWorker,
) -> None:
    """HP-16.1-3, G5: unavailable, to a user and to a room."""
    async with running.client("alice") as alice:
        await join(alice)
        with running.inside.cut_off():
            for to in ("bob", "r:lobby"):
                await alice.send(Signal(to, "typing", b""))
                error = await alice.expect(frames.Error)
                assert (error.id, error.code) == (0, codes.UNAVAILABLE.number)


async def test_who_does_not_keep_up_misses_signals(running: RunningWorker) -> None:
    """HP-16.1-5, G9: and is not told; a signal means nothing later."""
    async with running.client("alice") as alice, running.client("slow") as slow:
        wire = running.inside.connection("slow")
        wire.congested = True
        await alice.send(Signal("slow", "missed", b""))
        await alice.send(Signal("alice", "after", b""))
        await alice.expect(Signaled)
        wire.congested = False
        await alice.send(Signal("slow", "seen", b""))
        assert (await slow.expect(Signaled)).kind == "seen"


async def test_a_signal_before_connect_is_refused(settings: Settings, clock: FakeClock) -> None:
    """HP-5.1-2: like any other frame."""
    async with (
        running_worker(settings, clock=clock) as running,
        RawClient.open(running.url) as client,
    ):
        await client.send(Signal("bob", "typing", b""))
        assert (await client.expect(frames.Error)).code == codes.NOT_CONNECTED.number
        assert await client.closed() == codes.CONNECT_EXPECTED.number


@pytest.mark.parametrize("to", ["bob", "r:lobby", "g:" + "0" * 32])
async def test_the_servers_kinds_are_no_clients(running: RunningWorker, to: str) -> None:
    """HP-16.1-9: a client that goes by the kind took a signal for a notice that a message was
    recalled, and no send could have said so."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await join(bob)
        for kind in ("homeport.recall", "homeport."):
            await alice.send(Signal(to, kind, b""))
            error = await alice.expect(frames.Error)
            assert (error.id, error.code) == (0, codes.INVALID_FIELD.number)
        await alice.send(Signal("bob", "homeport", b""))
        assert (await bob.until(Signaled)).kind == "homeport"
