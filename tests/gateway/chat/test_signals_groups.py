"""Signals to groups, over real sockets and a real store. SPEC.md section 16."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
import redis
from homeport import codes, frames
from homeport.frames import Signal, Signaled

from gateway.chat import signals
from gateway.config import Settings
from gateway.security.sealing import Kind
from tests.gateway.chat.grouping import created, done
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock, RawClient, RunningWorker


async def signals_of(client: RawClient, by: RunningWorker) -> list[str]:
    """The kinds of the signals that came, or are under way; pushes are passed over."""
    return [each.kind for each in await by.under_way(client) if isinstance(each, Signaled)]


async def refusal(client: RawClient, signal: Signal) -> str:
    """Signal, and return the name of the code it was refused with."""
    await client.send(signal)
    error = await client.until(frames.Error)
    assert error.id == frames.NO_REQUEST
    return codes.ERRORS[error.code].name


async def test_a_signal_reaches_every_session_of_every_member(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-16.1-7, HP-16.1-2: on two gateways, the sender's too; nobody else, and nobody later."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("alice", "d2") as own,
        one.client("bob") as here,
        two.client("bob", "d2") as there,
        two.client("carol") as carol,
        two.client("mallory") as mallory,
    ):
        group = await created(alice, "bob", "carol", "dave")
        await alice.send(Signal(f"g:{group}", "typing", b"\x01"))
        for client in (alice, own, here, there, carol):
            got = await client.until(Signaled)
            assert got == Signaled("alice", f"g:{group}", "typing", b"\x01")
        assert await signals_of(mallory, one) == []
        async with one.client("dave") as dave:
            assert await signals_of(dave, one) == []


async def test_it_is_kept_nowhere_and_sealed_on_its_way(
    gateway: RunningWorker, store_url: str
) -> None:
    """HP-16.1-2, G7: no key changes, and a member's channel carries neither text nor name."""
    async with gateway.client("alice") as alice, gateway.client("bob") as bob:
        group = await created(alice, "bob")
        await bob.until(frames.Push)
        channel = gateway.inside.inboxes.channel(gateway.app.id, "bob")
        with redis.Redis.from_url(store_url) as store, store.pubsub() as pubsub:
            pubsub.ssubscribe(channel)
            pubsub.parse_response()
            before = {key: store.dump(key) for key in store.keys("*")}
            await alice.send(Signal(f"g:{group}", "call", b"the secret offer"))
            await bob.until(Signaled)
            payload = pubsub.parse_response()[2]
            assert b"secret" not in payload
            assert b"alice" not in payload
            assert {key: store.dump(key) for key in store.keys("*")} == before


async def test_who_may_signal(gateway: RunningWorker) -> None:
    """HP-16.1-8: each refusal by its code, told with id 0; nobody hears it, the session goes on."""
    async with (
        gateway.client("alice") as alice,
        gateway.client("bob") as bob,
        gateway.client("mallory") as mallory,
    ):
        group = await created(alice, "bob", "carol")
        to = f"g:{group}"
        assert await refusal(mallory, Signal(to, "x", b"")) == "not_a_member"
        assert await refusal(alice, Signal("g:" + "0" * 32, "x", b"")) == "unknown_group"
        assert await refusal(alice, Signal(to, "x", bytes(4097))) == "body_too_large"
        for bad in ("g:", "g:team", f"g:{group.upper()}", f"g:{group}0", f"G:{group}"):
            assert await refusal(alice, Signal(bad, "x", b"")) == "unknown_recipient"
        await done(alice, "mute", group, True, "bob")
        assert await refusal(bob, Signal(to, "x", b"")) == "muted"
        await done(alice, "mute", group, False, "bob")
        await done(alice, "mute", group, True)
        assert await refusal(bob, Signal(to, "x", b"")) == "muted"
        await alice.send(Signal(to, "by the owner", b""))
        assert (await bob.until(Signaled)).kind == "by the owner"
        await done(alice, "mute", group, False)
        await bob.send(Signal(to, "by bob", b""))
        assert (await alice.until(Signaled)).kind == "by bob"
        await done(alice, "delete", group)
        assert await refusal(alice, Signal(to, "x", b"")) == "unknown_group"
        assert await signals_of(alice, gateway) == []
        assert await signals_of(bob, gateway) == ["by bob"]  # own signals too, as in a room


async def test_a_member_who_was_removed_hears_none_that_follow(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-16.1-7: by the change that was answered, on a gateway that has the old list in memory."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("alice", "d2") as other,
        two.client("bob") as bob,
        two.client("carol") as carol,
    ):
        group = await created(alice, "bob")
        await other.send(Signal(f"g:{group}", "before", b""))
        assert (await bob.until(Signaled)).kind == "before"
        await done(alice, "remove", group, ["bob"])
        await done(alice, "add", group, ["carol"])
        await other.send(Signal(f"g:{group}", "after", b""))
        assert (await carol.until(Signaled)).kind == "after"
        assert await signals_of(bob, two) == []
        assert await refusal(bob, Signal(f"g:{group}", "x", b"")) == "not_a_member"


