"""Rooms, over real sockets and a real store. SPEC.md section 15."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
import redis
from homeport import codes, frames
from homeport.frames import Priority, RoomJoin, RoomLeave, RoomPush, RoomSend, RoomSet, RoomState

from gateway.config import Settings
from gateway.net.websocket import WebSocketConnection
from gateway.store import events
from gateway.store.events import RoomMessage
from tests.gateway.replicas import two_workers
from tests.harness import (
    FakeClock,
    RawClient,
    RunningWorker,
    accepted,
    make_settings,
    running_worker,
    until,
)
from tests.inside import seats

TWO_MINUTES = 120.0


async def join(client: RawClient, room: str = "lobby", **fields: Any) -> frames.RoomJoined:
    """Take a seat."""
    return await client.ask(RoomJoin, room, **fields)


async def write(
    client: RawClient, text: str, room: str = "lobby", priority: int = 1, name: str | None = None
) -> frames.Ok | frames.Error:
    """Send to a room and return the answer."""
    name = name or os.urandom(8).hex()
    return await client.answer(RoomSend, name, f"r:{room}", "text", text.encode(), priority)


async def pushed(client: RawClient, count: int = 1) -> list[tuple[int, str]]:
    """The next room pushes as (seq, text)."""
    found = [await client.next(RoomPush) for _ in range(count)]
    return [(push.seq, push.message.body.decode()) for push in found]


def code(answer: frames.Ok | frames.Error) -> int:
    """The code of a refusal."""
    assert isinstance(answer, frames.Error), answer
    return answer.code


def stands(state: RoomState) -> tuple[int, int]:
    """How far the room is past, and its members."""
    return state.seq, state.members


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
        [log] = store.keys("*inbox*r:lobby")
        assert store.xlen(log) == 200


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
        [log] = store.keys("*inbox*r:lobby")
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


async def test_the_count_is_of_users(running: RunningWorker) -> None:
    """HP-15.5-1: two devices are one member, until both have left."""
    async with (
        running.client("alice", "d1") as one,
        running.client("alice", "d2") as two,
        running.client("bob") as bob,
    ):
        await join(one)
        await join(two)
        assert (await join(bob)).members == 2
        await one.answer(RoomLeave, "lobby")
        assert (await join(bob)).members == 2
        await two.answer(RoomLeave, "lobby")
        assert (await join(bob)).members == 1


async def test_a_seat_is_kept_for_two_minutes(either: Settings, clock: FakeClock) -> None:
    """HP-15.5-2: offline that long, and no longer, a user is a member and may be back."""
    async with running_worker(either, clock=clock) as running, running.client("bob") as bob:
        await join(bob)
        async with running.client("alice") as alice:
            await join(alice)
        await until(lambda: running.inside.open == 1)
        clock.advance(TWO_MINUTES - 0.001)
        await running.inside.keep_rooms()
        assert (await bob.until(RoomState)).members == 2
        clock.advance(0.001)
        await running.inside.keep_rooms()
        assert (await bob.until(RoomState)).members == 1
        async with running.client("alice") as alice:
            assert code(await write(alice, "x")) == codes.NOT_IN_ROOM.number


async def test_who_comes_back_in_time_has_not_left(running: RunningWorker) -> None:
    """HP-15.5-2: a send that is repeated on the next connection is not refused."""
    assert running.clock is not None
    async with running.client("alice") as alice:
        await join(alice)
    running.clock.advance(TWO_MINUTES - 1)
    async with running.client("alice") as alice:
        assert isinstance(await write(alice, "back"), frames.Ok)


async def test_a_live_seat_is_kept_as_long_as_its_session(running: RunningWorker) -> None:
    """HP-15.5-2: an hour without a word changes nothing."""
    assert running.clock is not None
    async with running.client("alice") as alice:
        await join(alice)
        for _ in range(120):
            await alice.send(frames.Ping())  # or the session ends for its silence
            await alice.until(frames.Pong)
            running.clock.advance(30)
            await running.inside.keep_rooms()
        assert isinstance(await write(alice, "still here"), frames.Ok)


async def test_a_killed_gateways_seats_are_given_up(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-15.5-2, G10: nobody says that they are away; after two and a half minutes they are."""
    async with two_workers(settings, clock) as (one, two), two.client("bob") as bob:
        async with one.client("alice") as alice:
            await join(alice)
            await join(bob)
            # What a killed process does: nothing.
            monkeypatch.setattr(one.inside.rooms, "gone", lambda session_id: None)
        for _ in range(4):
            clock.advance(30)
            await two.inside.keep_rooms()
        assert (await join(bob)).members == 2
        clock.advance(30)
        await two.inside.keep_rooms()
        assert (await bob.until(RoomState)).members == 1


