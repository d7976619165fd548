"""Where a device goes on, and what it is told of a loss. Over real sockets."""

from __future__ import annotations

from typing import Any

import pytest
from homeport import frames
from homeport.frames import Cursor
from homeport.limits import WINDOW

from tests.gateway.session.spoiling import chunk
from tests.gateway.session.talking import note, pushes, quiet, send_many
from tests.harness import RawClient, RunningWorker


async def test_a_clients_cursor_of_the_epoch_is_where_it_goes_on(running: RunningWorker) -> None:
    """HP-7.2-4 and HP-7.2-7: after it, and it counts as an ack."""
    async with running.client("bob") as bob:
        epoch = bob.connected.cursor.epoch
        await note(bob, "bob", 5)
    async with running.client("bob", "d2") as bob:
        third = (await pushes(bob, 5))[2]
        mine = Cursor(epoch, third.ms, third.number)
    async with running.client("bob", "d2", cursor=mine) as bob:
        connected = bob.connected
        assert (connected.resumed, connected.cursor, connected.lost) == (True, mine, None)
        assert [push.number for push in await pushes(bob, 2)] == [4, 5]
    async with running.client("bob", "d2") as bob:  # HP-7.2-6: it was acknowledged by that
        assert bob.connected.cursor.number == 3
        assert not bob.connected.resumed


async def test_a_cursor_behind_the_servers_gets_the_messages_again(
    running: RunningWorker,
) -> None:
    """HP-7.2-4: the client's own cursor counts, where the messages are still there."""
    async with running.client("bob", "d1"), running.client("bob", "d2") as bob:
        epoch = bob.connected.cursor.epoch
        await note(bob, "bob", 3)
        await bob.send(frames.Ack(3))
        await quiet(bob)
    async with running.client("bob", "d2", cursor=Cursor(epoch, 0, 0)) as bob:
        assert bob.connected.resumed
        assert [push.number for push in await pushes(bob, 3)] == [1, 2, 3]


async def test_the_cursor_that_the_server_keeps_is_one_to_come_back_with(
    running: RunningWorker,
) -> None:
    """HP-7.2-4, HP-7.2-9: a client that goes before it was pushed anything presents the cursor of
    `connected`. It names what is kept for another device: a wrong time in it began a new epoch."""
    async with running.client("bob", "d0"), running.client("bob", "d1") as bob:
        await note(bob, "bob", 3)
        running.pass_time(5)
        await bob.send(frames.Ack(2))
        await quiet(bob)
    async with running.client("bob", "d1") as bob:
        mine = bob.connected.cursor
        assert mine.number == 2
    async with running.client("bob", "d1", cursor=mine) as bob:
        assert (bob.connected.resumed, bob.connected.cursor) == (True, mine)
        assert [push.number for push in await pushes(bob, 1)] == [3]


async def test_a_cursor_of_another_epoch_is_ignored(running: RunningWorker) -> None:
    """HP-7.2-5: the server's own counts, and `resumed` is false."""
    async with running.client("bob") as bob:
        await note(bob, "bob", 3)
        await bob.send(frames.Ack(1))
        await quiet(bob)
    async with running.client("bob", cursor=Cursor("another", 5, 2)) as bob:
        connected = bob.connected
        assert (connected.resumed, connected.cursor.number) == (False, 1)
        assert [push.number for push in await pushes(bob, 2)] == [2, 3]


