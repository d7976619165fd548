"""Mirrors gateway/store/storage.py, storage.lua and what scripts say of strangers, on both kinds of
store: several processes that count, on one Redis."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest
from homeport.frames import Cursor

from gateway.apps.tiers import TIERS, Tier
from gateway.redis.errors import Unavailable
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry
from gateway.store.group_state import Change, Member
from gateway.store.groups import GroupStore
from gateway.store.recipients import group
from gateway.store.storage import MARK, Storage, Usage, allocated, ending, message_bytes, slice_end
from gateway.store.stored import HIDDEN
from tests.gateway.store.conftest import APP_ID, Store, apart, message_id, together

ANN = "ann"
DAY_MS = 86_400_000
FREE = TIERS["free"]
SLICE_MS = 4_194_304  # 2 ** 22: 3 days have 61 of them


@dataclass
class Process:
    """A process that stores and counts."""

    store: Store
    storage: Storage
    talks: ConversationStore

    @classmethod
    def at(cls, store: Store) -> Process:
        """One more."""
        storage = Storage(store.link, store.keys, lambda: store.clock.ms)
        return cls(store, storage, ConversationStore(store.link, store.keys, storage))

    def hold(self, user: str = "", tier: Tier = FREE) -> Usage:
        """What it knows of the app or a user."""
        return self.storage.hold(APP_ID, user, tier)

    def entry(self, size: int = 100, sender: str = ANN, ends_ms: int | None = None) -> NewEntry:
        """A new message."""
        return NewEntry(message_id(), b"r" * size, self.store.clock.ms, sender, 1, ends_ms)

    async def say(self, to: str, entry: NewEntry | None = None) -> NewEntry:
        """Store a message."""
        entry = entry or self.entry()
        recipients = self.talks.direct(APP_ID, entry.sender, to)
        await self.talks.send(APP_ID, self.store.tier, recipients, entry)
        return entry


@pytest.fixture
def process(store: Store) -> Process:
    """The only one, if a test makes no other."""
    return Process.at(store)


async def told(store: Store, user: str = "") -> tuple[int, int]:
    """What Redis has been told."""
    storage = Storage(store.link, store.keys, lambda: store.clock.ms)
    usage = storage.hold(APP_ID, user, store.tier)
    await store.link.call("PING")
    await until_answered(store)
    return usage.total, usage.strange


async def until_answered(store: Store) -> None:
    """What was asked of each bucket is answered."""
    await asyncio.gather(*store.link.everywhere("PING"))
    await asyncio.sleep(0)


# -- what is counted -------------------------------------------------------------------------------


async def test_a_message_counts_for_its_app_and_its_sender(process: Process, store: Store) -> None:
    """HP-17.5-1: at once, and in Redis once it was told; its reader does not pay."""
    app, ann, bob = process.hold(), process.hold(ANN), process.hold("bob")
    await store.attach("bob")
    await store.attach(ANN)
    before = app.total
    await process.say("bob")
    size = message_bytes(100) + MARK
    assert ann.total >= size
    assert app.total - before >= size
    assert bob.total == 0
    process.storage.release(APP_ID, ANN)
    await process.storage.settle()
    assert await told(store) == (app.total, 0)
    assert await told(store, ANN) == (ann.total, 0)
    assert await told(store, "bob") == (0, 0)


async def test_a_repeated_message_counts_once(process: Process, store: Store) -> None:
    """HP-17.5-3: a client that lost an answer pays for nothing twice."""
    app, ann = process.hold(), process.hold(ANN)
    await store.attach("bob")
    entry = await process.say("bob")
    counted = app.total, ann.total
    for _ in range(5):
        await process.say("bob", entry)
    assert (app.total, ann.total) == counted


async def test_what_redis_refuses_counts_for_nobody(process: Process, store: Store) -> None:
    """HP-17.5-1: an outage fills no quota."""
    app, ann = process.hold(), process.hold(ANN)
    await process.say("bob")
    counted = app.total, ann.total
    await store.link.aclose()
    with pytest.raises(Unavailable):
        await process.say("bob")
    assert (app.total, ann.total) == counted


async def test_a_stale_list_of_members_counts_for_nobody(process: Process, store: Store) -> None:
    """HP-17.5-3: a message is tried again with the members as they are, and counts once."""
    ann = process.hold(ANN)
    to = group(store.keys, APP_ID, "ab" * 16, 7, {})
    with pytest.raises(Unavailable):
        await process.talks.send(APP_ID, FREE, to, process.entry())
    assert ann.total == 0


@pytest.mark.parametrize("size", [200, 5_000, 8_300, 60_000])
async def test_what_is_counted_is_what_redis_needs(
    process: Process, store: Store, size: int
) -> None:
    """HP-17.5-1: bytes of bodies say too little. What is counted is not less than what Redis needs,
    and not a third more."""
    app = process.hold()
    await store.attach("bob")
    await store.attach(ANN)
    await process.say("bob", process.entry(size))
    count = min(2000, max(200, 2_000_000 // size))
    before, counted = used(store), app.total
    for _ in range(count // 50):
        await asyncio.gather(*(process.say("bob", process.entry(size)) for _ in range(50)))
    needs, counts = used(store) - before, app.total - counted
    assert needs <= counts <= 1.45 * needs


def used(store: Store) -> int:
    """What all keys take, an entry among those that end included where they do."""
    raw: Any = store.raw
    keys = list(raw.scan_iter(count=1000))
    with raw.pipeline(transaction=False) as asked:
        for key in keys:
            asked.memory_usage(key, samples=0)
        sizes = asked.execute()
    return int(sum(sizes)) + 40 * sum(b"sent:" in key for key in keys)


@pytest.mark.parametrize("size", [1, 100, 1000, 8192, 65536])
def test_the_allocator_has_four_sizes_for_each_power_of_two(size: int) -> None:
    """A body of 8 KiB takes 10 KiB: the attacker chose it."""
    assert size < allocated(size) <= max(size * 1.25 + 24, 48)


# -- what goes -------------------------------------------------------------------------------------


async def test_messages_stop_counting_after_their_time(process: Process, store: Store) -> None:
    """HP-17.5-5: not before the tier's time is over, and at most a slice later."""
    process.hold(ANN)
    await process.say("bob")
    process.storage.release(APP_ID, ANN)
    await process.storage.settle()
    counted, _ = await told(store, ANN)
    store.clock.advance((3 * DAY_MS - 1) / 1000)
    kept, _ = await told(store, ANN)
    assert counted - MARK == kept
    store.clock.advance(4 * SLICE_MS / 1000)  # a sender's are four times as long
    assert await told(store, ANN) == (0, 0)


