"""Rooms, over real sockets and a real store. SPEC.md section 15."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import redis
from homeport import codes, frames
from homeport.frames import Priority, RoomJoin, RoomLeave, RoomPush, RoomSend, RoomSet

from gateway.config import Settings
from tests.gateway.chat.rooming import code, join, pushed, write
from tests.gateway.replicas import two_workers
from tests.harness import (
    FakeClock,
    RunningWorker,
    accepted,
    make_settings,
    running_worker,
    until,
)
from tests.inside import seats


@pytest.fixture
def either(store_url: str, tmp_path: Path) -> Settings:
    """Settings of a gateway, on Valkey and on the oldest Redis."""
    return make_settings(store_url, tmp_path)


async def test_a_message_reaches_everyone_in_the_room(either: Settings, clock: FakeClock) -> None:
    """HP-3.5-4, HP-15.1-2, HP-15.2-1, HP-15.2-2: the sender too, on two gateways, once."""
    async with (
        two_workers(either, clock) as (one, two),
        one.client("alice") as alice,
        one.client("bob") as bob,
        two.client("carol") as carol,
        two.client("outside") as outside,
    ):
        for client in (alice, bob, carol):
            result = await join(client)
            assert result.seq == 0
        assert result.members == 3
        first = accepted(await write(alice, "hello", priority=Priority.HIGH))
        answer = await carol.answer(frames.Send, "c", "r:lobby", "text", b"hi")
        assert isinstance(answer, frames.Ok)
        for client in (alice, bob, carol):
            push = await client.next(RoomPush)
            assert (push.seq, push.priority) == (1, Priority.HIGH)
            assert (push.message.id, push.message.to) == (first.id, "r:lobby")
            push = await client.next(RoomPush)
            assert (push.seq, push.priority, push.message.sender) == (2, Priority.NORMAL, "carol")
        assert await one.under_way(outside) == []


async def test_the_answer_comes_before_the_first_push(running: RunningWorker) -> None:
    """HP-15.1-2: ok with epoch, seq and members; then the last messages, then what comes."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await join(alice)
        for number in range(1, 16):
            assert isinstance(await write(alice, str(number)), frames.Ok)
        joined = await bob.ask(RoomJoin, "lobby")
        assert bob.passed == []
        assert (joined.seq, joined.members) == (5, 2)
        assert [await bob.expect(RoomPush) for _ in range(10)]
        await write(alice, "16")
        assert await pushed(bob) == [(16, "16")]


@pytest.mark.parametrize(("last", "first"), [(0, 251), (3, 248), (200, 51)])
async def test_the_last_messages_are_two_hundred_at_most(
    running: RunningWorker, store: Any, last: int, first: int
) -> None:
    """HP-15.3-1: as many as asked for, of the 200 that are kept."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await join(alice)
        for number in range(250):
            await write(alice, str(number + 1))
        result = await join(bob, last=last)
        assert result.seq == first - 1
        wanted = [(n, str(n)) for n in range(first, 251)]
        assert await pushed(bob, len(wanted)) == wanted
        [log] = store.keys("*log*r:lobby")
        assert store.xlen(log) == 200


async def test_the_last_messages_are_bounded_by_bytes(running: RunningWorker) -> None:
    """HP-15.3-1, HP-15.1-2: 200 messages of 64 KiB were 12 MB for each join. Where they are too
    many bytes, the oldest are left out; who comes back sees by `seq` which."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        epoch = (await join(alice)).epoch
        for number in range(1, 13):
            await write(alice, f"{number} ".ljust(30_000, "x"))
        for back in ("", epoch):
            joined = await join(bob, last=200, epoch=back, after=2)
            assert joined.seq == 8
            assert [seq for seq, _ in await pushed(bob, 4)] == [9, 10, 11, 12]
        joined = await join(bob, last=200, epoch=epoch, after=10)
        assert joined.seq == 10
        assert [seq for seq, _ in await pushed(bob, 2)] == [11, 12]


async def test_last_is_at_most_200(running: RunningWorker) -> None:
    """HP-15.3-1: more is an invalid field, and the connection stays."""
    async with running.client("alice") as alice:
        await alice.send(RoomJoin(7, "lobby", 201))
        error = await alice.expect(frames.Error)
        assert (error.id, error.code) == (7, codes.INVALID_FIELD.number)
        await join(alice, last=200)


