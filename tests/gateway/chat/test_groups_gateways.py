"""Groups on two gateways: old lists of members, messages under way, gateways that die."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from gateway.chat.invitations import Invitations
from gateway.config import Settings
from gateway.redis.errors import Unavailable
from gateway.redis.scripts import SCRIPTS, Script
from gateway.store.fanout import TAKEOVER_MS
from tests.gateway.chat.grouping import created, done, read, refused, said
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock, RunningWorker


async def away(*_: Any, **__: Any) -> None:
    """As a call that Redis never got."""
    raise Unavailable("test")


async def says_so(*_: Any, **__: Any) -> None:
    """As a call that was answered."""


def tells_nobody(one: RunningWorker, patch: pytest.MonkeyPatch) -> None:
    """From now on this gateway changes groups, says so, and tells no member."""
    patch.setattr(one.inside.groups, "heal", says_so)


async def test_a_repeated_send_adds_nothing(settings: Settings, clock: FakeClock) -> None:
    """G2: on another gateway, also to members in many buckets."""
    users = [f"u{n}" for n in range(50)]
    async with two_workers(settings, clock) as (one, two):
        async with one.client("alice") as alice:
            group = await created(alice, *users)
            assert await said(alice, group, "once", "c1") == "ok"
        async with two.client("alice") as alice:
            assert await said(alice, group, "once", "c1") == "ok"
        for user in users[:10]:
            async with two.client(user) as client:
                assert (await read(client))[1:] == ["once"]


async def test_a_gateway_with_an_old_list_sends_by_the_new_one(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-11.2-6: two has the group in memory; one removes bob, adds carol, mutes dave."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("alice", "d2") as other,
        two.client("bob") as bob,
        two.client("dave") as dave,
        two.client("carol") as carol,
    ):
        group = await created(alice, "bob", "dave")
        assert await said(other, group, "before") == "ok"
        await done(alice, "remove", group, ["bob"])
        assert await said(bob, group, "x") == "not_a_member"
        assert await said(other, group, "after") == "ok"
        await done(alice, "add", group, ["carol"])
        assert await said(other, group, "with carol") == "ok"
        await done(alice, "mute", group, True, "dave")
        assert await said(dave, group, "x") == "muted"
        assert (await read(bob))[1:] == ["before", "removed alice bob"]
        assert await read(carol) == [
            "added alice carol team",
            "with carol",
            "muted alice dave True",
        ]


async def test_a_message_that_was_under_way_does_not_reach_who_was_removed(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-11.2-6: two has read the list, and stalls; the removal is answered; then two goes on.

    The list it goes by is as stale as can be. The conversation refuses the message, and two sends
    it again by the list as it is then.
    """
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("alice", "d2") as other,
        two.client("bob") as bob,
        two.client("carol") as carol,
    ):
        group = await created(alice, "bob", "carol")
        assert await said(other, group, "before") == "ok"
        link = two.inside.link
        run_then, stalled = link.run_then, asyncio.Event()
        held: list[tuple[Any, ...]] = []

        def stall(*said: Any, **options: Any) -> None:
            held.append((said, options))
            stalled.set()

        monkeypatch.setattr(link, "run_then", stall)
        sending = asyncio.create_task(said(other, group, "late"))
        await stalled.wait()
        monkeypatch.undo()
        await done(alice, "remove", group, ["bob"])
        for words, options in held:
            run_then(*words, **options)
        assert await sending == "ok"
        assert (await read(bob))[1:] == ["before", "removed alice bob"]
        assert "late" in await read(carol)
        # Bob comes back: what is sent from then on reaches him, on either gateway.
        await done(alice, "add", group, ["bob"])
        assert await said(other, group, "again") == "ok"
        assert await read(bob) == ["added alice bob team", "again"]