# -- loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dropped", "erased", "lost", "then"),
    [
        (0, (), None, [3, 4, 5]),
        (2, (), None, [3, 4, 5]),
        (3, (), (3, 3), [4, 5]),
        (5, (), (3, 5), []),
        (0, (3,), (3, 3), [4, 5]),
        (0, (3, 4), (3, 4), [5]),
        (0, (4,), None, [3, (4, 4), 5]),
        (3, (4,), (3, 4), [5]),
        (3, (5,), (3, 3), [4, (5, 5)]),
        (0, (3, 4, 5), (3, 5), []),
    ],
)
async def test_what_is_gone_is_said_to_the_number(
    running: RunningWorker,
    store: Any,
    dropped: int,
    erased: tuple[int, ...],
    lost: tuple[int, int] | None,
    then: list[int | tuple[int, int]],
) -> None:
    """HP-7.4-1, HP-7.4-2, G5: of 1 to 5, of which the device had acknowledged 2: what was dropped
    from the inbox, and what is gone from the conversation. `connected.cursor` is its last number,
    and a client may come back with it."""
    async with running.client("bob") as bob:
        await note(bob, "bob", 5)
        await bob.send(frames.Ack(2))
        await quiet(bob)
    if dropped > 2:  # what all devices had acknowledged went already
        store.lpop(running.inside.keys.inbox(running.app.id, "bob").refs, dropped - 2)
    if erased:
        store.hdel(chunk(running, "bob", "bob"), *erased)
    for _ in range(2):
        async with running.client("bob") as bob:
            start = bob.connected.cursor
            assert bob.connected.lost == lost
            assert start.number == (2 if lost is None else lost[1])
            got = [await bob.receive() for _ in then]
            assert [
                (each.first, each.last) if isinstance(each, frames.Lost) else each.number
                for each in got
                if isinstance(each, frames.Lost | frames.Push)
            ] == then
            await quiet(bob)
    async with running.client("bob", cursor=start) as bob:
        assert (bob.connected.resumed, bob.connected.cursor) == (True, start)
        assert [type(await bob.receive()) for _ in then] == [type(each) for each in got]


async def test_what_the_age_took_is_said_at_connect(running: RunningWorker) -> None:
    """HP-7.4-1, HP-7.4-2, HP-7.2-7, G4 and G5: gone are 1 and 2, both named, and 3 follows."""
    assert running.clock is not None
    async with running.client("bob") as bob:
        epoch = bob.connected.cursor.epoch
    async with running.client("alice") as alice:
        await send_many(alice, "bob", 2)
        running.clock.advance(running.app.tier.retention_ms / 1000 - 3600)
    async with running.client("alice") as alice:
        await send_many(alice, "bob", 1, first=3)
    running.clock.advance(3601)
    async with running.client("bob", cursor=Cursor(epoch, 0, 0)) as bob:
        connected = bob.connected
        assert (connected.lost, connected.cursor.number) == ((1, 2), 2)
        assert not connected.resumed
        push = await bob.expect(frames.Push)
        assert (push.number, push.message.body) == (3, b"m3")
        await quiet(bob)


async def test_what_is_gone_behind_a_full_window_is_said_in_its_place(
    running: RunningWorker,
) -> None:
    """HP-7.4-1 and HP-7.4-2: the frame `lost`, and then the number after it."""
    assert running.clock is not None
    async with running.client("alice") as alice, RawClient.open(running.url) as bob:
        day = 86_400
        long = running.token("bob", lifetime_s=day)
        await bob.connect(long)
        await send_many(alice, "bob", WINDOW + 10)
        await pushes(bob, WINDOW)
        keep = running.app.tier.retention_ms / 1000
        # Only the inbox grows older: the sessions' tokens would have ended long before.
        running.clock.now += keep - 60
        await send_many(alice, "bob", 1, first=WINDOW + 11)
        running.clock.now += 61
        await bob.send(frames.Ack(WINDOW))
        lost = await bob.expect(frames.Lost)
        assert (lost.first, lost.last) == (WINDOW + 1, WINDOW + 10)
        assert (await bob.expect(frames.Push)).number == WINDOW + 11
        await bob.send(frames.Ack(WINDOW + 11))
        await quiet(bob)


async def test_what_is_gone_at_the_end_of_an_inbox_is_said_too(running: RunningWorker) -> None:
    """G5: also where nothing is left behind it. HP-7.4-2: the next one follows."""
    assert running.clock is not None
    async with running.client("alice") as alice, RawClient.open(running.url) as bob:
        await bob.connect(running.token("bob"))
        await send_many(alice, "bob", WINDOW + 10)
        await pushes(bob, WINDOW)
        running.clock.now += running.app.tier.retention_ms / 1000 + 1
        await bob.send(frames.Ack(WINDOW))
        lost = await bob.expect(frames.Lost)
        assert (lost.first, lost.last) == (WINDOW + 1, WINDOW + 10)
        await bob.send(frames.Ack(lost.last))
        await send_many(alice, "bob", 1, first=WINDOW + 11)
        assert (await bob.expect(frames.Push)).number == WINDOW + 11
