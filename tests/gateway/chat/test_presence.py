"""Presence, over real sockets and a real store. SPEC.md section 20."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from homeport import codec, codes, frames
from homeport.frames import (
    Presence,
    PresenceGet,
    PresenceSet,
    PresenceSubscribe,
    PresenceUnsubscribe,
    UserPresence,
)
from homeport.limits import MAX_FRAME_BYTES

from gateway.config import Settings
from gateway.hub.presence import AWAY_S, CHANGE_EVERY_S
from tests.gateway.chat.watching import ask, nothing_for, settled, states, told
from tests.gateway.replicas import two_workers
from tests.harness import (
    FakeClock,
    RunningWorker,
    make_settings,
    running_worker,
    until,
)
from tests.inside import watchers


async def test_a_user_comes_is_away_and_goes(
    store_url: str, tmp_path: Path, clock: FakeClock
) -> None:
    """HP-20.1-1, HP-20.2-1 to HP-20.2-3, HP-20.2-10: from one gateway to another, on both stores;
    to somebody whom bob never met."""
    settings = make_settings(store_url, tmp_path)
    async with two_workers(settings, clock) as (one, two), one.client("alice") as alice:
        assert await states(alice, PresenceSubscribe, ("bob",), 600) == [
            UserPresence("bob", "offline", "", 0)
        ]
        async with two.client("bob") as bob:
            assert await told(alice, one) == Presence("bob", "online", "", 0)
            await ask(bob, PresenceSet, "away", "lunch")
            assert await told(alice, one) == Presence("bob", "away", "lunch", 0)
            assert await states(alice, PresenceGet, ("bob",)) == [
                UserPresence("bob", "away", "lunch", 0)
            ]
            left = clock.now
        gone = await told(alice, one)
        assert gone == Presence("bob", "offline", "lunch", int(left * 1000))
        assert clock.now - left >= AWAY_S


async def test_a_user_is_what_the_best_of_the_devices_is(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-20.1-2: online if any is, else away if any is; on two gateways."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        one.client("bob", "d1") as first,
    ):
        await ask(first, PresenceSet, "away")
        assert (await states(alice, PresenceGet, ("bob",)))[0].state == "away"
        async with two.client("bob", "d2"):
            assert (await states(alice, PresenceGet, ("bob",)))[0].state == "online"
        async with asyncio.timeout(5):  # until the other gateway has given the device free
            while (await states(alice, PresenceGet, ("bob",)))[0].state != "away":
                pass
        await ask(first, PresenceSet, "online")
        assert (await states(alice, PresenceGet, ("bob",)))[0].state == "online"


async def test_what_a_user_sets_outlives_the_connection(running: RunningWorker) -> None:
    """HP-20.1-3: the status text, for all devices, and a device's away; both until set again."""
    async with running.client("alice") as alice:
        async with running.client("bob", "d1") as bob:
            await ask(bob, PresenceSet, "away", "be right back")
        async with running.client("bob", "d1") as bob:
            assert await states(alice, PresenceGet, ("bob",)) == [
                UserPresence("bob", "away", "be right back", 0)
            ]
            await ask(bob, PresenceSet, "online")
            assert (await states(alice, PresenceGet, ("bob",)))[0].status == "be right back"
        async with running.client("bob", "d2") as bob:
            await ask(bob, PresenceSet, "online", "")
            assert await states(alice, PresenceGet, ("bob",)) == [
                UserPresence("bob", "online", "", 0)
            ]


