"""What is delivered to an inbox: numbers, times, once, for the tier's time and up to its cap."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from homeport.frames import Cursor
from homeport.limits import DEDUPE_WINDOW_MS

from gateway.apps.tiers import TIERS
from gateway.redis.errors import CommandFault
from gateway.store.entries import NewMessage
from gateway.store.inbox import PAGE
from tests.gateway.store.conftest import Store, apart, message_id, together

TIER_NAMES = list(TIERS)

# -- numbers and times -----------------------------------------------------------------------


async def test_numbers_begin_at_one_and_are_dense_in_every_inbox(store: Store) -> None:
    """G3, HP-7.2-1: whoever else a message goes to, each inbox counts its own messages."""
    await store.deliver("ann", "bob")
    await store.deliver("bob")
    await store.deliver("bob", "ann")
    assert [e.seq for e in await store.page("ann")] == [1, 2]
    assert [e.seq for e in await store.page("bob")] == [1, 2, 3]


async def test_messages_stand_in_the_order_of_the_calls(store: Store) -> None:
    """G3: what one gateway accepts in a row is stored in that order, however many are in flight."""
    await store.fill("ann", 1000)
    entries = await store.page("ann")
    assert [(e.seq, e.record) for e in entries] == [(n, b"%d" % n) for n in range(1, 1001)]


async def test_times_never_go_back_when_the_clock_does(store: Store) -> None:
    """G3, G4: one id tells place and time, so a clock set back must not reorder anything."""
    start = store.clock.ms
    for step in (0, -3600, 10, 3595, 0.001):
        store.clock.advance(step)
        await store.deliver("ann")
    ms = [e.ms - start for e in await store.page("ann")]
    assert ms == [0, 0, 0, 5000, 5001]
    assert [e.seq for e in await store.page("ann")] == [1, 2, 3, 4, 5]


async def test_times_keep_all_their_digits(store: Store) -> None:
    """G4: a time of 13 digits and a number of 7 go through Lua unrounded."""
    store.clock.now = 9_999_999_999.999
    keys = store.keys.user(store.app.id, "ann")
    store.raw.hset(keys.meta, mapping={"q": 2**53 - 2, "t": 9_999_999_999_998})
    await store.deliver("ann")
    assert store.inbox("ann") == [(2**53 - 1, 9_999_999_999_999)]
    assert store.meta("ann")["q"] == str(2**53 - 1)
    assert store.due("ann") == 9_999_999_999_999 + store.app.tier.retention_ms


async def test_every_recipient_gets_it(store: Store) -> None:
    """G1, HP-7.1-2: the future is done when it is in every inbox, whatever buckets they lie in."""
    users = ["ann", together("ann"), apart("ann"), *(f"member{n}" for n in range(300))]
    time = await store.deliver(*users, record=b"to all")
    assert time == store.clock.ms
    for user in users:
        assert [(e.seq, e.ms, e.record) for e in await store.page(user)] == [(1, time, b"to all")]


async def test_two_users_of_one_bucket_get_it_once_each(store: Store) -> None:
    """HP-7.1-3: the dedupe mark of a bucket does not keep its second inbox from getting it."""
    users = ("ann", together("ann"))
    mid = message_id()
    for _ in range(2):
        await store.deliver(*users, mid=mid)
    assert [len(await store.page(user)) for user in users] == [1, 1]
    assert store.due(users[0]) == store.due(users[1])


# -- once ------------------------------------------------------------------------------------


async def test_a_repeat_adds_nothing_and_tells_the_first_time(store: Store) -> None:
    """G2, HP-7.1-4: the same message id, later and with other bytes, changes nothing anywhere."""
    users = ("ann", apart("ann"))
    mid = message_id()
    first = await store.deliver(*users, mid=mid, record=b"first")
    store.clock.advance(60)
    assert await store.deliver(*users, mid=mid, record=b"again") == first
    assert store.clock.ms == first + 60_000
    for user in users:
        assert [e.record for e in await store.page(user)] == [b"first"]


async def test_repeats_in_flight_together_are_stored_once(store: Store) -> None:
    """G2: a client that sends again before the answer, on any gateway, adds nothing."""
    mid = message_id()
    times = await asyncio.gather(*(store.deliver("ann", "bob", mid=mid) for _ in range(50)))
    assert set(times) == {store.clock.ms}
    assert len(await store.page("ann")) == len(await store.page("bob")) == 1


@pytest.mark.parametrize("arrived", ["sender", "recipient"])
async def test_a_half_stored_message_is_completed_once(store: Store, arrived: str) -> None:
    """G1, G2: one bucket had it when the gateway died; the retry fills the other, and only it."""
    sender, recipient = "ann", apart("ann")
    mid = message_id()
    first = await store.deliver(sender if arrived == "sender" else recipient, mid=mid)
    store.clock.advance(5)
    for _ in range(2):
        assert await store.deliver(sender, recipient, mid=mid) == first
    assert len(await store.page(sender)) == len(await store.page(recipient)) == 1


async def test_a_failed_try_is_not_taken_for_a_stored_one(store: Store) -> None:
    """G1: what one script could not store is not said to be stored by the retry."""
    ann, other = "ann", together("ann")
    mid = message_id()
    broken = store.keys.user(store.app.id, other).inbox
    store.raw.set(broken, "not a stream")
    for _ in range(2):
        with pytest.raises(CommandFault) as fault:
            await store.deliver(ann, other, mid=mid)
        assert fault.value.reply == "WRONGTYPE"
        assert await store.page(ann) == []
    store.raw.delete(broken)
    await store.deliver(ann, other, mid=mid)
    assert len(await store.page(ann)) == len(await store.page(other)) == 1


async def test_the_dedupe_window_is_ten_minutes_to_the_ms(store: Store) -> None:
    """G2, HP-7.1-4: the mark lives as long as the window, from the first send, and no longer."""
    mid = message_id()
    await store.deliver("ann", mid=mid)
    key = store.keys.dedupe(store.keys.user(store.app.id, "ann").bucket, store.app.id, mid)
    seconds, micros = store.raw.time()
    ends = int(store.raw.execute_command("PEXPIRETIME", key))  # type: ignore[no-untyped-call]
    assert 0 <= seconds * 1000 + micros // 1000 + DEDUPE_WINDOW_MS - ends < 5000
    assert DEDUPE_WINDOW_MS == 10 * 60 * 1000
    await store.deliver("ann", mid=mid)  # a repeat does not prolong it
    assert store.raw.execute_command("PEXPIRETIME", key) == ends  # type: ignore[no-untyped-call]
    store.raw.pexpireat(key, 1)  # the window ends
    store.clock.advance(600)
    assert await store.deliver("ann", mid=mid) == store.clock.ms
    assert len(await store.page("ann")) == 2


async def test_the_same_id_in_two_apps_is_two_messages(store: Store) -> None:
    """G2: one app's sends never swallow another's."""
    mid = message_id()
    await store.deliver("ann", mid=mid)
    other = "02" + "1" * 30
    await store.inboxes.deliver(
        other, store.app.tier, ("ann",), NewMessage(mid, b"x", store.clock.ms)
    )
    assert len(store.inbox("ann")) == 1
    assert store.raw.xlen(store.keys.user(other, "ann").inbox) == 1


# -- for the tier's time -----------------------------------------------------------------------


@pytest.mark.parametrize("tier", TIER_NAMES)
async def test_a_message_is_read_until_its_time_and_then_gone(store: Store, tier: str) -> None:
    """G4: the tier's time to the millisecond for reading, and after the sweep no byte is left."""
    store.use_tier(tier)
    async with store.admin() as admin:
        await admin.apps.change(store.app.id, "tier", tier, store.clock.ms)
    record = secrets.token_bytes(64)
    stored = await store.deliver("ann", record=record)
    for left_ms in (1000, 1):
        store.clock.now = (stored + store.app.tier.retention_ms - left_ms) / 1000
        assert [e.record for e in await store.page("ann")] == [record]
        attached = await store.attach("ann", f"early{left_ms}")
        assert [e.record for e in attached.entries] == [record]
        assert await store.sweeper().sweep() == 0
        assert store.holds(record)
    for over_ms in (0, 1, 1000):
        store.clock.now = (stored + store.app.tier.retention_ms + over_ms) / 1000
        assert await store.page("ann") == []
        attached = await store.attach("ann", f"late{over_ms}")
        assert (attached.entries, attached.lost) == ([], (1, 1))
    assert store.holds(record)  # hidden, not gone: that is the sweeper's part
    assert await store.sweeper().sweep() == 1
    assert not store.holds(record)