async def test_a_signal_that_was_under_way_does_not_reach_who_was_removed(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-16.1-7: two has read the list, and stalls; the removal is answered; then two goes on."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("alice", "d2") as other,
        two.client("bob") as bob,
        two.client("carol") as carol,
    ):
        group = await created(alice, "bob", "carol")
        groups = two.inside.groups
        signal, stalled, go_on = groups.signal, asyncio.Event(), asyncio.Event()

        async def stall(*arguments: Any) -> None:
            stalled.set()
            await go_on.wait()
            await signal(*arguments)

        monkeypatch.setattr(groups, "signal", stall)
        await other.send(Signal(f"g:{group}", "late", b""))
        await stalled.wait()
        await done(alice, "remove", group, ["bob"])
        go_on.set()
        assert (await carol.until(Signaled)).kind == "late"
        assert await signals_of(bob, two) == []
        # Bob comes back, and hears what follows.
        await done(alice, "add", group, ["bob"])
        await other.send(Signal(f"g:{group}", "again", b""))
        assert (await bob.until(Signaled)).kind == "again"


async def test_a_group_signal_costs_one_seal_and_one_call_a_bucket(
    running: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To 1,000 members: a question and 256 calls at the most, one seal, and one opening here.

    The 1,001st member is one too many (HP-16.1-8).
    """
    users = [f"u{n:04}" for n in range(999)]
    async with contextlib.AsyncExitStack() as stack:
        alice = await stack.enter_async_context(running.client("alice"))
        group = await created(alice, *users[:100])
        for at in range(100, 999, 100):
            await done(alice, "add", group, users[at : at + 100])
        online = [await stack.enter_async_context(running.client(user)) for user in users[:40]]
        link, sealer = running.inside.link, running.inside.sealer
        counts = {"run": 0, "seal": 0, "open": 0}

        def counting(target: Any, name: str) -> None:
            real = getattr(target, name)

            def counted(*arguments: Any, **options: Any) -> Any:
                if name == "run" or Kind.RELAY in arguments:
                    counts[name] += 1
                return real(*arguments, **options)

            monkeypatch.setattr(target, name, counted)

        counting(link, "run")
        counting(sealer, "seal")
        counting(sealer, "open")
        await alice.send(Signal(f"g:{group}", "typing", b"\x01"))
        for client in online:
            got = await client.until(Signaled)
            assert got == Signaled("alice", f"g:{group}", "typing", b"\x01")
        assert counts["run"] <= 1 + 256
        assert (counts["seal"], counts["open"]) == (1, 1)
        monkeypatch.undo()
        monkeypatch.setattr(signals, "MAX_SIGNAL_MEMBERS", 999)
        assert await refusal(alice, Signal(f"g:{group}", "x", b"")) == "group_too_large"
        assert await signals_of(online[0], running) == []


async def test_a_signal_that_is_moved_to_another_group_is_not_shown(
    gateway: RunningWorker,
) -> None:
    """G7: it opens as one of the group that it was sealed for, and as no other's."""
    records, app = gateway.inside.records, gateway.app
    told = Signaled("alice", "g:" + "1" * 32, "typing", b"")
    record = records.relay(app, told.to, told, 1_767_323_045_678)
    payload = records.relayed(app, "a channel", record, "1" * 32)
    assert payload is not None
    # Each member has a channel; the payload is the same one, so that it is framed once.
    assert records.relayed(app, "another", record, "1" * 32) is payload
    for group in ("2" * 32, ""):
        assert records.relayed(app, "a channel", record, group) is None
    assert (
        records.relayed(app, "a channel", record[:-1] + bytes([record[-1] ^ 1]), "1" * 32) is None
    )


async def test_group_signals_count_with_the_others(gateway: RunningWorker) -> None:
    """HP-16.1-4: 20 at once, to users and groups together."""
    async with gateway.client("alice") as alice:
        group = await created(alice)
        for number in range(20):
            await alice.send(Signal(f"g:{group}" if number % 2 else "bob", str(number), b""))
        assert await refusal(alice, Signal(f"g:{group}", "x", b"")) == "rate_limited"


async def test_while_the_store_is_away_it_is_said_to_be_lost(gateway: RunningWorker) -> None:
    """HP-16.1-3, G5: unavailable, with id 0."""
    async with gateway.client("alice") as alice:
        group = await created(alice, "bob")
        with gateway.inside.cut_off():
            assert await refusal(alice, Signal(f"g:{group}", "x", b"")) == "unavailable"