async def test_a_notice_whose_gateway_died_is_delivered_before_the_next_message(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-11.3-2 and G10: one changes the group and tells nobody; two does both in order, once."""
    async with two_workers(settings, clock) as (one, two):
        async with one.client("alice") as alice:
            group = await created(alice, "bob")
            tells_nobody(one, monkeypatch)
            await done(alice, "rename", group, "crew")
            await done(alice, "remove", group, ["bob"])
            await done(alice, "add", group, ["carol"])
        async with two.client("alice", "d2") as other, two.client("carol") as carol:
            assert await said(other, group, "hello") == "ok"
            assert await read(carol) == ["added alice carol crew", "hello"]
        monkeypatch.undo()
        async with one.client("bob") as bob, one.client("alice") as alice:
            assert (await read(bob))[1:] == ["renamed alice crew", "removed alice bob"]
            assert (await read(alice))[-4:] == [
                "renamed alice crew",
                "removed alice bob",
                "added alice carol crew",
                "hello",
            ]


async def test_the_sweeper_tells_what_a_dead_gateway_did_not(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-11.3-2: in a group that nobody sends to, too."""
    async with two_workers(settings, clock) as (one, two), one.client("alice") as alice:
        group = await created(alice, "bob")
        tells_nobody(one, monkeypatch)
        await done(alice, "rename", group, "crew")
        clock.advance(TAKEOVER_MS / 1000 - 1)
        await two.inside.sweep()
        async with two.client("bob") as bob:
            assert len(await read(bob)) == 1
            clock.advance(2)
            await two.inside.sweep()
            assert await read(bob) == ["renamed alice crew"]


async def test_a_change_that_could_not_be_told_is_unavailable_and_then_done(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-11.3-2, HP-11.3-3: no ok before all are told; the repeat is ok, whoever told them."""
    async with two_workers(settings, clock) as (one, two), one.client("alice") as alice:
        group = await created(alice, "bob")
        for name, by_another in (("crew", False), ("gang", True)):
            monkeypatch.setattr(one.inside.groups, "heal", away)
            assert await refused(alice, "rename", group, name) == "unavailable"
            monkeypatch.undo()
            if by_another:
                async with two.client("bob") as bob:
                    assert await said(bob, group, "hi") == "ok"
            await done(alice, "rename", group, name)
        async with two.client("bob", "d2") as bob:
            told = ["created alice alice bob team", "renamed alice crew", "renamed alice gang"]
            assert await read(bob) == [*told, "hi"]


async def test_a_state_that_makes_no_sense_is_an_error_and_not_silence(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-4.6-1: every request gets its one answer, and the session goes on."""
    async with two_workers(settings, clock) as (one, _), one.client("alice") as alice:
        group = await created(alice, "bob")
        with redis.Redis.from_url(settings.redis_url) as store:
            state = next(iter(store.scan_iter(f"*grp:*:{group}")))
            store.hset(state, mapping={"u:bob": "?", "v": "9999999999999"})
        assert await said(alice, group, "x") == "internal"


async def test_a_gateway_with_an_old_list_adds_nobody_who_left(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-11.6-2: two has a list with bob in it, then none with him, and never one that says that he
    left; one lets him go, and two invites him. Both ways round, and while both change the group."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("alice", "d2") as other,
        one.client("bob") as bob,
    ):
        group = await created(alice, "bob")
        assert await said(other, group, "two has the list") == "ok"
        await done(bob, "leave", group)
        answer = await done(other, "add", group, ["bob"])
        assert (answer.invited, answer.blocked) == (["bob"], [])
        view = await done(alice, "get", group)
        assert [each.user for each in view.members] == ["alice"]
        await done(bob, "join", group)
        left, added = await asyncio.gather(
            done(bob, "leave", group), done(other, "add", group, ["bob", "carol"])
        )
        assert left is None
        view = await done(other, "get", group)
        assert [each.user for each in view.members] == ["alice", "carol"]
        assert set(added.invited) <= {"bob"}


async def test_an_invitation_whose_gateway_died_is_told_by_the_next_try(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-11.6-5, G10: one invites bob and tells nobody; alice asks two again, and bob is told once,
    though alice asks a third time."""
    async with two_workers(settings, clock) as (one, two):
        async with one.client("alice") as alice, one.client("bob") as bob:
            group = await created(alice, "bob")
            await done(bob, "leave", group)
            with monkeypatch.context() as patch:
                patch.setattr(Invitations, "send", away)
                assert await refused(alice, "add", group, ["bob"]) == "unavailable"
        async with two.client("alice", "d2") as other, two.client("bob") as bob:
            answer = await done(other, "add", group, ["bob"])
            assert (answer.invited, answer.blocked) == (["bob"], [])
            await done(other, "add", group, ["bob"])
            assert (await read(bob))[1:] == ["left bob bob", "invitation alice bob team"]


async def test_an_addition_that_was_under_way_adds_nobody_who_left_meanwhile(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-11.6-2: two decides by a list in which bob never was, and stalls; one adds him, and he
    leaves; then two goes on. The script refuses the old version, and two asks him instead."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("alice", "d2") as other,
        one.client("bob") as bob,
    ):
        group = await created(alice)
        link, stalled, goes_on = two.inside.link, asyncio.Event(), asyncio.Event()
        run = link.run

        def stall(script: Script, *said: Any, **options: Any) -> Any:
            if script is not SCRIPTS["membership"] or stalled.is_set():
                return run(script, *said, **options)
            stalled.set()

            async def later() -> Any:
                await goes_on.wait()
                return await run(script, *said, **options)

            return later()

        monkeypatch.setattr(link, "run", stall)
        adding = asyncio.create_task(done(other, "add", group, ["bob"]))
        await stalled.wait()
        await done(alice, "add", group, ["bob"])
        await done(bob, "leave", group)
        goes_on.set()
        assert (await adding).invited == ["bob"]
        assert (await done(alice, "get", group)).size == 1
