"""Conversations: what one answer may hold, what a repeat gets, what goes from Redis, and a full
Redis."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from gateway.redis.errors import Unavailable
from gateway.store.conversations import READ_BYTES, ConversationStore
from gateway.store.entries import NewEntry
from gateway.store.group_state import Change, Group, Member
from gateway.store.groups import GroupStore
from gateway.store.inbox import PROFILE_MS, InboxStore
from tests.chunks import chunk_of
from tests.gateway.store.conftest import APP_ID, Store, apart, message_id

ANN, BOB = "ann", apart("ann")
TALK = f"d:{ANN}:{BOB}"
GROUP = "ab" * 16


class Kept:
    """A store's conversations, groups and inboxes."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.talks = ConversationStore(store.link, store.keys)
        self.groups = GroupStore(store.link, store.keys, self.talks, lambda: store.clock.ms)
        self.inboxes = InboxStore(store.link, store.keys, self.talks)

    def entry(self, record: bytes = b"record", sender: str = ANN, flags: int = 1) -> NewEntry:
        """A new message, now."""
        mid = hashlib.sha256(message_id()).digest()[:16]
        return NewEntry(mid, record, self.store.clock.ms, sender, flags)

    async def send(self, entry: NewEntry) -> Any:
        """A message between ann and bob."""
        to = self.talks.direct(APP_ID, ANN, BOB)
        return await self.talks.send(APP_ID, self.store.tier, to, entry)

    async def group(self, *users: str) -> None:
        """The group, with these members."""
        before = await self.read()
        old = set(before.members) if before else set()
        members: dict[str, Member | None] = {u: Member("member") for u in users if u not in old}
        members |= dict.fromkeys(old - set(users))
        version = self.groups.next_version(before)
        notice = self.entry(sender="", flags=0)
        change = Change(members=members)
        assert await self.groups.change(self.store.app, GROUP, before, change, version, notice)

    async def read(self) -> Group | None:
        """The group as it is now."""
        return await self.groups.current(self.store.app, GROUP)


@contextlib.contextmanager
def answers(store: Store) -> Iterator[list[int]]:
    """The bytes of each list of values that scripts answer meanwhile."""
    sizes: list[int] = []
    ask = store.link.run

    def run(*said: Any, **options: Any) -> asyncio.Future[Any]:
        future = ask(*said, **options)
        future.add_done_callback(lambda done: sizes.append(sum(map(len, done.result()))))
        return future

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.link, "run", run)
        yield sizes


@pytest.fixture
async def kept(store: Store) -> AsyncIterator[Kept]:
    """On each kind of Redis."""
    yield Kept(store)


@pytest.mark.parametrize("after", [None, 0])
async def test_a_page_of_history_is_bounded_by_bytes(kept: Kept, after: int | None) -> None:
    """G9: whatever was sent, one answer of Redis holds about 128 KiB, and says where to go on."""
    for _ in range(12):
        await kept.send(kept.entry(b"r" * 32_000))
    seen: list[int] = []
    place: dict[str, Any] = {"before": None} if after is None else {"after": after}
    while True:
        page = await kept.talks.page(
            APP_ID, kept.store.tier, TALK, kept.store.clock.ms, 100, **place
        )
        assert 0 < sum(len(m.record or b"") for m in page.messages) <= READ_BYTES
        seen += [m.seq for m in page.messages]
        if not page.next:
            break
        place = dict.fromkeys(place, page.next)
    assert seen == (list(range(12, 0, -1)) if after is None else list(range(1, 13)))


async def test_catching_up_is_bounded_by_bytes_even_after_edits(kept: Kept) -> None:
    """G9: references say how large a message was when it was sent; edits may have made it
    larger."""
    for seq in range(1, 13):
        await kept.send(kept.entry(b"small"))
        assert await kept.talks.replace(
            APP_ID,
            kept.store.tier,
            kept.talks.direct(APP_ID, ANN, BOB),
            2 * seq - 1,
            kept.entry(sender="", flags=0),
            expected=0,
            change=1,
            record=b"r" * 32_000,
            recall=False,
        )
    page = await kept.inboxes.page(APP_ID, BOB, 0)
    left, rounds = page.references, 0
    while left:
        found = await kept.inboxes.messages(APP_ID, kept.store.tier, BOB, left, kept.store.clock.ms)
        records = [w.message.record or b"" for w in found if w.message is not None]
        assert 0 < sum(map(len, records)) <= READ_BYTES
        left, rounds = left[len(found) :], rounds + 1
    assert rounds == 3


async def test_references_are_bounded_by_the_bytes_of_what_they_refer_to(kept: Kept) -> None:
    """G9: a page of an inbox is no more than can be read at once."""
    for _ in range(12):
        await kept.send(kept.entry(b"r" * 32_000))
    page = await kept.inboxes.page(APP_ID, BOB, 0)
    assert [ref.number for ref in page.references] == [1, 2, 3, 4]
    assert page.top == 12


