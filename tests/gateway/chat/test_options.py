"""Options of a send: what reaches whom, and what is kept how long. Over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from homeport import codes, frames
from homeport.frames import Options

from tests.gateway.chat.grouping import created
from tests.gateway.chat.keeping import dump, records
from tests.harness import (
    FakeClock,
    RawClient,
    RunningWorker,
    accepted,
    make_settings,
    running_worker,
)


@pytest.fixture
async def running(store_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[RunningWorker]:
    """A gateway on each of both stores, because the scripts are involved."""
    async with running_worker(make_settings(store_url, tmp_path), clock=clock) as running:
        yield running


async def send(
    client: RawClient, to: str, text: str, name: str = "", **options: Any
) -> frames.Ok | frames.Error:
    """Send with options; frames before the answer are passed over."""
    name = name or f"c{client.request_id()}"
    return await client.answer(frames.Send, name, to, "text", text.encode(), Options(**options))


async def test_mentions_and_reply_travel_inside(running: RunningWorker) -> None:
    """HP-12.1-1 and G7: to every recipient, and sealed in the store."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        answer = await send(alice, "bob", "hi", mentions=("carol-mentioned",), reply=70_000)
        assert isinstance(answer, frames.Ok)
        plain = await bob.expect(frames.Push)
        assert plain.message.extra == frames.Extra(("carol-mentioned",), 70_000)
        await alice.say("bob", "nothing special")
        assert (await bob.expect(frames.Push)).message.extra is None
    assert b"carol-mentioned" not in dump(running)


@pytest.mark.parametrize(
    "options",
    [{"mentions": ("not a user",)}, {"mentions": ("g:x",)}, {"online_only": True, "ttl": 5}],
    ids=str,
)
async def test_options_that_make_no_sense(running: RunningWorker, options: Any) -> None:
    """HP-12.1-2, HP-12.3-4: refused as a whole, and the connection is kept."""
    async with running.client("alice") as alice:
        answer = await send(alice, "bob", "x", **options)
        assert isinstance(answer, frames.Error)
        assert answer.code == codes.INVALID_FIELD.number
        assert isinstance(await alice.say("bob", "y"), frames.Ok)
    async with running.client("bob") as bob:
        assert (await bob.expect(frames.Push)).message.body == b"y"


async def test_options_to_a_group_reach_its_members(running: RunningWorker) -> None:
    """HP-12.1-1, HP-12.2-1: a time to live is one for each member."""
    assert running.clock is not None
    async with running.client("alice") as alice:
        group = await created(alice, "bob")
        answer = await send(alice, f"g:{group}", "x", reply=1, ttl=5, history=False)
        assert isinstance(answer, frames.Ok)
    expires = running.clock.ms + 5000
    async with running.client("bob", "early") as bob:
        await bob.expect(frames.Push)
        told = (await bob.expect(frames.Push)).message.extra
        assert told == frames.Extra((), 1, expires)
    assert len(records(running)) == 2
    running.clock.advance(5)
    await running.inside.sweep()
    assert len(records(running)) == 1
    async with running.client("bob", "late") as bob:
        assert (await bob.expect(frames.Push)).number == 1
        assert await bob.expect(frames.Lost) == frames.Lost(2, 2)


@pytest.mark.parametrize(
    ("to", "options"),
    [
        ("group", {"online_only": True}),
        ("r:lobby", {"mentions": ("bob",)}),
        ("r:lobby", {"online_only": True}),
        ("r:lobby", {"history": False}),
    ],
    ids=str,
)
async def test_options_that_groups_and_rooms_lack(
    running: RunningWorker, to: str, options: Any
) -> None:
    """HP-12.1-3: refused as a whole; a map that asks for nothing is fine."""
    async with running.client("alice") as alice:
        if to == "group":
            to = f"g:{await created(alice, 'bob')}"
        else:
            await alice.send(frames.RoomJoin(alice.request_id(), "lobby"))
            await alice.expect(frames.Ok)
        answer = await send(alice, to, "x", **options)
        assert isinstance(answer, frames.Error)
        assert answer.code == codes.INVALID_FIELD.number
        assert isinstance(await send(alice, to, "y"), frames.Ok)