async def test_a_message_with_a_time_to_live_counts_until_then(
    process: Process, store: Store
) -> None:
    """HP-17.5-5: what is kept for an hour fills no quota for three days."""
    app = process.hold()
    await process.say("bob")
    await process.storage.settle()
    counted = app.total
    await process.say("bob", process.entry(8_000, ends_ms=store.clock.ms + 3_600_000))
    await process.storage.settle()
    assert (await told(store))[0] > counted + 8_000
    store.clock.advance(3_600)
    assert (await told(store))[0] > counted - 2 * MARK + 8_000
    store.clock.advance(900)
    assert (await told(store))[0] <= counted


def test_slices_are_no_longer_than_said() -> None:
    """HP-17.5-5: a thirty-second of the time; a quarter of a time to live, or a minute."""
    for tier in TIERS.values():
        span = tier.retention_ms // 32
        for now in (0, 1, 1_764_000_000_000):
            assert now < slice_end(now, span) <= now + span
    now = 1_764_000_000_000
    for ttl in (1_000, 60_000, 3_600_000, DAY_MS):
        at = int(ending(now, now + ttl)[1:])
        assert now + ttl < at <= now + ttl + max(65_536, ttl // 4)


async def test_what_is_recalled_is_given_back(process: Process, store: Store) -> None:
    """HP-17.5-5: at once, to the app and to its author; a recall of little costs its notice."""
    app, ann = process.hold(), process.hold(ANN)
    await store.attach("bob")
    await process.say("bob", process.entry(6_000))
    before = app.total, ann.total
    await replaced(process, 1, change=11, record=b"gone", recall=True)
    assert app.total < before[0] - 5_000
    assert ann.total < before[1] - 5_000
    process.storage.release(APP_ID, ANN)
    await process.storage.settle()
    assert await told(store, ANN) == (ann.total, 0)


async def test_an_edit_counts_by_difference(process: Process, store: Store) -> None:
    """HP-17.5-5: ten edits leave a message and one notice, and that is what counts."""
    ann = process.hold(ANN)
    await store.attach("bob")
    await process.say("bob", process.entry(1_000))
    before = ann.total
    for change in range(1, 11):
        await replaced(process, 1, change=change, record=b"x" * 1_000, recall=False)
    assert before + 1_000 < ann.total < before + 10 * 500 + 1_500


async def replaced(process: Process, seq: int, *, change: int, record: bytes, recall: bool) -> None:
    """Change ann's message to bob."""
    notice = replace(process.entry(len(record), ""), flags=HIDDEN)
    assert await process.talks.replace(
        APP_ID,
        FREE,
        process.talks.direct(APP_ID, ANN, "bob"),
        seq,
        notice,
        expected=change - 1 if not recall else 0,
        change=change,
        record=record,
        recall=recall,
        author=ANN,
    )


async def test_what_goes_early_never_gives_back_what_stays(process: Process, store: Store) -> None:
    """HP-17.5-6: nobody knows which slice has what was deleted. Taken off the oldest, the count is
    never below what is there; taken off the newest, it would be once the oldest has gone."""
    app = process.hold()
    process.storage.written(APP_ID, FREE, "", 1000)
    await process.storage.settle()
    store.clock.advance(DAY_MS / 1000)
    process.storage.written(APP_ID, FREE, "", 1000)
    await process.storage.settle()
    process.storage.went(APP_ID, FREE, 600)
    await process.storage.settle()
    assert (await told(store))[0] == app.total == 1400
    store.clock.advance(2 * DAY_MS / 1000 + 2 * SLICE_MS / 1000)
    assert (await told(store))[0] == 1000
    process.storage.went(APP_ID, FREE, 5000)  # more than is there
    await process.storage.settle()
    assert (await told(store))[0] == 0


async def test_a_deleted_group_gives_back_what_was_said(process: Process, store: Store) -> None:
    """HP-17.5-5: its messages, its members and the group itself."""
    app = process.hold()
    groups = GroupStore(store.link, store.keys, process.talks, lambda: store.clock.ms)
    members: dict[str, Member | None] = {f"u{n}": Member("member") for n in range(20)}
    members[ANN] = Member("owner")

    async def changed(change: Change) -> None:
        before = await groups.current(store.app, "ab" * 16)
        version = groups.next_version(before)
        notice = replace(process.entry(100, ""), flags=0)
        assert await groups.change(store.app, "ab" * 16, before, change, version, notice, maker=ANN)

    await changed(Change(members=members))
    made = app.total
    assert made > 21 * 200
    there = await groups.current(store.app, "ab" * 16)
    assert there is not None
    await process.talks.send(APP_ID, FREE, there.recipients, process.entry(8_000))
    assert app.total > made + 8_000
    await changed(Change(deleted_by=ANN))
    await process.storage.settle()
    # What strangers were told of it stays for its time.
    assert app.total < made - 21 * 200 + 3_000 + app.strange


# -- users who never connected ---------------------------------------------------------------------


@pytest.mark.parametrize("other", [together(ANN), apart(ANN)])
async def test_what_is_for_a_stranger_counts_once_more(
    process: Process, store: Store, other: str
) -> None:
    """HP-17.5-2: the reference, the message and what there is of the user; nothing of that once
    they have connected. Where both inboxes share a bucket, another script says it."""
    await store.attach(ANN)
    app, ann = process.hold(), process.hold(ANN)
    await process.say(other, process.entry(5_000))
    assert 5_000 < ann.strange == app.strange < 8_000
    assert ann.total > message_bytes(5_000) + 500
    await store.attach(other)
    before = ann.strange
    await process.say(other, process.entry(5_000))
    assert ann.strange == before
    process.storage.release(APP_ID, ANN)
    await process.storage.settle()
    assert await told(store, ANN) == (ann.total, ann.strange)


async def test_a_user_has_connected_for_good(process: Process, store: Store) -> None:
    """HP-17.5-2: whatever is acknowledged, swept or lost of an inbox since."""
    await store.attach(ANN)
    standing = await store.attach("bob")
    ann = process.hold(ANN)
    await process.say("bob")
    await store.ack("bob", Cursor(standing.start.epoch, store.clock.ms, 1))
    await process.say("bob")
    store.clock.advance(2 * DAY_MS / 1000)
    await process.say("bob")
    store.clock.advance(1.5 * DAY_MS / 1000)
    await store.sweeper().sweep()
    await process.say("bob")
    assert ann.strange == 0


async def test_a_large_backlog_counts(process: Process, store: Store) -> None:
    """HP-17.5-1: whoever reads what comes costs no references; whoever is away for long does."""
    await store.attach(ANN)
    await store.attach("bob")
    ann = process.hold(ANN)
    for _ in range(64):
        await process.say("bob", replace(process.entry(), flags=1))
    sizes = []
    for _ in range(3):
        before = ann.total
        await process.say("bob")
        sizes.append(ann.total - before)
    assert all(size >= message_bytes(100) + MARK + 2 * 16 for size in sizes)


async def test_strangers_are_looked_up_when_it_must_be_known(
    process: Process, store: Store
) -> None:
    """HP-17.5-2: None is said first, and then it is known."""
    await store.attach("bob")
    strangers = process.storage.strangers
    assert strangers.among(APP_ID, ["bob", "eve"]) is None
    await until_answered(store)
    assert strangers.among(APP_ID, ["bob"]) is False
    assert strangers.among(APP_ID, ["eve"]) is True
    assert strangers.among(APP_ID, ["bob", "eve"]) is True


# -- several processes, and faults -----------------------------------------------------------------


async def test_processes_know_each_other(store: Store) -> None:
    """HP-17.5-6: a process does not know of at most a fiftieth that another counted."""
    one, two = Process.at(store), Process.at(store)
    knows, counts = one.hold(ANN), two.hold(ANN)
    await until_answered(store)
    for _ in range(200):
        two.storage.written(APP_ID, FREE, ANN, FREE.sender_bytes // 400)
    await until_answered(store)
    one.storage.written(APP_ID, FREE, ANN, FREE.sender_bytes // 50 + 1)
    await until_answered(store)
    assert knows.total >= counts.total - FREE.sender_bytes / 50 + FREE.sender_bytes // 50 + 1


async def test_a_process_that_was_killed_takes_little_with_it(store: Store) -> None:
    """HP-17.5-6: what it had not told is never counted, and that is a fiftieth at the most."""
    killed = Process.at(store)
    killed.hold(ANN)
    each = FREE.sender_bytes // 1000
    for _ in range(500):
        killed.storage.written(APP_ID, FREE, ANN, each)
    await until_answered(store)
    total, _ = await told(store, ANN)
    assert 0 <= 500 * each - total <= FREE.sender_bytes / 50


async def test_nothing_is_lost_while_redis_is_away(process: Process, store: Store) -> None:
    """HP-17.5-6: what could not be told is told later."""
    ann = process.hold(ANN)
    await until_answered(store)
    link, told_of = store.link, ann.telling(store.clock.ms)
    process.storage.written(APP_ID, FREE, ANN, 1000)
    telling = ann.telling(store.clock.ms)
    failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    failed.set_exception(Unavailable("connection_lost"))
    ann.learn(telling, failed)
    assert told_of.fields == {}
    process.storage.written(APP_ID, FREE, ANN, 1)
    process.storage.release(APP_ID, ANN)
    await process.storage.settle()
    assert (await told(store, ANN))[0] == 1001
    assert link.up


async def test_a_redis_that_came_back_older_is_believed(store: Store) -> None:
    """HP-17.5-6: what it lost of messages, it lost of their count."""
    process = Process.at(store)
    app = process.hold()
    process.storage.written(APP_ID, FREE, "", 1000)
    await process.storage.settle()
    store.raw.delete(store.keys.stored(APP_ID, ""))
    process.storage.written(APP_ID, FREE, "", 10)
    await process.storage.settle()
    assert app.total == 10


async def test_a_smaller_tier_has_other_limits(process: Process, store: Store) -> None:
    """HP-17.5-7: from the next request on, and the counts stay."""
    app = process.hold(tier=TIERS["pro"])
    process.storage.written(APP_ID, TIERS["pro"], "", 100 << 20)
    await process.storage.settle()
    process.storage.written(APP_ID, FREE, "", 1)
    assert app.most == FREE.app_bytes < app.total
    store.clock.advance(5 * DAY_MS / 1000)  # a slice of tier pro is longer
    process.storage.written(APP_ID, FREE, "", 1)
    await process.storage.settle()
    assert app.total == 2


async def test_a_sender_who_left_is_forgotten_once_told(process: Process, store: Store) -> None:
    """G9: a process holds nothing of users who are not there; what comes late is told too."""
    process.hold(ANN)
    await until_answered(store)
    process.storage.release(APP_ID, ANN)
    process.storage.written(APP_ID, FREE, ANN, 500)
    process.storage.written(APP_ID, FREE, "late", 500)
    await process.storage.settle()
    assert (await told(store, ANN))[0] == (await told(store, "late"))[0] == 500
    await process.storage.settle()
    process.storage.written(APP_ID, FREE, ANN, 1)
    usage = process.hold(ANN)
    assert usage.total == 1, "it begins anew"
