"""Sessions that are no device, as the scripts keep them, on all kinds of store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from homeport.frames import Cursor

from gateway.store.endings import BROKEN_OFF, End
from gateway.store.inbox import SEEN_MS, STALE_MS, Standing
from gateway.store.presence import PresenceStore
from gateway.store.readers import Arrival, Progress, Reader, TooManyDevices
from tests.gateway.store.conftest import Store, acked, session


def reader(store: Store, name: str = "look") -> Reader:
    """An ephemeral session of ann's."""
    return Reader(store.app.id, "ann", "cli", session(name), ephemeral=True)


async def begin(
    store: Store, name: str = "look", cursor: Cursor | None = None, most: int = 2
) -> Standing:
    """Begin an ephemeral session, where a user may have `most`."""
    return await store.inboxes.attach(
        reader(store, name),
        replace(store.app.tier, devices=most),
        Arrival(store.clock.ms, cursor),
        store.clock.ms,
    )


async def end(store: Store, at: Cursor, name: str = "look") -> None:
    """End it, as a session ends that had been acknowledging."""
    now = store.clock.ms
    await acked(
        store.inboxes, reader(store, name), store.app.tier, Progress(at, End(now, BROKEN_OFF)), now
    )


async def test_it_reads_what_waits_and_leaves_all_as_it_was(store: Store) -> None:
    """HP-19.2-1, HP-19.2-2: an operator who looked into an inbox left a device behind that never
    acknowledged, and so nothing of it was trimmed for the tier's time."""
    await store.fill("ann", 3)
    phone = await store.attach("ann")
    await store.ack("ann", Cursor(phone.start.epoch, phone.references[0].time_ms, 1))
    before = store.meta("ann")
    looking = await begin(store)
    assert [ref.number for ref in looking.references] == [2, 3]
    last = looking.references[-1]
    await end(store, Cursor(looking.start.epoch, last.time_ms, last.number))
    assert store.meta("ann") == before
    assert store.inbox("ann") == [2, 3]
    await store.ack("ann", Cursor(phone.start.epoch, phone.references[2].time_ms, 3))
    assert store.inbox("ann") == []


async def test_its_own_cursor_is_where_it_goes_on_and_trims_nothing(store: Store) -> None:
    """HP-19.2-2: after a reconnect it does not begin anew; a device's cursor would be an ack."""
    await store.fill("ann", 3)
    first = await begin(store)
    at = Cursor(first.start.epoch, first.references[1].time_ms, 2)
    again = await begin(store, cursor=at)
    assert (again.resumed, [ref.number for ref in again.references]) == (True, [3])
    await end(store, at)
    assert store.inbox("ann") == [1, 2, 3]


async def test_of_a_user_without_anything_nothing_is_left(store: Store) -> None:
    """HP-19.2-1: neither the hash nor, after the next round of the sweeper, a place in its list."""
    looking = await begin(store)
    await begin(store, "other")
    await end(store, looking.start)
    assert store.meta("ann")
    await end(store, looking.start, "other")
    assert store.meta("ann") == {}
    store.clock.advance(STALE_MS / 1000)
    await store.sweeper().sweep()
    assert store.due("ann") is None
    assert not store.holds(b":ann")


async def test_the_numbering_it_made_is_the_one_that_goes_on(store: Store) -> None:
    """G3: what is stored while it is the first session of a user is kept as any message is."""
    looking = await begin(store)
    await store.fill("ann", 1)
    await end(store, looking.start)
    store.clock.advance(STALE_MS / 1000)
    await store.sweeper().sweep()
    phone = await store.attach("ann")
    assert phone.start.epoch == looking.start.epoch
    assert [ref.number for ref in phone.references] == [1]
    due = store.due("ann")
    assert due is not None
    assert due > store.clock.ms


async def test_it_is_counted_among_its_own_kind(store: Store) -> None:
    """HP-19.2-4, HP-19.2-3: none makes room, and devices come and go whatever their number."""
    await begin(store, "one")
    await begin(store, "two")
    before = store.meta("ann")
    with pytest.raises(TooManyDevices):
        await begin(store, "three")
    assert store.meta("ann") == before
    await store.attach("ann", "phone")
    await store.attach("ann", "tablet")
    assert {name for name in store.meta("ann") if ":" in name} == {
        "d:phone",
        "d:tablet",
        f"s:{session('one')}",
        f"s:{session('two')}",
    }


async def test_one_of_a_killed_gateway_is_gone_after_two_minutes(store: Store) -> None:
    """HP-19.2-1, HP-19.2-4: it neither stays nor takes up a place; one that is heard of does."""
    await store.fill("ann", 1)
    gone = await begin(store, "gone")
    store.clock.advance(STALE_MS / 1000 - 1)
    await begin(store, "lives")
    store.clock.advance(1)
    await begin(store, "third")  # the first counts no more
    await store.sweeper().sweep()
    rows = {name for name in store.meta("ann") if name.startswith("s:")}
    assert rows == {f"s:{session('lives')}", f"s:{session('third')}"}
    checked = await store.inboxes.check(reader(store, "gone"), gone.start, 0, store.clock.ms)
    assert checked.epoch == ""  # its session, where it lives after all, has to connect again


async def test_one_that_stays_is_kept(store: Store) -> None:
    """HP-19.2-2: the regular check writes its row anew, and does not make the profile used."""
    await store.fill("ann", 1)
    stays = await begin(store)
    for _ in range(4):
        store.clock.advance(SEEN_MS / 1000 + 1)
        checked = await store.inboxes.check(reader(store), stays.start, 0, store.clock.ms)
        assert (checked.epoch, checked.holder) == (stays.start.epoch, session("look"))
        await store.sweeper().sweep()
    assert "u" not in store.meta("ann")


async def test_it_makes_nobody_online(store: Store) -> None:
    """HP-19.2-3: whoever watches the user is told nothing, and presence finds no device."""
    presence = PresenceStore(store.link, store.keys, "aaaaaa")
    looking = await begin(store, "x" * 10 + "aaaaaa")
    channel = presence.channel(store.app.id, "ann")
    async with store.hearing(channel) as heard:
        await end(store, looking.start, "x" * 10 + "aaaaaa")
        await begin(store, "y" * 10 + "aaaaaa")
        [found], alive = await presence.read([(store.app.id, "ann")])
        assert found.devices == ()
        assert found.state(alive | {"aaaaaa"}, store.clock.ms) == "offline"
        await store.attach("ann")
        assert (await heard.get())[1] == b"c"  # the device's, and nothing before it
