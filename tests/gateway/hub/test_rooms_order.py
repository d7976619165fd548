"""The fan-out of rooms: what is told before what, and who gets nothing any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from homeport import codec
from homeport.frames import Priority, RoomState
from structlog.testing import capture_logs

from gateway.hub import fanout, rooms
from gateway.hub.fanout import BACKLOG
from gateway.hub.hub import SessionGone
from gateway.store.rooms import Joined, Top
from tests.gateway.hub.rooming import Heard, Setting
from tests.harness import until
from tests.inside import seats


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rooms wait for no pace, but where a test sets one."""
    monkeypatch.setattr(fanout, "PACE_S", 0.0)


async def test_who_leaves_during_a_fan_out_gets_no_more() -> None:
    """HP-15.1-4: not even what was heard before."""
    setting = Setting()
    sessions = setting.fill("lobby", 600)
    setting.publish("lobby", 1)
    await setting.run(1)
    setting.hub.leave("lobby-599", "lobby")
    await setting.run(10)
    assert sessions[599].frames == []
    assert all(each.frames == [b"1"] for each in sessions[:599])


async def test_who_joins_during_a_fan_out_gets_nothing_twice() -> None:
    """HP-15.2-2: what was told with the last messages is not pushed again."""
    setting = Setting()
    setting.fill("lobby", 600)
    for seq in (1, 2, 3):
        setting.publish("lobby", seq)
    setting.enter("lobby", late := Heard("late", setting.turn), after=2)
    await until(lambda: late.frames)
    assert late.frames == [b"3"]


async def test_what_comes_while_joining_waits() -> None:
    """HP-15.1-2: behind the answer and the last messages, in order, and at most 200."""
    setting = Setting()
    setting.fill("lobby", 1)
    late = setting.sessions["late"] = Heard("late", setting.turn)
    seat, _ = setting.hub.enter("app", "u", "late", "lobby", "late:d")
    for seq in range(1, 251):
        setting.publish("lobby", seq)
        await setting.run(2)
    assert late.frames == []
    setting.hub.open("late", "lobby", seat, 100, Joined("e1", 100, 1, []))
    assert late.frames == [b"%d" % seq for seq in range(101, 251)]


async def test_a_backlog_drops_by_priority() -> None:
    """HP-15.6-3: low first, then normal, then high; what is dropped is not even opened."""
    setting = Setting()
    [session, *_] = setting.fill("lobby", 300)
    seq = 0
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        for _ in range(BACKLOG[Priority.HIGH]):
            seq += 1
            setting.publish("lobby", seq, priority)
    await setting.run(3 * BACKLOG[Priority.HIGH])
    kept = [int(frame) for frame in session.frames]
    size = BACKLOG[Priority.HIGH]
    counts = [sum(n * size < seq <= (n + 1) * size for seq in kept) for n in range(3)]
    low, normal, high = (BACKLOG[p] for p in Priority)
    assert counts == [low, normal - low, high - normal]
    assert kept == sorted(kept)
    assert setting.made == sum(counts)


async def test_a_number_is_pushed_once() -> None:
    """HP-15.2-2: a publish that comes twice, or late, is dropped."""
    setting = Setting()
    [session] = setting.fill("lobby", 1)
    for seq in (1, 3, 3, 2, 4):
        setting.publish("lobby", seq)
    await setting.run(2)
    assert session.frames == [b"1", b"3", b"4"]


async def test_seats_are_kept_in_batches_without_those_who_left() -> None:
    """HP-15.5-2: one who leaves while others are kept must not be seated again."""
    setting = Setting()
    setting.fill("lobby", rooms.KEEP_BATCH + 2)
    setting.store.answers.clear()
    keeping = asyncio.create_task(setting.hub.keep())
    await until(lambda: setting.store.kept)
    setting.hub.leave(f"lobby-{rooms.KEEP_BATCH}", "lobby")
    setting.store.answers.set()
    await keeping
    assert [len(batch) for batch in setting.store.kept] == [rooms.KEEP_BATCH, 1]


async def test_an_empty_room_is_not_heard() -> None:
    """G9: nothing of it stays, and its channel is given up."""
    setting = Setting()
    setting.fill("lobby", 600)
    setting.publish("lobby", 1)
    for id in tuple(setting.sessions):
        setting.hub.gone(id)
    await setting.run(3)
    assert (len(setting.hub), seats(setting.hub), setting.ears.wanted) == (0, 0, [])
    assert setting.hub.rooms_of("lobby-1") == frozenset()