async def test_a_status_is_sealed(running: RunningWorker, store: Any) -> None:
    """HP-20.1-5, G7: neither a key nor the channel has it in the clear."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await ask(alice, PresenceSubscribe, ("bob",), 60)
        channel = running.inside.keys.presence_channel(running.app.id, "bob")
        with store.pubsub() as pubsub:
            pubsub.ssubscribe(channel)
            pubsub.parse_response()
            await ask(bob, PresenceSet, "online", "at the secret place")
            assert (await told(alice, running)).status == "at the secret place"
            assert pubsub.parse_response()[2] == b"s"
        for key in store.keys("*"):
            if store.type(key) == b"hash":
                assert b"secret" not in b"".join(store.hgetall(key).values())


async def test_who_is_back_within_the_time_was_never_gone(running: RunningWorker) -> None:
    """HP-20.2-3: 200 users drop and come back, and nobody is told anything."""
    users = [f"u{number}" for number in range(200)]
    async with contextlib.AsyncExitStack() as stack, running.client("watcher") as watcher:
        for user in users:
            await stack.enter_async_context(running.client(user))
        for start in (0, 100):
            some = tuple(users[start : start + 100])
            found = await states(watcher, PresenceSubscribe, some, 600)
            assert {each.state for each in found} == {"online"}
        for session in running.inside.sessions():
            if session.user != "watcher":
                session.close(codes.GOING_AWAY)
        running.pass_time(AWAY_S - 1)
        assert {each.state for each in await states(watcher, PresenceGet, tuple(users[:100]))} == {
            "offline"
        }
        for user in users:
            await stack.enter_async_context(running.client(user))
        await nothing_for(watcher, running, 3 * AWAY_S)


async def test_a_drain_is_told_to_nobody(settings: Settings, clock: FakeClock) -> None:
    """HP-20.2-3: who connects elsewhere, when the gateway that leaves says so, was never gone."""
    async with (
        running_worker(settings, clock=clock) as one,
        one.client("alice") as alice,
        contextlib.AsyncExitStack() as stack,
    ):
        two = await stack.enter_async_context(running_worker(settings, clock=clock, app=one.app))
        three = await stack.enter_async_context(running_worker(settings, clock=clock, app=one.app))
        bob = await stack.enter_async_context(two.client("bob"))
        await states(alice, PresenceSubscribe, ("bob",), 600)
        draining = asyncio.create_task(two.worker.stop())
        goaway = await bob.until(frames.Goaway)
        await draining
        await one.inside.renew_presence()
        one.pass_time(goaway.reconnect_in + 1)
        await stack.enter_async_context(three.client("bob"))
        await nothing_for(alice, one, 3 * AWAY_S)


async def test_changes_that_follow_each_other_are_told_as_one(running: RunningWorker) -> None:
    """HP-20.2-4: the first at once, and five seconds later what is so then."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await states(alice, PresenceSubscribe, ("bob",), 600)
        await ask(bob, PresenceSet, "online", "0")
        at = running.clock.steady if running.clock else 0  # before: time passes while it waits
        assert (await told(alice, running)).status == "0"
        for number in range(1, 40):
            await ask(bob, PresenceSet, "away" if number % 2 else "online", str(number))
            running.pass_time(0.1)
            await settled(running)
        assert await told(alice, running) == Presence("bob", "away", "39", 0)
        assert running.clock is not None
        assert running.clock.steady - at >= CHANGE_EVERY_S
        await nothing_for(alice, running, 20)


async def test_a_change_that_was_taken_back_is_not_told(running: RunningWorker) -> None:
    """HP-20.2-4: what is so when it is told is what was told before."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await states(alice, PresenceSubscribe, ("bob",), 600)
        await ask(bob, PresenceSet, "away")
        await told(alice, running)
        await ask(bob, PresenceSet, "online")
        await ask(bob, PresenceSet, "away")
        await nothing_for(alice, running, 20)


async def test_a_subscription_ends(running: RunningWorker) -> None:
    """HP-20.2-2, HP-20.2-5: when it said, later if it was renewed, or when it is taken back."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await states(alice, PresenceSubscribe, ("bob", "carol"), 20)
        running.pass_time(15)
        await states(alice, PresenceSubscribe, ("bob",), 20)
        running.pass_time(10)
        async with running.client("carol"):
            await nothing_for(alice, running, 1)
            await ask(bob, PresenceSet, "away")
            assert (await told(alice, running)).user == "bob"
            running.pass_time(20)
            await ask(bob, PresenceSet, "online")
            await nothing_for(alice, running, 10)
        assert len(running.inside.presence) == 0
        await states(alice, PresenceSubscribe, ("bob",), 60)
        for _ in range(2):
            await ask(alice, PresenceUnsubscribe, ("bob", "dave"))
        await ask(bob, PresenceSet, "away")
        await nothing_for(alice, running, 10)
        assert watchers(running.inside.presence) == 0


async def test_with_the_session_its_subscriptions_end(running: RunningWorker) -> None:
    """HP-20.2-9: who connects again hears nothing before subscribing again; nothing is left."""
    async with running.client("bob") as bob:
        async with running.client("alice") as alice:
            await states(alice, PresenceSubscribe, ("bob",), 600)
        hub = running.inside.presence
        await until(lambda: (watchers(hub), len(hub)) == (0, 0))
        async with running.client("alice") as alice:
            await ask(bob, PresenceSet, "away")
            await nothing_for(alice, running, 10)


async def test_a_watcher_of_five_hundred(running: RunningWorker) -> None:
    """HP-20.2-1, HP-20.2-6: five requests; the 501st user is refused and nothing changes."""
    users = [f"u{number}" for number in range(500)]
    async with running.client("alice") as alice:
        for start in range(0, 500, 100):
            some = tuple(users[start : start + 100])
            found = await states(alice, PresenceSubscribe, some, 600)
            assert [each.user for each in found] == list(some)
        wrong = await alice.refused(PresenceSubscribe, ("one.more", "u0"), 600)
        assert wrong is codes.TOO_MANY_SUBSCRIPTIONS
        await ask(alice, PresenceSubscribe, ("u0",), 600)
        async with running.client("one.more"):
            await nothing_for(alice, running, 1)
        async with contextlib.AsyncExitStack() as stack:
            for user in users[::10]:
                await stack.enter_async_context(running.client(user))
            came = {(await told(alice, running)).user for _ in range(50)}
            assert came == set(users[::10])
        await ask(alice, PresenceUnsubscribe, ("u7",))
        await ask(alice, PresenceSubscribe, ("one.more",), 600)