async def test_who_was_here_gets_what_it_missed(running: RunningWorker) -> None:
    """HP-15.3-2: nothing up to `after` again; with another epoch as if nothing had been said."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await join(alice)
        for number in range(1, 6):
            await write(alice, str(number))
        epoch = (await join(alice, last=0)).epoch
        result = await join(bob, last=200, epoch=epoch, after=3)
        assert result.seq == 3
        assert await pushed(bob, 2) == [(4, "4"), (5, "5")]
        assert (await join(bob, last=200, epoch=epoch, after=5)).seq == 5
        assert (await join(bob, last=200, epoch="other", after=3)).seq == 0
        assert await pushed(bob, 1) == [(1, "1")]


async def test_nothing_is_told_past_the_tiers_time(
    settings: Settings, clock: FakeClock, store: Any
) -> None:
    """HP-15.3-3, G4: not on join, and the sweeper removes it from Redis."""
    async with running_worker(settings, clock=clock, tier="free") as running:
        async with running.client("alice") as alice:
            await join(alice)
            await write(alice, "old")
        running.clock = clock
        clock.advance(3 * 24 * 3600)
        async with running.client("bob") as bob:
            result = await join(bob)
            assert result.seq == 1
            await write(bob, "new")
            assert await pushed(bob) == [(2, "new")]
        [log] = store.keys("*log*r:lobby")
        assert store.xlen(log) == 2
        await running.inside.sweep()
        assert store.xlen(log) == 1
        clock.advance(181 * 24 * 3600)
        for _ in range(2):  # the last message goes, then the unused room
            await running.inside.sweep()
            clock.advance(181 * 24 * 3600)
        # The seats have times of their own, which are the store's clock's.
        left = store.keys("*r:lobby")
        assert {name.split(b":")[3] for name in left} == {b"seats", b"users"}
        assert all(0 < store.ttl(name) <= 600 for name in left)


async def test_a_repeated_send_adds_nothing(settings: Settings, clock: FakeClock) -> None:
    """HP-15.2-4, G2: also by way of another gateway; the same id and time come back."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice", "d1") as alice,
        two.client("alice", "d2") as again,
        two.client("bob") as bob,
    ):
        for client in (alice, again, bob):
            await join(client)
        first = await write(alice, "once", name="c1")
        clock.advance(5)
        assert isinstance(first, frames.Ok)
        second = await write(again, "once", name="c1")
        assert isinstance(second, frames.Ok)
        assert second.result == first.result
        await write(alice, "twice")
        assert await pushed(bob, 2) == [(1, "once"), (2, "twice")]


async def test_only_who_is_in_the_room_sends(running: RunningWorker) -> None:
    """HP-15.2-3: not before joining and not after leaving; one of the user's devices is enough."""
    async with running.client("alice", "d1") as alice, running.client("alice", "d2") as other:
        assert code(await write(alice, "x")) == codes.NOT_IN_ROOM.number
        await join(alice)
        assert isinstance(await write(other, "from the other device"), frames.Ok)
        assert isinstance(await alice.answer(RoomLeave, "lobby"), frames.Ok)
        assert code(await write(alice, "x")) == codes.NOT_IN_ROOM.number
        assert isinstance(await alice.answer(RoomLeave, "lobby"), frames.Ok)  # HP-15.1-4
        await join(alice)
        assert (await pushed(alice))[0][1] == "from the other device"