async def test_a_change_of_the_count_is_told(settings: Settings, clock: FakeClock) -> None:
    """HP-15.5-3: within the time that seats are kept anew, to everyone, also elsewhere."""
    async with two_workers(settings, clock) as (one, two), one.client("alice") as alice:
        await join(alice)
        async with two.client("bob") as bob:
            await join(bob)
            await one.inside.keep_rooms()
            assert stands(await alice.until(RoomState)) == (0, 2)
            await one.inside.keep_rooms()  # no change: nothing is said
            await bob.answer(RoomLeave, "lobby")
            await one.inside.keep_rooms()
            assert stands(await alice.expect(RoomState)) == (0, 1)


def kinds(payloads: list[bytes]) -> list[type]:
    """Of what Redis published."""
    return [type(events.parse(payload)) for payload in payloads]


async def test_a_dropped_publish_is_seen_by_the_next(settings: Settings, clock: FakeClock) -> None:
    """HP-15.6-1, G5: at most once live; numbers show what is missing."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("bob") as bob,
    ):
        await join(alice)
        await join(bob)
        await write(alice, "1")
        assert await pushed(bob) == [(1, "1")]
        with two.inside.deaf():
            await write(alice, "2")
            async with two.client("carol") as carol:  # whose join comes behind the publish
                await join(carol)
                assert await pushed(carol, 2) == [(1, "1"), (2, "2")]
        await write(alice, "3")
        assert await pushed(bob) == [(3, "3")]


async def test_a_dropped_publish_is_told_in_a_quiet_room(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-15.6-2: where no push follows, the room's state names the number; at the second look,
    because the first may be ahead of a push on its way."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as alice,
        two.client("bob") as bob,
    ):
        await join(alice)
        await join(bob)
        await two.inside.keep_rooms()
        assert stands(await bob.until(RoomState)) == (0, 2)
        with two.inside.deaf() as missed:
            await write(alice, "lost")
            async with two.client("carol") as carol:
                await join(carol)
                await pushed(carol)
                await two.inside.keep_rooms()
                assert stands(await bob.expect(RoomState)) == (0, 3)
                await two.inside.keep_rooms()
                assert stands(await bob.expect(RoomState)) == (1, 3)
                await two.inside.keep_rooms()  # it is told once
                await write(alice, "2")
                await until(lambda: kinds(missed).count(RoomMessage) == 2)
        assert await one.under_way(bob) == []


async def test_a_store_that_came_back_older_gives_no_number_twice(
    running: RunningWorker, store: Any
) -> None:
    """HP-15.2-2, HP-15.6-5: who has heard 3 must not take another 3 for a repetition of it; the
    sender's gateway knows, and everybody is told of a new numbering before its first message."""
    async with running.client("alice") as alice:
        epoch = (await join(alice)).epoch
        for number in ("1", "2", "3"):
            await write(alice, number)
        await pushed(alice, 3)
        [meta] = store.keys("*dev*r:lobby")
        store.hset(meta, "q", "1")
        await write(alice, "4")
        told = await alice.next(RoomState)
        assert told.seq == 3
        assert told.epoch not in ("", epoch)
        assert await pushed(alice) == [(4, "4")]
        again = await join(alice, epoch=told.epoch, after=4)
        assert (again.epoch, again.seq) == (told.epoch, 4)


