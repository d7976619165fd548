"""The scripts of watermarks and unread counts, on both stores."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.apps.tiers import TIERS
from gateway.security.keyring import Keyring
from gateway.store import stamp
from gateway.store.inbox import PROFILE_MS, Inboxes, Place
from gateway.store.keys import Keys
from gateway.store.link import Link, script
from gateway.store.receipts import Marks, Outcome, ReceiptStore
from protocol.limits import MAX_UNREAD

APP = "02" + "0" * 30
TALK = "d:alice:bob"
PRO = TIERS["pro"]


class Store:
    """A link with everything on it, and the store seen from outside."""

    def __init__(self, link: Link, redis_client: Any) -> None:
        self.keys = Keys("sg")
        self.link = link
        self.inboxes = Inboxes(link, self.keys)
        self.receipts = ReceiptStore(link, self.keys)
        self.redis = redis_client

    async def deliver(
        self, time: int, sender: str = "alice", to: str = "bob", conversation: str = TALK
    ) -> None:
        """A message of `time`."""
        users = (sender, to) if sender != to else (sender,)
        place = Place(conversation, sender, time)
        await self.inboxes.deliver(APP, PRO, os.urandom(16), users, b"sealed", time, place)

    async def unread(self, user: str = "bob") -> dict[str, int]:
        """What is unread, of at most 10 conversations."""
        return (await self.receipts.unread(APP, user, 10))[0]

    async def read(self, time: int, user: str = "bob") -> Outcome:
        """Read up to `time`."""
        return await self.receipts.read(APP, user, TALK, time, time)


@pytest.fixture
def outside(store_url: str) -> Iterator[Any]:
    """The store, seen from outside."""
    with redis.Redis.from_url(store_url) as client:
        yield client


@pytest.fixture
async def store(store_url: str, outside: Any, tmp_path: Path) -> AsyncIterator[Store]:
    """See `Store`."""
    Keyring.create(tmp_path / "keys.json", "sg")
    keyring = Keyring.load(tmp_path / "keys.json", "sg")
    link = Link(store_url, stamp.Identity.of(keyring))
    await link.start()
    try:
        yield Store(link, outside)
    finally:
        await link.aclose()


async def test_what_others_wrote_is_counted_and_what_one_wrote_is_not(store: Store) -> None:
    """HP-14.3-1."""
    await store.deliver(1)
    await store.deliver(2)
    await store.deliver(3, "bob", "alice")
    assert await store.unread("bob") == {TALK: 2}
    assert await store.unread("alice") == {TALK: 1}


async def test_a_message_to_oneself_is_not_unread(store: Store) -> None:
    """HP-14.3-1: it is of nobody else; but it is there to be marked."""
    await store.deliver(5, "bob", "bob", "d:bob:bob")
    assert await store.unread("bob") == {}
    assert await store.receipts.read(APP, "bob", "d:bob:bob", 5, 5) is Outcome.OK


async def test_a_repeated_send_is_counted_once_and_keeps_its_first_time(store: Store) -> None:
    """HP-14.3-1 and G2: the answer is the first time, also where a later one was given."""
    for time in (10, 11):
        stored = store.inboxes.deliver(
            APP, PRO, b"m" * 16, ("alice", "bob"), b"sealed", 5, Place(TALK, "alice", time)
        )
        assert await stored == 10
    assert await store.unread("bob") == {TALK: 1}


async def test_a_message_without_a_place_is_in_no_conversation(store: Store) -> None:
    """A notice: delivered, and counted nowhere."""
    stored = store.inboxes.deliver(APP, PRO, b"m" * 16, ("bob",), b"sealed", 77)
    assert await stored == 77
    assert await store.unread("bob") == {}
    assert not store.redis.exists(store.keys.user(APP, "bob").talks)


@pytest.mark.parametrize(("read", "left"), [(1, 2), (10, 2), (15, 2), (20, 1), (29, 1), (30, 0)])
async def test_reading_takes_out_what_is_up_to_it_and_only_that(
    store: Store, read: int, left: int
) -> None:
    """HP-14.3-2: between two messages and on one; again changes nothing."""
    for time in (10, 20, 30):
        await store.deliver(time)
    expected = {TALK: left + (read < 10)} if left else {}
    for _ in range(2):
        assert await store.read(read) is Outcome.OK
        assert await store.unread() == expected
    await store.deliver(40)
    assert await store.unread() == {TALK: left + (read < 10) + 1}


async def test_a_message_from_a_clock_behind_stays_unread_until_the_next_mark(
    store: Store,
) -> None:
    """HP-14.3-2, HP-14.3-1: it came after the mark, so it is unread, whatever its time."""
    await store.deliver(50)
    await store.read(50)
    await store.deliver(40)
    assert await store.unread() == {TALK: 1}
    await store.deliver(60)
    await store.deliver(45)
    assert await store.unread() == {TALK: 3}
    await store.read(50)
    assert await store.unread() == {TALK: 1}  # the one of 60, which stands between two others
    await store.read(60)
    assert await store.unread() == {}


async def test_counts_are_exact_up_to_999(store: Store) -> None:
    """HP-14.3-3: 1000 is the last that is counted, and from it down every number is exact."""
    for time in range(1, MAX_UNREAD):
        await store.deliver(time)
    assert await store.unread() == {TALK: 999}
    for time in range(MAX_UNREAD, MAX_UNREAD + 50):
        await store.deliver(time)
    assert await store.unread() == {TALK: 1000}
    assert await store.read(20) is Outcome.OK  # 1029 are left
    assert await store.unread() == {TALK: 1000}
    await store.read(51)  # 998 are
    assert await store.unread() == {TALK: 998}
    await store.read(1000)
    assert await store.unread() == {TALK: 49}


async def test_what_waits_is_bounded(store: Store) -> None:
    """G9: a conversation that nobody reads costs no more than its last thousand times."""
    for time in range(1, MAX_UNREAD + 100):
        await store.deliver(time)
    waiting = store.keys.user(APP, "bob").waiting(TALK)
    assert store.redis.llen(waiting) == MAX_UNREAD
    assert store.redis.memory_usage(waiting) < 20_000


async def test_reading_ahead_or_elsewhere_changes_nothing(store: Store) -> None:
    """HP-14.1-6, HP-14.1-7."""
    await store.deliver(10)
    assert await store.read(11) is Outcome.AHEAD
    assert await store.receipts.read(APP, "bob", "d:bob:carol", 1, 1) is Outcome.NONE
    assert await store.read(10, "carol") is Outcome.NONE
    assert await store.unread() == {TALK: 1}


async def test_an_own_message_may_be_the_newest_that_is_read(store: Store) -> None:
    """HP-14.1-6: the newest of the conversation, whoever wrote it."""
    await store.deliver(10)
    await store.deliver(20, "bob", "alice")
    assert await store.read(20) is Outcome.OK
    assert await store.unread() == {}


async def test_delivered_leaves_the_unread_as_they_are(store: Store) -> None:
    """HP-14.3-2: only `read` takes out."""
    await store.deliver(10)
    assert await store.receipts.read(APP, "bob", TALK, 10, 0) is Outcome.OK
    assert await store.unread() == {TALK: 1}


async def test_watermarks_only_rise(store: Store) -> None:
    """HP-14.1-3: each by itself, and a repetition raises nothing."""
    steps = [
        (Marks(10, 0), (10, 0, False, True)),
        (Marks(10, 0), (10, 0, False, False)),
        (Marks(10, 10), (10, 10, True, True)),
        (Marks(30, 20), (30, 20, True, True)),
        (Marks(25, 25), (30, 25, True, True)),
        (Marks(9, 9), (30, 25, False, False)),
        (Marks(2**53 - 1, 0), (2**53 - 1, 25, False, True)),
    ]
    for marks, (delivered, read, read_rose, rose) in steps:
        raised = await store.receipts.mark(APP, "bob", TALK, marks)
        assert (raised.marks, raised.read_rose, raised.rose) == (
            Marks(delivered, read),
            read_rose,
            rose,
        )
    assert await store.receipts.marks(APP, TALK, ["alice", "bob"]) == {"bob": Marks(2**53 - 1, 25)}
    assert await store.receipts.marks(APP, TALK, []) == {}


async def test_watermarks_live_as_long_as_a_profile(store: Store) -> None:
    """HP-14.1-9: 180 days from the last mark, and so do the times that wait."""
    await store.deliver(10)
    await store.receipts.mark(APP, "bob", TALK, Marks(10, 0))
    marks = store.keys.marks(APP, TALK)
    for key in (marks, store.keys.user(APP, "bob").waiting(TALK)):
        assert PROFILE_MS - 60_000 < store.redis.pttl(key) <= PROFILE_MS
    store.redis.pexpire(marks, 1000)
    await store.receipts.mark(APP, "alice", TALK, Marks(10, 0))
    assert store.redis.pttl(marks) > PROFILE_MS - 60_000


async def test_only_so_many_conversations_are_told_the_newest_first(store: Store) -> None:
    """HP-14.3-5: and that there are more is said."""
    talks = {f"d:bob:u{number}": 100 + number for number in range(12)}
    for conversation, time in talks.items():
        await store.deliver(time, conversation.rpartition(":")[2], "bob", conversation)
    await store.deliver(500, "u3", "bob", "d:bob:u3")
    # Newer ones, in which nothing is unread.
    for number in range(20, 25):
        await store.deliver(600, "bob", f"u{number}", f"d:bob:u{number}")
    counts, more = await store.receipts.unread(APP, "bob", 3)
    assert (counts, more) == ({"d:bob:u3": 2, "d:bob:u11": 1, "d:bob:u10": 1}, True)
    counts, more = await store.receipts.unread(APP, "bob", 12)
    assert (len(counts), more) == (12, False)


async def test_thousands_of_conversations_are_looked_through_in_pages(store: Store) -> None:
    """HP-14.3-5: the unread ones are found behind many read ones."""
    keys = store.keys.user(APP, "bob")
    store.redis.zadd(keys.talks, {f"d:bob:u{number}": number for number in range(6000)})
    store.redis.hset(keys.unread, mapping={f"d:bob:u{n}": 1 for n in range(0, 6000, 1000)})
    counts, more = await store.receipts.unread(APP, "bob", 2)
    assert (list(counts), more) == (["d:bob:u5000", "d:bob:u4000"], True)


async def test_a_profile_that_goes_takes_its_counts_along(store: Store) -> None:
    """180 days unused, or of a deleted app: an inbox and its counts are forgotten together."""
    await store.deliver(10)
    keys = store.keys.user(APP, "bob")
    assert store.redis.exists(keys.talks, keys.unread) == 2
    await store.link.run(
        script("sweep"),
        (keys.inbox, keys.meta, keys.due, keys.talks, keys.unread),
        10 + PROFILE_MS,
        PRO.retention_ms,
        PROFILE_MS,
        keys.member,
    )
    assert store.redis.exists(keys.talks, keys.unread, keys.inbox, keys.meta) == 0


async def test_all_that_one_script_touches_lies_in_one_bucket(store: Store) -> None:
    """The same code runs on Redis Cluster: one hash tag a call."""
    keys = store.keys.user(APP, "bob")
    tags = {name.split("{")[1].split("}")[0] for name in keys.delivered(TALK)}
    assert tags == {str(keys.bucket)}
