"""Rooms: who has a seat, for how long, and how many there are. Over real sockets."""

from __future__ import annotations

from pathlib import Path

import pytest
from homeport import codes, frames
from homeport.frames import RoomLeave, RoomState

from gateway.config import Settings
from tests.gateway.chat.rooming import TWO_MINUTES, code, join, stands, write
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