async def test_a_repeat_goes_by_the_first_one(kept: Kept) -> None:
    """G2: it has the first one's time and record, and is not for members who came after it."""
    await kept.group(ANN, BOB)
    group = await kept.read()
    assert group is not None
    first = kept.entry(b"first")
    stored = await kept.talks.send(APP_ID, kept.store.tier, group.recipients, first)
    await kept.group(ANN, BOB, "cid")
    kept.store.clock.now += 1
    after = await kept.read()
    assert after is not None
    again = replace(first, record=b"again", time_ms=kept.store.clock.ms)
    repeated = await kept.talks.send(APP_ID, kept.store.tier, after.recipients, again)
    assert repeated == stored._replace(repeated=True)
    page = await kept.inboxes.page(APP_ID, "cid", 0)
    assert [ref.seq for ref in page.references] == [3]


async def test_a_repeat_has_the_first_ones_time_after_that_ended(kept: Kept) -> None:
    """HP-11.2-8, HP-7.1-7: also of a message that was erased, or is past its tier's time."""
    store, first = kept.store, kept.entry(b"first")
    stored = await kept.send(first)
    assert await kept.talks.sent(APP_ID, TALK, first.id) == stored._replace(repeated=True)
    assert await kept.talks.sent(APP_ID, TALK, kept.entry().id) is None
    await kept.talks.erase(APP_ID, TALK, [1])
    store.clock.now += 1
    again = replace(first, time_ms=store.clock.ms)
    assert await kept.send(again) == stored._replace(repeated=True)
    short = replace(store.tier, retention_ms=1000)
    store.clock.now += 1
    swept = await kept.talks.sweep(APP_ID, TALK, store.clock.ms, short.retention_ms, PROFILE_MS)
    assert swept.removed == 1
    again = replace(first, time_ms=store.clock.ms)
    assert await kept.send(again) == stored._replace(repeated=True)


async def test_what_was_recalled_is_in_no_key(kept: Kept) -> None:
    """G11: the recalled record is gone from Redis' memory at once, and no neighbour is touched."""
    for n in range(3):
        await kept.send(kept.entry(b"CANARY%d" % n))
    to = kept.talks.direct(APP_ID, ANN, BOB)
    notice = kept.entry(b"notice", sender="", flags=0)
    assert await kept.talks.replace(
        APP_ID,
        kept.store.tier,
        to,
        2,
        notice,
        expected=0,
        change=11,
        record=b"recalled",
        recall=True,
    )
    assert not kept.store.holds(b"CANARY1")
    assert kept.store.holds(b"CANARY0")
    assert kept.store.holds(b"CANARY2")


async def test_a_long_conversation_is_swept_by_chunks(kept: Kept) -> None:
    """G4: what is past its time leaves Redis, whole chunks at once, and the numbers go on."""
    for _ in range(300):
        await kept.send(kept.entry(b"OLD"))
    kept.store.clock.now += kept.store.tier.retention_ms / 1000 - 1
    await kept.send(kept.entry(b"YOUNG"))
    kept.store.clock.now += 20  # more than clocks differ
    swept = await kept.talks.sweep(
        APP_ID, TALK, kept.store.clock.ms, kept.store.tier.retention_ms, PROFILE_MS
    )
    assert swept.removed == 300
    assert not kept.store.holds(b"OLD")
    page = await kept.talks.page(APP_ID, kept.store.tier, TALK, kept.store.clock.ms, 10)
    assert [(m.seq, m.record, page.lost) for m in page.messages] == [(301, b"YOUNG", 0)]


async def test_a_lost_chunk_is_noticed(kept: Kept) -> None:
    """G5: numbers that nothing had removed are counted as lost, and not passed over silently."""
    for _ in range(130):
        await kept.send(kept.entry())
    head = kept.store.keys.conversation(APP_ID, TALK).head
    kept.store.raw.delete(chunk_of(kept.store.raw, head))
    page = await kept.talks.page(APP_ID, kept.store.tier, TALK, kept.store.clock.ms, 100)
    assert [m.seq for m in page.messages] == [130, 129, 128]
    assert (page.lost, kept.talks.fanout.lost_keys) == (127, 1)


async def test_a_conversation_without_its_head_begins_anew(kept: Kept) -> None:
    """G3, G5: nothing old is shown under new numbers, and who knew old numbers is told."""
    for _ in range(2):
        await kept.send(kept.entry(b"old"))
    kept.store.raw.delete(kept.store.keys.conversation(APP_ID, TALK).head)
    assert (await kept.send(kept.entry(b"new"))).seq == 1
    page = await kept.talks.page(APP_ID, kept.store.tier, TALK, kept.store.clock.ms, 10)
    assert [m.record for m in page.messages] == [b"new"]
    refs = (await kept.inboxes.page(APP_ID, BOB, 0)).references
    assert [(r.seq, r.hole) for r in refs] == [(1, False), (2, False), (0, True), (1, False)]