def test_the_tiers_times_are_those_of_the_specification() -> None:
    """G4: free 3 days, basic 7, pro 90, enterprise 180."""
    days = {name: tier.retention_ms / 86_400_000 for name, tier in TIERS.items()}
    assert days == {"free": 3, "basic": 7, "pro": 90, "enterprise": 180}


async def test_reading_a_page_begins_at_the_first_that_is_young_enough(store: Store) -> None:
    """G4: a cursor older than the tier's time does not bring back what is past it."""
    await store.fill("ann", 3)
    store.clock.advance(1)
    await store.fill("ann", 3)
    store.clock.advance(store.app.tier.retention_ms / 1000 - 1)
    old = Cursor("", store.inbox("ann")[0][1], 1)
    assert [e.seq for e in await store.page("ann", old)] == [4, 5, 6]
    assert [e.seq for e in await store.page("ann", Cursor("", store.inbox("ann")[3][1], 4))] == [
        5,
        6,
    ]
    assert [e.seq for e in await store.page("ann", count=2)] == [4, 5]


async def test_an_upgrade_loses_nothing_still_held(store: Store) -> None:
    """G4: what was stored under the old tier gets the new tier's time, also where it was hidden."""
    await store.fill("ann", 3)
    first = store.inbox("ann")[0][1]
    store.clock.now = (first + TIERS["free"].retention_ms + 5000) / 1000
    assert await store.page("ann") == []
    store.use_tier("pro")
    assert [e.seq for e in await store.page("ann")] == [1, 2, 3]
    assert (await store.attach("ann")).lost is None


