"""Half of an inbox or a room is gone: what is lost is said, and numbers go on."""

from __future__ import annotations

import pytest
from homeport.frames import Cursor

from gateway.store.entries import NewEntry
from gateway.store.rooms import RoomStore, Start, Top
from tests.gateway.store.conftest import APP_ID, Store, lost, message_id


async def test_an_inbox_without_its_messages_is_told_as_lost(store: Store) -> None:
    """G3: the list is gone, the numbering is there: a device is told which it had not got, once,
    and what comes later follows."""
    first = await store.attach("ann")
    await store.fill("ann", 5)
    page = store.waiting("ann")
    await store.ack("ann", Cursor(first.start.epoch, page[1].time_ms, 2))
    store.raw.delete(store.keys.inbox(APP_ID, "ann").refs)
    again = await store.attach("ann")
    assert (again.start.epoch, lost(again), again.top) == (first.start.epoch, (3, 5), 5)
    assert store.inboxes.lost_keys == 1
    await store.attach("ann")
    assert store.inboxes.lost_keys == 1
    await store.fill("ann", 1)
    assert store.inbox("ann") == [6]


async def test_what_a_device_had_got_is_not_lost(store: Store) -> None:
    """G3: it knows more than Redis does, and goes on from there."""
    epoch = (await store.attach("ann")).start.epoch
    await store.fill("ann", 3)
    top = store.waiting("ann")[-1]
    store.raw.delete(store.keys.inbox(APP_ID, "ann").refs)
    again = await store.attach("ann", cursor=Cursor(epoch, top.time_ms, 3))
    assert (again.resumed, lost(again)) == (True, None)


@pytest.mark.parametrize("written_first", [False, True])
async def test_an_inbox_without_its_numbering_goes_on_with_another_one(
    store: Store, written_first: bool
) -> None:
    """G3: the hash is gone, the messages are there. Numbers began at 1 again, below those that were
    there: whoever was pushed 4 and 5 passed over the next three. Now a new epoch begins, so every
    device is told, and gets all that is there."""
    old = (await store.attach("ann")).start.epoch
    await store.fill("ann", 5)
    at = store.waiting("ann")[1]
    await store.ack("ann", Cursor(old, at.time_ms, 2))
    live = Cursor(old, store.waiting("ann")[-1].time_ms, 5)
    store.raw.delete(store.keys.inbox(APP_ID, "ann").rows)
    assert (await store.check("ann", live)).epoch != old  # a live session ends, and comes again
    if written_first:
        await store.say("ann")
        assert store.talks.fanout.lost_keys == 1
        assert (await store.check("ann", live)).epoch != old
    again = await store.attach("ann", name="t", cursor=live)
    assert again.start.epoch != old and not again.resumed
    if not written_first:
        await store.say("ann")
    assert lost(again) is None
    # What the conversation still holds is told again.
    assert [ref.seq for ref in store.waiting("ann")] == [3, 4, 5, 1, 2, 3, 4, 5, 6]
    assert store.inboxes.lost_keys + store.talks.fanout.lost_keys == 1


async def test_an_inbox_that_is_gone_as_a_whole_begins_anew(store: Store) -> None:
    """G3: nothing says what was in it; the client's own cursor says that there was something."""
    old = (await store.attach("ann")).start.epoch
    await store.fill("ann", 5)
    live = Cursor(old, store.waiting("ann")[-1].time_ms, 5)
    keys = store.keys.inbox(APP_ID, "ann")
    store.raw.delete(keys.rows, keys.refs, keys.meta)
    await store.fill("ann", 1)
    assert (await store.check("ann", live)).epoch != old
    again = await store.attach("ann", name="t", cursor=live)
    assert (again.resumed, [ref.seq for ref in again.references]) == (False, [1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize("key", ["meta", "log"])
async def test_a_room_goes_on_where_it_was(store: Store, key: str) -> None:
    """HP-15: a number is not given twice in a room, whichever half of it is gone."""
    rooms, keys, now = (
        RoomStore(store.link, store.keys),
        store.keys.room(APP_ID, "hall"),
        store.clock.ms,
    )

    async def join() -> tuple[str, int, list[int]]:
        joined = await rooms.join(store.app, "hall", "ann:d", Start(10), Top(), now)
        return joined.epoch, joined.top, [entry.seq for entry in joined.entries]

    async def say() -> None:
        await rooms.send(store.app, "hall", NewEntry(message_id(), b"r", now, "ann"), Top())

    await join()
    await say()
    await say()
    store.raw.delete(getattr(keys, key))
    _, top, seqs = await join()
    assert (top, seqs) == (2, [1, 2] if key == "meta" else [])
    if key == "meta":
        store.raw.delete(keys.meta)
    await say()
    assert (await join())[1:] == (3, [1, 2, 3] if key == "meta" else [3])