async def test_a_time_to_live_ends_to_the_millisecond(running: RunningWorker) -> None:
    """HP-12.2-1, HP-12.2-3 and G5: the number is told as lost, and its neighbours come."""
    assert running.clock is not None
    async with running.client("alice") as alice:
        await alice.say("bob", "first")
        running.clock.advance(1)
        await send(alice, "bob", "short", ttl=5)
        await alice.say("bob", "last")
    expires = running.clock.ms + 5000
    running.clock.advance(4.999)
    async with running.client("bob", "early") as bob:
        pushes = [await bob.expect(frames.Push) for _ in range(3)]
        assert [push.message.body for push in pushes] == [b"first", b"short", b"last"]
        assert pushes[1].message.extra == frames.Extra(expires=expires)
    running.clock.advance(0.001)
    async with running.client("bob", "late") as bob:
        assert bob.connected.lost is None
        assert (await bob.expect(frames.Push)).number == 1
        assert await bob.expect(frames.Lost) == frames.Lost(2, 2)
        assert (await bob.expect(frames.Push)).number == 3


async def test_the_end_is_told_by_the_time_of_the_message(running: RunningWorker) -> None:
    """HP-12.2-1: each message of a millisecond ends in the same one. Their times used to run ahead
    of the clock, and with them the ends."""
    assert running.clock is not None
    async with running.client("alice") as alice, running.client("bob") as bob:
        for number in range(3):
            await send(alice, "bob", str(number), ttl=5)
        messages = [(await bob.expect(frames.Push)).message for _ in range(3)]
    assert {message.time for message in messages} == {running.clock.ms}
    for message in messages:
        assert message.extra == frames.Extra(expires=message.time + 5000)


@pytest.mark.parametrize("swept", [False, True], ids=["kept", "swept"])
async def test_a_cursor_behind_what_ended_is_good(running: RunningWorker, swept: bool) -> None:
    """HP-7.2-4, HP-12.2-3: the cursor that tells of the loss can be come back with."""
    assert running.clock is not None
    async with running.client("alice") as alice:
        await send(alice, "bob", "short", ttl=5)
        running.clock.advance(5)
        await alice.say("bob", "last")
    if swept:
        await running.inside.sweep()
    async with running.client("bob", "d") as bob:
        assert bob.connected.lost == (1, 1)
        cursor = bob.connected.cursor
    async with running.client("bob", "d", cursor=cursor) as bob:
        assert (bob.connected.resumed, bob.connected.cursor) == (True, cursor)
        assert (await bob.expect(frames.Push)).number == 2


@pytest.mark.parametrize("swept", [False, True], ids=["kept", "swept"])
async def test_ended_messages_at_both_ends_of_an_inbox(running: RunningWorker, swept: bool) -> None:
    """HP-12.2-3, HP-7.2-7, HP-7.4-2: at the head and at the top, in the store or gone from it."""
    assert running.clock is not None
    async with running.client("bob", "d1"):
        pass
    async with running.client("alice") as alice:
        for text in "ab":
            await send(alice, "bob", text, ttl=5)
        await alice.say("bob", "c")
        for text in "de":
            await send(alice, "bob", text, ttl=5)
    running.clock.advance(5)
    if swept:
        await running.inside.sweep()
    async with running.client("bob", "d1") as bob:
        assert bob.connected.lost == (1, 2)
        assert bob.connected.cursor.number == 2
        assert not bob.connected.resumed
        assert (await bob.expect(frames.Push)).message.body == b"c"
        assert await bob.expect(frames.Lost) == frames.Lost(4, 5)
        async with running.client("alice", "d2") as alice:
            await alice.say("bob", "f")
        assert (await bob.expect(frames.Push)).number == 6


async def test_a_cursor_on_an_ended_message_is_still_good(running: RunningWorker) -> None:
    """HP-7.2-4 and HP-12.2-3: its hole between older and newer ones is no other numbering."""
    assert running.clock is not None
    async with running.client("bob", "d1") as bob:
        async with running.client("alice") as alice:
            await alice.say("bob", "1")
            running.clock.advance(1)
            await send(alice, "bob", "2", ttl=5)
            running.clock.advance(1)
            await alice.say("bob", "3")
        pushes = [await bob.expect(frames.Push) for _ in range(3)]
        epoch = bob.connected.cursor.epoch
    running.clock.advance(5)
    await running.inside.sweep()
    cursor = frames.Cursor(epoch, pushes[1].ms, 2)
    async with running.client("bob", "d2", cursor=cursor) as other:
        assert (other.connected.resumed, other.connected.cursor) == (True, cursor)
        assert (await other.expect(frames.Push)).number == 3
    for wrong in (frames.Cursor(epoch, pushes[1].ms, 3), frames.Cursor(epoch, pushes[1].ms, 9)):
        async with running.client("bob", "d3", cursor=wrong) as other:
            assert not other.connected.resumed