async def test_a_downgrade_hides_at_once(store: Store) -> None:
    """G4: from the moment a gateway knows the new tier, its time counts."""
    store.use_tier("pro")
    await store.fill("ann", 2)
    store.clock.advance(4 * 86_400)
    await store.fill("ann", 1)
    store.use_tier("free")
    assert [e.seq for e in await store.page("ann")] == [3]
    attached = await store.attach("ann")
    assert ([e.seq for e in attached.entries], attached.lost) == ([3], (1, 2))


# -- up to its cap -----------------------------------------------------------------------------


@pytest.mark.parametrize("tier", TIER_NAMES)
async def test_over_the_cap_the_oldest_go(store: Store, tier: str) -> None:
    """G5: exactly the cap is kept, the newest, and a device is told exactly what went."""
    # The cap itself is TIERS' matter; a small one finds the same edges.
    store.use_tier(tier, inbox_cap=5)
    await store.fill("ann", 5)
    assert (await store.attach("ann", "before")).lost is None
    await store.fill("ann", 1)
    assert [seq for seq, _ in store.inbox("ann")] == [2, 3, 4, 5, 6]
    assert (await store.attach("ann", "after")).lost == (1, 1)


async def test_the_free_tiers_cap_is_a_thousand(store: Store) -> None:
    """G5: the real cap of the real tier."""
    await store.fill("ann", 1001)
    assert len(store.inbox("ann")) == 1000
    attached = await store.attach("ann")
    assert (attached.lost, len(attached.entries), attached.top) == ((1, 1), PAGE, 1001)


async def test_a_lower_cap_counts_from_the_next_message_on(store: Store) -> None:
    """G5: a downgrade to a smaller inbox drops the oldest with the next message, and tells."""
    await store.fill("ann", 10)
    store.use_tier("free", inbox_cap=3)
    await store.fill("ann", 1)
    assert [seq for seq, _ in store.inbox("ann")] == [9, 10, 11]
    assert (await store.attach("ann")).lost == (1, 8)


async def test_one_inbox_over_its_cap_costs_nobody_else(store: Store) -> None:
    """G5, G9: the neighbour in the same script keeps all of its own."""
    neighbour = together("ann")
    store.use_tier("free", inbox_cap=2)
    await store.deliver(neighbour)
    for _ in range(3):
        await store.deliver("ann")
    await store.deliver("ann", neighbour)
    assert [seq for seq, _ in store.inbox("ann")] == [3, 4]
    assert [seq for seq, _ in store.inbox(neighbour)] == [1, 2]
