"""Half of an inbox, a history or a room is gone: what is lost is said, and numbers go on."""

from __future__ import annotations

import asyncio

import pytest
from gateway.store.log import LogStore
from homeport.frames import Cursor, Place

from gateway.store.entries import NewMessage
from gateway.store.rooms import RoomStore, Start, Top
from tests.gateway.store.conftest import APP_ID, Store, message_id

TALK = "d:ann:bob"


async def test_an_inbox_without_its_messages_is_told_as_lost(store: Store) -> None:
    """G3: the stream is gone, the numbering is there: a device is told which it had not got, once,
    and what comes later follows."""
    first = await store.attach("ann")
    await store.fill("ann", 5)
    page = await store.page("ann")
    await store.ack("ann", Cursor(first.cursor.epoch, page[1].ms, 2))
    store.raw.delete(store.keys.user(APP_ID, "ann").inbox)
    again = await store.attach("ann")
    assert (again.cursor.epoch, again.lost, again.top) == (first.cursor.epoch, (3, 5), 5)
    assert store.inboxes.lost_keys == 1
    await store.attach("ann")
    assert store.inboxes.lost_keys == 1
    await store.fill("ann", 1)
    assert [entry.seq for entry in await store.page("ann")] == [6]


async def test_what_a_device_had_got_is_not_lost(store: Store) -> None:
    """G3: it knows more than Redis does, and goes on from there."""
    epoch = (await store.attach("ann")).cursor.epoch
    await store.fill("ann", 3)
    top = (await store.page("ann"))[-1]
    store.raw.delete(store.keys.user(APP_ID, "ann").inbox)
    again = await store.attach("ann", cursor=Cursor(epoch, top.ms, 3))
    assert (again.resumed, again.lost) == (True, None)


@pytest.mark.parametrize("written_first", [False, True])
async def test_an_inbox_without_its_numbering_goes_on_with_another_one(
    store: Store, written_first: bool
) -> None:
    """G3: the hash is gone, the messages are there. Numbers began at 1 again, below those that were
    there: whoever was pushed 4 and 5 passed over the next three. Now they go on, under a new epoch,
    so every device is told, and gets all that is there."""
    old = (await store.attach("ann")).cursor.epoch
    await store.fill("ann", 5)
    at = (await store.page("ann"))[1]
    await store.ack("ann", Cursor(old, at.ms, 2))
    live = Cursor(old, (await store.page("ann"))[-1].ms, 5)
    store.raw.delete(store.keys.user(APP_ID, "ann").meta)
    assert (await store.check("ann", live)).epoch != old  # a live session ends, and comes again
    if written_first:
        await store.deliver("ann", record=b"6")
        assert store.inboxes.lost_keys == 1
        assert (await store.check("ann", live)).epoch != old
    again = await store.attach("ann", name="t", cursor=live)
    assert again.cursor.epoch != old and not again.resumed
    if not written_first:
        await store.deliver("ann", record=b"6")
    assert (again.cursor.seq, again.lost) == (2, None)
    assert [entry.seq for entry in await store.page("ann")] == [3, 4, 5, 6]
    assert store.inboxes.lost_keys == 1
    other = await store.attach("ann", "other")
    assert (other.cursor, other.lost) == (again.cursor, None)


async def test_an_inbox_that_is_gone_as_a_whole_begins_anew(store: Store) -> None:
    """G3: nothing says what was in it; the client's own cursor says that there was something."""
    old = (await store.attach("ann")).cursor.epoch
    await store.fill("ann", 5)
    live = Cursor(old, (await store.page("ann"))[-1].ms, 5)
    keys = store.keys.user(APP_ID, "ann")
    store.raw.delete(keys.meta, keys.inbox)
    await store.fill("ann", 1)
    assert (await store.check("ann", live)).epoch != old
    again = await store.attach("ann", name="t", cursor=live)
    assert (again.resumed, [entry.seq for entry in again.entries]) == (False, [1])