@pytest.mark.parametrize("known", [True, False])
async def test_a_conversation_that_nothing_leads_to_takes_messages(kept: Kept, known: bool) -> None:
    """G3, G5: Redis evicted the head and the due list of its bucket. What was left of the messages
    lay under the numbers that the new ones would get, and no send succeeded until the scrub had
    passed. Where a row remembers the conversation, the loss is counted."""
    store = kept.store
    for _ in range(3):
        await kept.send(kept.entry(b"old"))
    keys = store.keys.conversation(APP_ID, TALK)
    store.raw.delete(keys.head, keys.due)
    if not known:
        store.raw.delete(store.keys.inbox(APP_ID, ANN).rows, store.keys.inbox(APP_ID, BOB).rows)
        store.raw.delete(store.keys.inbox(APP_ID, ANN).refs, store.keys.inbox(APP_ID, BOB).refs)
    store.clock.advance(1)
    assert [(await kept.send(kept.entry(b"new"))).seq for _ in range(2)] == [1, 2]
    assert kept.talks.fanout.lost_keys == known
    page = await kept.talks.page(APP_ID, store.tier, TALK, store.clock.ms, 10)
    assert [(m.seq, m.record, page.lost) for m in page.messages] == [(2, b"new", 0), (1, b"new", 0)]
    refs = (await kept.inboxes.page(APP_ID, BOB, 0)).references
    waiting = await kept.inboxes.messages(APP_ID, store.tier, BOB, refs, store.clock.ms)
    shown = [w.message and w.message.record for w in waiting]
    assert shown == ([None, None, None, None] if known else []) + [b"new", b"new"]


async def test_a_repeat_of_a_lost_message_names_no_other_message(kept: Kept) -> None:
    """G2, G3: the number of the first was remembered, and the head lost. The repeat was answered
    with that number, which is another message's by now; and nobody got it."""
    entry = kept.entry(b"mine")
    await kept.send(entry)
    kept.store.raw.delete(kept.store.keys.conversation(APP_ID, TALK).head)
    assert await kept.talks.sent(APP_ID, TALK, entry.id) is None
    await kept.send(kept.entry(b"other"))
    assert await kept.talks.sent(APP_ID, TALK, entry.id) is None
    again = await kept.send(replace(entry, time_ms=kept.store.clock.ms))
    assert (again.seq, again.repeated) == (2, False)
    found = await kept.talks.sent(APP_ID, TALK, entry.id)
    assert found is not None and found.seq == 2
    assert (await kept.send(entry)).repeated


async def test_a_repeat_begins_another_numbering_than_its_first(kept: Kept) -> None:
    """G2, G3: the first message of a conversation named its numbering; the head was lost, and its
    repeat gave the new numbering the same name."""
    entry = kept.entry(b"mine")
    await kept.send(entry)
    kept.store.raw.delete(kept.store.keys.conversation(APP_ID, TALK).head)
    again = await kept.send(replace(entry, record=b"again"))
    assert (again.seq, again.repeated) == (1, False)
    page = await kept.talks.page(APP_ID, kept.store.tier, TALK, kept.store.clock.ms, 10)
    assert [m.record for m in page.messages] == [b"again"]


async def test_an_old_reference_shows_no_other_message(kept: Kept) -> None:
    """G3, G5: the conversation's primary came back older and inboxes did not: a device that had not
    read yet was given the new message 2 under the inbox number of the one that is lost, and again
    under its own."""
    store, head = kept.store, kept.store.keys.conversation(APP_ID, TALK).head
    await kept.send(kept.entry(b"one"))
    chunk = chunk_of(store.raw, head)
    before: Any = store.raw.dump(head), store.raw.dump(chunk)
    await kept.send(kept.entry(b"lost"))
    for key, value in zip((head, chunk), before, strict=True):
        store.raw.restore(key, 0, value, replace=True)
    store.clock.advance(1)
    assert (await kept.send(kept.entry(b"two"))).seq == 2
    refs = (await kept.inboxes.page(APP_ID, BOB, 0)).references
    waiting = await kept.inboxes.messages(APP_ID, store.tier, BOB, refs, store.clock.ms)
    assert [w.message and w.message.record for w in waiting[:2]] == [b"one", None]