async def test_an_answer_fits_a_frame(running: RunningWorker) -> None:
    """HP-20.2-1, HP-2.3-3: also 100 users of the longest names with the longest texts."""
    users = tuple(f"{number:064}" for number in range(100))
    async with running.client("alice") as alice:
        for user in users:
            async with running.client(user) as client:
                await ask(client, PresenceSet, "away", "\U0001f600" * 128)
        found = await states(alice, PresenceGet, users)
        assert {each.status for each in found} == {"\U0001f600" * 128}
        answer = frames.PresenceList(tuple(found))
        assert len(codec.encode_ok(2**32 - 1, answer)) < MAX_FRAME_BYTES


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (PresenceSet, ("offline",)),
        (PresenceSet, ("online", "x" * 129)),
        (PresenceSubscribe, ((), 60)),
        (PresenceSubscribe, (("a b",), 60)),
        (PresenceSubscribe, (("bob", "r:lobby"), 60)),
        (PresenceSubscribe, (("bob",), 0)),
        (PresenceSubscribe, (("bob",), 86_401)),
        (PresenceSubscribe, (tuple(f"u{n}" for n in range(101)), 60)),
        (PresenceUnsubscribe, (("g:x",),)),
        (PresenceGet, ((),)),
        (PresenceGet, (("",),)),
        (PresenceGet, (("a:b",),)),
    ],
)
async def test_misuse(running: RunningWorker, kind: Any, fields: tuple[Any, ...]) -> None:
    """HP-20.2-6, HP-20.2-7, HP-9.1-1: one error with the request's id; the connection stays."""
    async with running.client("alice") as alice:
        assert await alice.refused(kind, *fields) is codes.INVALID_FIELD
        assert len(running.inside.presence) == 0
        assert await states(alice, PresenceGet, ("bob", "alice", "bob")) == [
            UserPresence("bob", "offline", "", 0),
            UserPresence("alice", "online", "", 0),
        ]


async def test_requests_have_the_sessions_rate(settings: Settings, clock: FakeClock) -> None:
    """HP-17.1-2: as any other request."""
    async with (
        running_worker(settings, tier="free", clock=clock) as running,
        running.client("alice") as alice,
    ):
        for _ in range(501):
            await alice.send(PresenceGet(alice.request_id(), ("bob",)))
        answers = [await alice.receive() for _ in range(501)]
        (error,) = [each for each in answers if isinstance(each, frames.Error)]
        assert error.code == codes.RATE_LIMITED.number


async def test_who_is_blocked_sees_nothing(settings: Settings, clock: FakeClock) -> None:
    """HP-20.4-1, HP-20.4-2: from the block on, over gateways, and only the blocked one."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        one.client("carol") as carol,
        two.client("bob") as bob,
    ):
        await ask(bob, PresenceSet, "away", "here")
        shown = UserPresence("bob", "away", "here", 0)
        for watcher in (alice, carol):
            assert await states(watcher, PresenceSubscribe, ("bob",), 600) == [shown]
        await ask(bob, frames.Block, "alice")
        hidden = await alice.until(Presence)
        assert hidden == Presence("bob", "offline", "", 0)
        await ask(bob, PresenceSet, "online", "busy")
        assert await told(carol, one) == Presence("bob", "online", "busy", 0)
        await nothing_for(alice, one, 20)
        for kind, fields in ((PresenceGet, ()), (PresenceSubscribe, (600,))):
            assert await states(alice, kind, ("bob",), *fields) == [
                UserPresence("bob", "offline", "", 0)
            ]
        async with two.client("alice", "d2") as other:
            assert (await states(other, PresenceGet, ("bob",)))[0].state == "offline"
        assert await states(bob, PresenceGet, ("alice",)) == [
            UserPresence("alice", "online", "", 0)
        ]
        await ask(bob, frames.Unblock, "alice")
        assert await alice.until(Presence) == Presence("bob", "online", "busy", 0)


@pytest.mark.parametrize("deleted", [False, True])
async def test_the_profile_takes_the_presence_along(
    running: RunningWorker, store: Any, deleted: bool
) -> None:
    """HP-20.1-4: 180 days unused, or the app deleted: nothing is left."""
    async with running.client("bob") as bob:
        await ask(bob, PresenceSet, "away", "gone fishing")
    keys = running.inside.keys.user(running.app.id, "bob")
    await until(lambda: not running.inside.sessions())
    assert {b"p", b"a:d1"} <= set(store.hkeys(keys.meta))
    assert running.clock is not None
    if deleted:
        async with running.admin() as admin:
            await admin.apps.delete(running.app.id)
        await running.inside.sweep()
    else:
        for days in (91, 91):
            assert store.exists(keys.meta)
            running.clock.advance(days * 24 * 3600)
            await running.inside.sweep()
    assert not store.exists(keys.meta)
