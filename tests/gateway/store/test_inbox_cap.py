"""A full inbox: what one conversation has too much of goes before anything of the others.

Somebody who was blocked once sent 1,017 messages through a group, and a message of somebody else,
which waited for its user, was gone.
"""

from __future__ import annotations

from typing import Any

from homeport.frames import Cursor

from tests.gateway.store.conftest import Store

CAP = 40
SHARE = CAP // 10


async def peers(store: Store, user: str) -> list[str]:
    """The conversations of an inbox' references, in the order of the numbers, which are dense; ""
    for what was dropped."""
    page = await store.inboxes.page(store.app.id, user, 0)
    here, found = page.here, page.references
    while page.references:
        page = await store.inboxes.page(store.app.id, user, page.references[-1].number)
        found += page.references
    assert [each.number for each in found] == list(range(here + 1, page.top + 1))  # G3
    return [each.peer for each in found]


async def test_a_flood_drops_only_its_own(store: Store) -> None:
    """HP-7.4-5, G5: what waited before stays, and what came in between, however long it goes on."""
    store.use_tier("free", CAP)
    for _ in range(3):
        await store.say("bob", "carol")
    for n in range(10 * CAP):
        await store.say("bob", "mallory")
        if n % (3 * CAP) == 0:
            await store.say("bob", "dave")
    found = await peers(store, "bob")
    assert found[:3] == ["carol"] * 3
    assert found.count("dave") == SHARE
    assert sum(map(bool, found)) == CAP
    standing = await store.attach("bob")
    assert standing.here == 0, "nothing is gone before the first"
    waiting = await store.inboxes.messages(
        store.app.id, store.tier, "bob", standing.references, store.clock.ms
    )
    for each in waiting:
        assert (each.message is None) == (not each.reference.peer)


async def test_two_floods_drop_their_own(store: Store) -> None:
    """HP-7.4-5: by turns, and neither drops what the first sender said."""
    store.use_tier("free", CAP)
    await store.say("bob", "carol")
    for _ in range(5 * CAP):
        await store.say("bob", "mallory")
        await store.say("bob", "eve")
    found = await peers(store, "bob")
    assert found[0] == "carol"
    assert sum(map(bool, found)) == CAP


async def test_who_has_no_more_than_a_share_takes_the_oldest_place(store: Store) -> None:
    """HP-7.4-3: many senders with a few messages each, and the oldest message goes."""
    store.use_tier("free", CAP)
    for n in range(2 * CAP):
        await store.say("bob", f"s{n // SHARE}")
    found = await peers(store, "bob")
    assert found == [f"s{n // SHARE}" for n in range(CAP, 2 * CAP)]


async def test_an_inbox_that_was_read_has_room_again(store: Store) -> None:
    """HP-7.3-1, HP-7.4-3: what was acknowledged goes with what was dropped in between, and from
    then on the inbox holds as many messages as before."""
    store.use_tier("free", CAP)
    await store.say("bob", "carol")
    for _ in range(3 * CAP):
        await store.say("bob", "mallory")
    standing = await store.attach("bob")
    last = (await store.inboxes.page(store.app.id, "bob", 0)).references[-1]
    await store.ack("bob", Cursor(standing.start.epoch, last.time_ms, last.number))
    assert await peers(store, "bob") == []
    for n in range(CAP):
        await store.say("bob", f"s{n}")
    assert await peers(store, "bob") == [f"s{n}" for n in range(CAP)]
    rows: Any = store.raw.hgetall(store.keys.inbox(store.app.id, "bob").rows)
    assert int(rows[b"#d"]) == 0


async def test_a_cursor_at_what_was_dropped_is_still_a_place(store: Store) -> None:
    """HP-7.2-4, HP-7.2-9: a device that had a message before the inbox dropped it goes on after it,
    under the same epoch."""
    store.use_tier("free", CAP)
    await store.say("bob", "carol")
    for _ in range(CAP - 1):
        store.clock.advance(0.001)
        await store.say("bob", "mallory")
    had = (await store.inboxes.page(store.app.id, "bob", 0)).references
    first = await store.attach("bob")
    for _ in range(CAP):
        await store.say("bob", "mallory")
    now = (await store.inboxes.page(store.app.id, "bob", 0)).references
    gone = next(each for each in now if not each.peer)
    cursor = Cursor(first.start.epoch, had[gone.number - 1].time_ms, gone.number)
    standing = await store.attach("bob", "laptop", "t", cursor)
    assert standing.start == cursor
    assert standing.resumed


async def test_dropping_is_little_work_however_much_waits(store: Store) -> None:
    """HP-7.4-5, G9: a message to a full inbox looks at a few references, not at all of them."""
    store.use_tier("free", 2000)
    for n in range(1500):
        await store.say("bob", f"s{n % 400}")
    for _ in range(500):
        await store.say("bob", "mallory")

    def looked() -> int:
        stats: Any = store.raw.info("commandstats")
        return sum(
            stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("lrange", "lset")
        )

    before = looked()
    for _ in range(500):
        await store.say("bob", "mallory")
    assert looked() - before <= 2 * 500 + 8
    assert (await store.inboxes.page(store.app.id, "bob", 0)).here == 0
