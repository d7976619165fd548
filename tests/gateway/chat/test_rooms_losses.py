"""Rooms, where something is lost: publishes, a store that is older, slow readers. Real sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from homeport import codes, frames
from homeport.frames import Priority, RoomJoin, RoomLeave, RoomPush, RoomSet, RoomState

from gateway.config import Settings
from gateway.net.websocket import WebSocketConnection
from gateway.store import events
from gateway.store.events import RoomMessage
from tests.gateway.chat.rooming import code, join, pushed, stands, write
from tests.gateway.replicas import two_workers
from tests.harness import (
    FakeClock,
    RunningWorker,
    make_settings,
    running_worker,
    until,
)


@pytest.fixture
def either(store_url: str, tmp_path: Path) -> Settings:
    """Settings of a gateway, on Valkey and on the oldest Redis."""
    return make_settings(store_url, tmp_path)


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