async def test_an_inbox_that_ended_by_itself_is_no_loss_of_a_key(store: Store) -> None:
    """What had a time to live, was acknowledged or was past its tier's time leaves an empty inbox
    and an empty history: nothing of it is Redis' fault."""
    await store.inboxes.deliver(
        APP_ID,
        store.app.tier,
        ("ann", "bob"),
        NewMessage(message_id(), b"r", store.clock.ms, TALK, "ann", store.clock.ms + 1000),
        history=True,
    )
    store.clock.advance(2)
    await store.sweeper().sweep()
    attached = await store.attach("ann")
    assert attached.lost == (1, 1)
    logs = LogStore(store.link, store.keys)
    await logs.page(APP_ID, store.app.tier, TALK, "ann", store.clock.ms, 10)
    await store.fill("ann", 1)
    await store.ack("ann", Cursor(attached.cursor.epoch, store.clock.ms, 2))
    await store.attach("ann")
    store.clock.advance(store.app.tier.retention_ms / 1000 + 1)
    await store.sweeper().sweep()
    await store.attach("ann")
    assert store.inboxes.lost_keys == logs.lost_keys == 0


class Talking:
    """A conversation of ann and bob, and its history."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.logs = LogStore(store.link, store.keys)
        self.keys = store.keys.log(APP_ID, TALK)

    async def say(self, *records: bytes) -> None:
        """Send messages with history."""
        for record in records:
            await self.store.inboxes.deliver(
                APP_ID,
                self.store.app.tier,
                ("ann", "bob"),
                NewMessage(message_id(), record, self.store.clock.ms, TALK, "ann"),
                history=True,
            )

    async def seen(self, user: str) -> list[tuple[int, bytes]]:
        """What the history shows a user, oldest first."""
        page = await self.logs.page(
            APP_ID, self.store.app.tier, TALK, user, self.store.clock.ms, 100
        )
        return [(entry.seq, entry.record) for entry in reversed(page.entries)]


async def test_a_history_without_its_hash_shows_nothing_that_was_deleted(store: Store) -> None:
    """HP-13.3-1: bob had deleted it; that was in the hash. So what is left of the log is shown to
    nobody, and what is said later has numbers above it."""
    talk = Talking(store)
    await talk.say(b"one", b"two")
    await talk.logs.forget(APP_ID, TALK, "bob", Place(store.clock.ms, 2))
    store.raw.delete(talk.keys.meta)
    assert await talk.seen("bob") == await talk.seen("ann") == []
    assert talk.logs.lost_keys == 2
    await talk.say(b"three")
    assert store.inboxes.lost_keys == 1
    assert await talk.seen("bob") == await talk.seen("ann") == [(3, b"three")]
    assert talk.logs.lost_keys == 2


async def test_a_history_without_its_messages_goes_on(store: Store) -> None:
    """HP-13.2-2: the page is empty, it is counted, and numbers are not given twice."""
    talk = Talking(store)
    await talk.say(b"one", b"two")
    store.raw.delete(talk.keys.log)
    assert await talk.seen("ann") == []
    assert talk.logs.lost_keys == 1
    await talk.say(b"three")
    assert await talk.seen("ann") == [(3, b"three")]


async def test_a_message_is_kept_where_the_clock_stands_and_the_hash_is_gone(store: Store) -> None:
    """G2: in the same millisecond a numbering that begins anew is below the last entry, and Redis
    refuses it: after the mark that says that the message was stored, so a retry was told ok."""
    talk = Talking(store)
    await talk.say(b"one", b"two")
    store.raw.delete(talk.keys.meta, store.keys.user(APP_ID, "bob").meta)
    await talk.say(b"three")
    assert await talk.seen("ann") == [(3, b"three")]
    assert [entry.record for entry in await store.page("bob")] == [b"one", b"two", b"three"]


async def test_a_groups_history_is_the_same(store: Store) -> None:
    """HP-13.1-1: `log.lua` writes it."""
    group = "ab" * 16
    talk = f"g:{group}"
    logs, keys = LogStore(store.link, store.keys), store.keys.log(APP_ID, f"g:{group}")
    store.raw.hset(store.keys.group(APP_ID, group).state, "v", 1)

    async def say(record: bytes) -> object:
        return await logs.add(
            APP_ID, store.app.tier, NewMessage(message_id(), record, store.clock.ms, talk)
        )

    await say(b"one")
    store.raw.delete(keys.meta)
    stored = asyncio.get_running_loop().create_future()
    stored.set_result(await say(b"two"))
    page = await logs.page(APP_ID, store.app.tier, talk, "ann", store.clock.ms, 10)
    assert [(entry.seq, entry.record) for entry in page.entries] == [(2, b"two")]
    assert stored.result()[1:] == [0, 1]


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
        await rooms.send(
            store.app, "hall", NewMessage(message_id(), b"r", now, sender="ann"), Top()
        )

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