async def test_a_long_ttl_is_the_tiers(running: RunningWorker) -> None:
    """HP-12.2-2: pro keeps 90 days, whatever the message says."""
    assert running.clock is not None
    async with running.client("alice") as alice:
        await send(alice, "bob", "x", ttl=2**32 - 1)
    running.clock.advance(90 * 24 * 3600 - 0.001)
    async with running.client("bob", "d1") as bob:
        await bob.expect(frames.Push)
    running.clock.advance(0.001)
    async with running.client("bob", "d2") as bob:
        assert bob.connected.lost == (1, 1)


@pytest.mark.parametrize("others", [0, 5, 150], ids=str)
async def test_the_bytes_of_an_ended_message_go(running: RunningWorker, others: int) -> None:
    """HP-12.2-4: from their one home, also from the middle of it, and no others with it."""
    assert running.clock is not None
    async with running.client("alice") as alice:
        for number in range(others):
            await alice.say("bob", f"before {number}")
        running.clock.advance(1)
        before = set(records(running))
        await send(alice, "bob", "short", ttl=5)
        (ended,) = set(records(running)) - before
        for number in range(others):
            await alice.say("bob", f"after {number}")
    kept = sorted(records(running))
    assert dump(running).count(ended) == 1
    await running.inside.sweep()
    assert sorted(records(running)) == kept  # not before its time
    running.clock.advance(5)
    assert await running.inside.sweep() == 1
    assert ended not in dump(running)
    assert sorted(records(running)) == [each for each in kept if each != ended]
    async with running.client("alice", "d2") as alice:
        await alice.say("bob", "goes on")
        assert isinstance(await alice.say("bob", "and on"), frames.Ok)


async def test_online_only_reaches_who_is_there(running: RunningWorker) -> None:
    """HP-12.3-1 and HP-12.3-2: all sessions of both, no number, and nothing is stored."""
    async with (
        running.client("alice") as alice,
        running.client("alice", "d2") as other,
        running.client("bob") as bob,
    ):
        told = accepted(await send(alice, "bob", "psst", online_only=True))
        for client in (other, bob):
            message = (await client.expect(frames.Transient)).message
            assert (message.id, message.body, message.sender) == (
                told.id,
                b"psst",
                "alice",
            )
            assert message.time == told.time
        assert isinstance(await send(alice, "nobody", "psst", online_only=True), frames.Ok)
        assert records(running) == []
        await alice.say("bob", "kept")
        assert (await bob.expect(frames.Push)).number == 1


async def test_online_only_is_told_once(running: RunningWorker) -> None:
    """HP-12.3-3 and G2: a repetition answers the same, and is not sent again."""
    async with running.client("alice") as alice, running.client("bob") as bob:
        first = accepted(await send(alice, "bob", "psst", "same", online_only=True))
        assert accepted(await send(alice, "bob", "psst", "same", online_only=True)) == first
        await bob.expect(frames.Transient)
        await alice.say("bob", "after")
        await bob.expect(frames.Push)  # and no other transient before it


async def test_sweeping_leaves_other_ends_as_they_are(running: RunningWorker) -> None:
    """HP-12.2-1: where the sweeper takes what has ended, what is left still ends in time."""
    assert running.clock is not None
    async with running.client("alice") as alice:
        await send(alice, "bob", "five", ttl=5)
        running.clock.advance(1)
        await send(alice, "bob", "ten", ttl=9)
        running.clock.advance(4)
        await running.inside.sweep()
        async with running.admin() as admin:
            await admin.apps.change(running.app.id, "tier", "basic", running.clock.ms)
        await running.inside.sweep()
        assert len(records(running)) == 1
        running.clock.advance(4.999)
        async with running.client("bob", "early") as bob:
            assert (await bob.expect(frames.Push)).message.body == b"ten"
        running.clock.advance(0.001)
        async with running.client("bob", "late") as bob:
            assert bob.connected.lost == (1, 2)