async def test_who_left_hears_nothing(running: RunningWorker) -> None:
    """HP-15.1-4: not even with another seat of this room on the same gateway."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await join(alice)
        await join(bob)
        await bob.answer(RoomLeave, "lobby")
        await write(alice, "secret")
        assert (await join(alice)).members == 1
        assert await running.under_way(bob) == []


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: RoomJoin(5, "a b"), codes.INVALID_FIELD),
        (lambda: RoomJoin(5, "r:lobby"), codes.INVALID_FIELD),
        (lambda: RoomLeave(5, "a/b"), codes.INVALID_FIELD),
        (lambda: RoomSet(5, "a b", "admins"), codes.INVALID_FIELD),
        (lambda: RoomSet(5, "lobby", "admins", ("a b",)), codes.INVALID_FIELD),
        (lambda: RoomSend(5, "c", "bob", "text", b"x"), codes.UNKNOWN_RECIPIENT),
        (lambda: RoomSend(5, "c", "r:", "text", b"x"), codes.UNKNOWN_RECIPIENT),
        (lambda: frames.Send(5, "c", "r:a b", "text", b"x"), codes.UNKNOWN_RECIPIENT),
        (lambda: RoomSend(5, "c", "r:lobby", "text", bytes(32769)), codes.BODY_TOO_LARGE),
        (lambda: RoomSend(5, "c", "r:lobby", "text", b"x", 3), codes.INVALID_FIELD),
        (lambda: RoomSet(5, "lobby", "nobody"), codes.INVALID_FIELD),
    ],
)
async def test_misuse_is_refused_and_the_connection_stays(
    running: RunningWorker, make: Any, wrong: codes.ErrorCode
) -> None:
    """HP-15.1-1, HP-15.2-1, HP-15.4-1: each with its own code and the request's id."""
    async with running.client("alice") as alice:
        await alice.send(make())
        error = await alice.expect(frames.Error)
        assert (error.id, error.code) == (5, wrong.number)
        await join(alice)


async def test_a_session_is_in_a_hundred_rooms_at_most(running: RunningWorker) -> None:
    """HP-15.1-5: joining one of them again is no further one; leaving one makes place."""
    async with running.client("alice") as alice:
        for number in range(100):
            await join(alice, f"room-{number}")
        assert code(await alice.answer(RoomJoin, "one-more")) == codes.TOO_MANY_ROOMS.number
        await join(alice, "room-0")
        await alice.answer(RoomLeave, "room-0")
        await join(alice, "one-more")


async def test_admins_only(running: RunningWorker) -> None:
    """HP-15.4-1, HP-15.4-2, HP-15.4-3: the creator and admins write, others only read."""
    async with (
        running.client("alice") as alice,
        running.client("bob") as bob,
        running.client("eve") as eve,
    ):
        assert isinstance(await alice.answer(RoomSet, "news", "admins", ("bob",)), frames.Ok)
        for client in (alice, bob, eve):
            await join(client, "news")
        assert isinstance(await write(alice, "1", "news"), frames.Ok)
        assert isinstance(await write(bob, "2", "news"), frames.Ok)
        assert code(await write(eve, "3", "news")) == codes.ROOM_READ_ONLY.number
        answer = await eve.answer(RoomSet, "news", "everyone")
        assert code(answer) == codes.NOT_ROOM_CREATOR.number
        answer = await bob.answer(RoomSet, "news", "everyone")
        assert code(answer) == codes.NOT_ROOM_CREATOR.number
        assert isinstance(await alice.answer(RoomSet, "news", "everyone"), frames.Ok)
        assert isinstance(await write(eve, "3", "news"), frames.Ok)


async def test_an_admin_is_a_whole_user_id(running: RunningWorker) -> None:
    """HP-15.4-2: part of an admin's id, or a pattern that fits it, is nobody."""
    async with running.client("alice") as alice, contextlib.AsyncExitStack() as stack:
        await alice.answer(RoomSet, "news", "admins", ("bobby", "b.b"))
        for name in ("bob", "bobb", "by", "bab", "."):
            client = await stack.enter_async_context(running.client(name))
            await join(client, "news")
            assert code(await write(client, "x", "news")) == codes.ROOM_READ_ONLY.number


async def test_a_room_made_by_joining_is_nobodys(running: RunningWorker) -> None:
    """HP-15.4-3: so that whoever comes first can't lock the others out."""
    async with running.client("alice") as alice:
        await join(alice)
        answer = await alice.answer(RoomSet, "lobby", "admins")
        assert code(answer) == codes.NOT_ROOM_CREATOR.number