async def test_closing_stops_a_fan_out() -> None:
    """Nothing is written once the hub is closed."""
    setting = Setting()
    sessions = setting.fill("lobby", 600)
    setting.publish("lobby", 1)
    await setting.run(1)
    setting.hub.close()
    written = [len(each.frames) for each in sessions]
    await setting.run(10)
    assert [len(each.frames) for each in sessions] == written


async def test_a_session_that_is_gone_can_not_enter() -> None:
    """G9: it would never leave."""
    setting = Setting()
    try:
        setting.hub.enter("app", "u", "nobody", "lobby", "u:d")
    except SessionGone:
        assert len(setting.hub) == 0
    else:
        raise AssertionError("it entered")


async def test_one_session_that_raises_holds_up_no_room() -> None:
    """G10: the rooms share the turns of the loop. One seat's fault left its room, and those behind
    it, without a turn, for as long as the process ran."""
    setting = Setting()
    first, second, third = setting.fill("a", 3)
    (other,) = setting.fill("b", 1)

    def broken(*_: Any) -> bool:
        raise ZeroDivisionError

    second.on_room = broken  # type: ignore[method-assign, assignment]
    for seq in (1, 2):
        setting.publish("a", seq)
        setting.publish("b", seq)
        with capture_logs() as logs:
            await setting.run(5)
            await until(lambda: len(other.frames) == seq)  # noqa: B023
        assert [log["event"] for log in logs] == ["fan_out_failed"]
    assert first.frames == third.frames == other.frames == [b"1", b"2"]


async def test_a_new_numbering_is_told_before_its_first_message() -> None:
    """HP-15.6-5: Redis came back older, and another gateway began a new numbering below what is
    known here. Its numbers used to be taken for repetitions, and nobody was told."""
    setting = Setting()
    [early, slow] = setting.fill("lobby", 2)
    for seq in (1, 2, 3):
        setting.publish("lobby", seq)
    slow.full = True
    setting.publish("lobby", 2, epoch=b"e2")
    slow.full = False
    setting.publish("lobby", 3, epoch=b"e2")
    await setting.run(5)
    told = codec.encode(RoomState("lobby", 1, 0, "e2"))
    assert early.written == b"1;2;3;" + told + b"2;3;"
    # A client that does not read is given no number of an epoch that it was not told of.
    assert slow.written == b""
    setting.store.stands = ("e2", 3)
    await setting.hub.keep()
    setting.publish("lobby", 4, epoch=b"e2")
    await setting.run(5)
    told = codec.encode(RoomState("lobby", 0, 7, "e2"))
    assert slow.written == told + b"4;"


async def test_a_new_numbering_is_found_by_the_next_look_too() -> None:
    """HP-15.6-5: also where pub/sub brought no message of it; it goes on after the store's top."""
    setting = Setting()
    [session] = setting.fill("lobby", 1)
    setting.publish("lobby", 9)
    await setting.run(3)
    setting.store.stands = ("e2", 4)
    await setting.hub.keep()
    setting.publish("lobby", 5, epoch=b"e2")
    await setting.run(3)
    states = (RoomState("lobby", 4, 0, "e2"), RoomState("lobby", 0, 7, "e2"))
    told = [codec.encode(state) for state in states]
    assert session.written == b"".join((b"9;", *told, b"5;"))
    assert setting.hub.top("app", "lobby") == Top("e2", 5)


async def test_one_session_that_raises_keeps_no_other_from_the_rooms_state() -> None:
    """HP-15.6-2, G10: the task that keeps the seats failed at it, and with it the process."""
    setting = Setting()
    first, second, third = setting.fill("lobby", 3)

    def broken(*_: Any) -> bool:
        raise ZeroDivisionError

    second.on_room = broken  # type: ignore[method-assign, assignment]
    with capture_logs() as logs:
        await setting.hub.keep()
        setting.publish("lobby", 1, epoch=b"e2")
    states = (RoomState("lobby", 0, 7, "e1"), RoomState("lobby", 0, 7, "e2"))
    assert first.written == third.written == b"".join(map(codec.encode, states))
    assert [log["event"] for log in logs] == ["fan_out_failed"] * 2