async def test_a_gateway_that_heard_more_ends_the_numbering(
    settings: Settings, clock: FakeClock, store: Any
) -> None:
    """HP-15.6-1, HP-15.6-5, HP-15.3-4: Redis came back older, and a gateway that was started since
    gives numbers again, because it has heard none. Whoever had heard them was told nothing of the
    new messages. Now the next look of the gateway that had heard them begins a new numbering."""
    async with running_worker(settings, clock=clock) as old, old.client("alice") as alice:
        epoch = (await join(alice)).epoch
        for number in ("1", "2", "3"):
            await write(alice, number)
            keys = [each for each in store.keys("*r:lobby*") if b":due" not in each]
            if number == "1":
                before = {key: store.dump(key) for key in keys}
        await pushed(alice, 3)
        for key, value in before.items():
            store.restore(key, 0, value, replace=True)
        async with (
            running_worker(settings, app=old.app, clock=clock) as new,
            new.client("bob") as bob,
        ):
            assert (await join(bob, last=0)).epoch == epoch
            await write(bob, "another 2")
            assert await pushed(bob) == [(2, "another 2")]
            # A client says that it had 3, where there are 2: it is told, and begins nothing anew.
            async with new.client("carol") as carol:
                back = await join(carol, last=1, epoch=epoch, after=3)
                assert (back.epoch, back.seq) == (epoch, 1)
            await old.inside.keep_rooms()
            told = await alice.next(RoomState)
            assert told.epoch != epoch
            assert told.seq == 3
            await write(bob, "4")
            assert await pushed(alice) == [(4, "4")]
            assert (await bob.next(RoomState)).epoch == told.epoch
            assert await pushed(bob) == [(4, "4")]


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
            [log] = store.keys("*inbox*r:lobby")
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
        [one], [two] = store.keys("*inbox*r:one"), store.keys("*inbox*r:two")
        entries = store.xrange(one)
        [(at, _)] = store.xrange(two)
        store.delete(two)
        store.xadd(two, {"m": entries[0][1][b"m"]}, id=at)
        await join(bob, "two")
        await write(alice, "next", "two")
        assert await pushed(bob) == [(2, "next")]


async def test_while_the_store_is_away_requests_are_put_off(running: RunningWorker) -> None:
    """HP-15.1-3, HP-7.1-6: unavailable with retry_after; the connection stays."""
    async with running.client("alice") as alice:
        await join(alice)
        with running.inside.cut_off():
            for answer in (
                await alice.answer(RoomJoin, "other"),
                await write(alice, "x"),
                await alice.answer(RoomSet, "other", "everyone"),
                await alice.answer(RoomLeave, "lobby"),
            ):
                assert code(answer) == codes.UNAVAILABLE.number
                assert isinstance(answer, frames.Error)
                assert answer.retry_after
            await running.inside.keep_rooms()  # is put off too
        assert isinstance(await alice.answer(RoomLeave, "lobby"), frames.Ok)
        await join(alice)
        assert isinstance(await write(alice, "x"), frames.Ok)


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


async def test_a_slow_reader_misses_by_priority(
    running: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-15.6-3, G5: low at once, normal when more waits, high last; the numbers show the holes."""
    async with running.client("alice") as alice, running.client("slow") as slow:
        await join(alice)
        await join(slow)
        waiting = 0
        monkeypatch.setattr(WebSocketConnection, "waiting", property(lambda _: waiting))
        connection = running.inside.connection("slow")
        connection.congested = True
        offered = []
        for waiting in (1, 128 * 1024, 128 * 1024 + 1, 256 * 1024, 256 * 1024 + 1):  # noqa: B007
            for priority in Priority:
                await write(alice, "x", priority=priority)
                offered += await pushed(alice)  # so the slow one was offered it too
        connection.congested = False
        await write(alice, "after", priority=Priority.LOW)
        pushes = [await slow.next(RoomPush) for _ in range(7)]
        assert [(push.seq, push.priority) for push in pushes] == [
            *((2, 1), (3, 2), (5, 1), (6, 2), (9, 2), (12, 2)),
            (16, 0),
        ]
        offered += await pushed(alice)
        assert [seq for seq, _ in offered] == list(range(1, 17))


async def test_a_reader_who_stops_costs_little_memory(running: RunningWorker) -> None:
    """HP-15.6-3, G9: what waits for it is bounded, others miss nothing, and it goes on later."""
    async with running.client("alice") as alice, running.client("slow") as slow:
        await join(alice)
        await join(slow)
        connection = running.inside.connection("slow")
        slow.websocket.transport.pause_reading()
        body, seq, congested, most = "x" * 32_000, 0, 0, 0
        while congested < 20:
            seq += 1
            await write(alice, body, priority=Priority.HIGH)
            most = max(most, connection.waiting)
            congested += connection.congested
        assert most <= 256 * 1024 + 2 * 33_000
        assert [n for n, _ in await pushed(alice, seq)] == list(range(1, seq + 1))
        slow.websocket.transport.resume_reading()
        seen: list[int] = []

        async def read() -> None:
            while not seen or seen[-1] <= seq:
                seen.append((await slow.next(RoomPush)).seq)

        reading = asyncio.create_task(read())
        await until(lambda: not connection.congested)
        await write(alice, "after", priority=Priority.LOW)
        await reading
        assert seen == sorted(set(seen))
        assert len(seen) < seq + 1