async def test_the_app_and_an_operator_take_over_what_they_like(running: RunningWorker) -> None:
    """HP-15.4-3, HP-15.4-4: whoever joined a name first once made a room that nobody could ever
    own, and whoever set it first owned any name for good."""
    async with running.client("bob") as bob, running.client("mallory") as mallory:
        await bob.ask(RoomJoin, "squatted")
        await mallory.ask(RoomSet, "owned", "admins", ["mallory"])
        async with running.admin() as admin:
            for room, claim in (("squatted", False), ("owned", True)):
                await admin.access.set_room(running.app.id, room, "admins", ["bob"], claim=claim)
                for client in (bob, mallory):
                    answer = await client.answer(RoomSet, room, "everyone")
                    assert code(answer) == codes.NOT_ROOM_CREATOR.number
            await mallory.ask(RoomSet, "hers", "admins", [])
            await admin.access.set_room(running.app.id, "hers", "everyone", [], claim=False)
        await mallory.ask(RoomSet, "hers", "admins", [])
        await mallory.ask(RoomJoin, "owned")
        answer = await mallory.say("r:owned", "x")
        assert code(answer) == codes.ROOM_READ_ONLY.number


async def test_a_room_in_which_nothing_was_said_ends_with_its_last_seat(
    running: RunningWorker, store: Any
) -> None:
    """Section 15.2, G9: 2,000 names that were joined for a moment took 13 MB for half a year. What
    somebody said, or created, stays."""
    keys, app = running.inside.keys, running.app.id
    async with running.client("alice") as alice:
        for room in ("silent", "spoken", "made"):
            await alice.ask(RoomJoin, room)
            assert 0 < store.pttl(keys.room(app, room).meta) <= 600_000
        await alice.say("r:spoken", "x")
        await alice.ask(RoomJoin, "spoken")
        assert store.pttl(keys.room(app, "spoken").meta) == -1
        assert store.zscore(keys.room(app, "silent").due, keys.room(app, "silent").member) is None
        async with running.admin() as admin:
            await admin.access.set_room(app, "made", "everyone", [], claim=False)
        await alice.ask(RoomJoin, "made")
        assert store.pttl(keys.room(app, "made").meta) == -1


async def test_the_store_sees_no_message(running: RunningWorker, store: Any) -> None:
    """G7: neither in the log nor on the channel."""
    [server] = [running.redis_url]
    with redis.Redis.from_url(server) as listening:
        async with running.client("alice") as alice:
            await join(alice)
            channel = running.inside.keys.room(running.app.id, "lobby").channel
            pubsub = listening.pubsub()
            pubsub.ssubscribe(channel)
            await write(alice, "the secret text")
            heard = [pubsub.handle_message(pubsub.parse_response()) for _ in range(2)]
            [log] = store.keys("*log*r:lobby")
            for each in (heard[1]["data"], store.xrange(log)[0][1][b"m"]):
                assert len(each) > 50
                assert b"secret" not in each
            pubsub.close()


async def test_a_record_of_another_room_does_not_open(running: RunningWorker, store: Any) -> None:
    """G7, HP-15.6-1: what was copied across is not shown, and leaves a hole."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        await join(alice, "one")
        await join(alice, "two")
        await write(alice, "1", "one")
        await write(alice, "2", "one")
        await write(alice, "mine", "two")
        [one], [two] = store.keys("*log*r:one"), store.keys("*log*r:two")
        entries = store.xrange(one)
        [(at, _)] = store.xrange(two)
        store.delete(two)
        store.xadd(two, {"m": entries[0][1][b"m"]}, id=at)
        await join(bob, "two")
        await write(alice, "next", "two")
        assert await pushed(bob) == [(2, "next")]


async def test_a_session_that_ends_leaves_nothing_behind(
    running: RunningWorker, store: Any
) -> None:
    """G9: no room, no subscription."""
    hub = running.inside.rooms
    async with running.client("alice") as alice:
        await join(alice)
        assert (len(hub), seats(hub)) == (1, 1)
    await until(lambda: running.inside.open == 0)
    assert (len(hub), seats(hub)) == (0, 0)
    # The server says so too: one channel fewer.
    channel = running.inside.keys.room(running.app.id, "lobby").channel
    await until(lambda: not store.pubsub_shardchannels(channel), "the channel is given up")