async def test_what_was_settled_of_a_lost_numbering_settles_no_other(kept: Kept) -> None:
    """G1: everyone had number 1; the head was lost, and another gateway died after it had given 1
    again. The word on the first 1 took away that somebody looks after the second."""
    store = kept.store
    await kept.send(kept.entry(b"one"))
    store.raw.delete(store.keys.conversation(APP_ID, TALK).head)
    dying = ConversationStore(store.link, store.keys)
    await dying.send(APP_ID, store.tier, dying.direct(APP_ID, ANN, BOB), kept.entry(b"new"))
    await kept.talks.fanout.settle(store.clock.ms)
    head: Any = store.raw.hget(store.keys.conversation(APP_ID, TALK).head, "h")
    assert int.from_bytes(head[14:18], "big") == 0
    await dying.fanout.settle(store.clock.ms)
    head = store.raw.hget(store.keys.conversation(APP_ID, TALK).head, "h")
    assert int.from_bytes(head[14:18], "big") == 1


async def test_an_inbox_that_lacks_very_much_is_told_where_its_history_begins(kept: Kept) -> None:
    """HP-7.5-3: where more is missing than one script may add, the reset says up to where a client
    knows the conversation, so that the history after it has all that is not pushed. It said where
    the pushes go on, and nobody could know of the messages before."""
    for _ in range(300):
        await kept.send(kept.entry())
    box = kept.store.keys.inbox(APP_ID, BOB)
    kept.store.raw.delete(box.rows, box.refs)
    await kept.send(kept.entry())
    first, second, *_, last = (await kept.inboxes.page(APP_ID, BOB, 0, 1000)).references
    assert ((first.seq, first.hole), second.seq, last.seq) == ((0, True), 45, 301)


async def test_a_full_redis_recalls_erases_sweeps_and_reads(one_store: Store) -> None:
    """G12: what frees memory or reads works while sends are refused."""
    kept = Kept(one_store)
    for _ in range(3):
        await kept.send(kept.entry(b"CANARY"))
    raw: Any = one_store.raw
    raw.config_set("maxmemory", 1)
    try:
        with pytest.raises(Unavailable):
            await kept.send(kept.entry())
        to = kept.talks.direct(APP_ID, ANN, BOB)
        notice = kept.entry(b"notice", sender="", flags=0)
        assert await kept.talks.replace(
            APP_ID,
            one_store.tier,
            to,
            1,
            notice,
            expected=0,
            change=11,
            record=b"recalled",
            recall=True,
        )
        assert await kept.talks.erase(APP_ID, TALK, [2]) == 1
        raised = await kept.talks.mark(APP_ID, TALK, BOB, 0, 3)
        assert raised is not None
        assert await kept.store.rows.read_up_to(APP_ID, BOB, ANN, raised) == 0
        now = one_store.clock.ms
        page = await kept.talks.page(APP_ID, one_store.tier, TALK, now, 10)
        assert [m.seq for m in page.messages] == [4, 3, 1]
        later = now + one_store.tier.retention_ms
        swept = await kept.talks.sweep(APP_ID, TALK, later, one_store.tier.retention_ms, PROFILE_MS)
        assert swept.removed == 4
    finally:
        raw.config_set("maxmemory", 0)
    assert not one_store.holds(b"CANARY")


@pytest.mark.parametrize("edited", [False, True])
async def test_catching_up_over_many_buckets_is_bounded_by_their_sum(
    kept: Kept, edited: bool
) -> None:
    """G9: each bucket's answer was bounded, and a page that had messages of thirty of them could be
    thirty times as large: messages that small edits made large, and references without a size."""
    talks, store = kept.talks, kept.store
    senders = [f"a{n}" for n in range(30)]
    assert len({store.keys.conversation(APP_ID, f"d:{s}:{BOB}").bucket for s in senders}) > 5
    for sender in senders:
        to, large = talks.direct(APP_ID, sender, BOB), b"r" * 20_000
        first = kept.entry(b"small" if edited else large, sender)
        await talks.send(APP_ID, store.tier, to, first)
        if edited:
            notice = kept.entry(sender="", flags=0)
            assert await talks.replace(
                APP_ID,
                store.tier,
                to,
                1,
                notice,
                expected=0,
                change=1,
                record=large,
                recall=False,
            )
    refs = store.keys.inbox(APP_ID, BOB).refs
    if not edited:  # as who heals writes them: nobody says how large the message is
        raw: Any = store.raw
        for at, ref in enumerate(raw.lrange(refs, 0, -1)):
            raw.lset(refs, at, ref[:10] + bytes(3) + ref[13:])
    left = (await kept.inboxes.page(APP_ID, BOB, 0)).references
    seen: list[str] = []
    while left:
        with answers(store) as sizes:
            found = await kept.inboxes.messages(APP_ID, store.tier, BOB, left, store.clock.ms)
        assert 0 < sum(sizes) <= READ_BYTES + 21_000
        seen += [w.reference.peer for w in found if w.message and len(w.message.record or b"") > 9]
        left = left[len(found) :]
    assert seen == senders
