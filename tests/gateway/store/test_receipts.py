"""The scripts of watermarks and unread counts, on both stores."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from homeport.limits import MAX_UNREAD

from gateway.apps.tiers import TIERS
from gateway.redis.link import Link
from gateway.security.keyring import Keyring
from gateway.store import stamp
from gateway.store.entries import NewMessage
from gateway.store.inbox import PROFILE_MS, InboxStore
from gateway.store.keys import Keys
from gateway.store.receipts import Marks, Raised, ReceiptStore
from gateway.store.scripts import script
from tests.gateway.redis.conftest import node_link

APP = "02" + "0" * 30
TALK = "d:alice:bob"
PRO = TIERS["pro"]


class Store:
    """A link with everything on it, and the store seen from outside."""

    def __init__(self, link: Link, redis_client: Any) -> None:
        self.keys = Keys("sg")
        self.link = link
        self.inboxes = InboxStore(link, self.keys)
        self.receipts = ReceiptStore(link, self.keys)
        self.redis = redis_client

    async def deliver(
        self, time: int, sender: str = "alice", to: str = "bob", conversation: str = TALK
    ) -> None:
        """A message of `time`."""
        users = (sender, to) if sender != to else (sender,)
        await self.inboxes.deliver(
            APP, PRO, users, NewMessage(os.urandom(16), b"sealed", time, conversation, sender)
        )

    async def unread(self, user: str = "bob", most: int = 10, now: int = 2000) -> dict[str, int]:
        """What is unread, of at most `most` conversations."""
        return (await self.receipts.unread(APP, PRO, user, now, most))[0]

    async def mark(self, delivered: int, read: int = 0, user: str = "bob") -> Raised | None:
        """Mark the conversation."""
        return await self.receipts.mark(APP, user, TALK, Marks(delivered, read))

    async def read(self, time: int) -> Raised | None:
        """Read up to `time`."""
        return await self.mark(time, time)


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
    link = node_link(store_url, stamp.RegionIdentity.of(keyring))
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
    """HP-14.3-1: it is of nobody else."""
    await store.deliver(5, "bob", "bob", "d:bob:bob")
    assert await store.unread() == {}


async def test_a_repeated_send_is_counted_once(store: Store) -> None:
    """HP-14.3-1 and G2."""
    for time in (10, 11):
        stored = store.inboxes.deliver(
            APP, PRO, ("alice", "bob"), NewMessage(b"m" * 16, b"sealed", time, TALK, "alice")
        )
        assert await stored == 10
    assert await store.unread() == {TALK: 1}


async def test_a_message_of_no_conversation_is_not_counted(store: Store) -> None:
    """A notice: delivered, and counted nowhere."""
    stored = store.inboxes.deliver(APP, PRO, ("bob",), NewMessage(b"m" * 16, b"sealed", 77))
    assert await stored == 77
    assert not store.redis.exists(store.keys.user(APP, "bob").unread)


async def test_every_member_of_a_group_counts_for_themself(store: Store) -> None:
    """HP-14.3-1: those of one bucket too, behind whose keys lie those of the fences."""
    users = [f"u{number}" for number in range(600)]  # two or three a bucket
    store.redis.set(store.keys.fence(APP, "u7", "team"), 10)
    audience = store.inboxes.audience(APP, users, "g:team")
    await store.inboxes.deliver_to(
        APP, PRO, audience, NewMessage(b"m" * 16, b"sealed", 10, "g:team", "u5"), version=9
    )
    counts = [await store.unread(user) for user in users]
    nothing = [user for user, count in zip(users, counts, strict=True) if not count]
    assert nothing == ["u5", "u7"]  # who sent it, and who is out since version 10
    assert all(count == {"g:team": 1} for count in counts if count)


@pytest.mark.parametrize(("read", "left"), [(1, 2), (10, 2), (15, 2), (20, 1), (29, 1), (30, 0)])
async def test_reading_takes_out_what_is_up_to_it_and_only_that(
    store: Store, read: int, left: int
) -> None:
    """HP-14.3-2: between two messages and on one; again changes nothing."""
    for time in (10, 20, 30):
        await store.deliver(time)
    expected = {TALK: left + (read < 10)} if left else {}
    for _ in range(2):
        await store.read(read)
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
    await store.read(20)  # 1029 are left
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


@pytest.mark.parametrize(("claimed", "reached"), [(10, 10), (15, 10), (20, 20), (2**53 - 1, 20)])
async def test_a_mark_reaches_as_far_as_there_was_something_unread(
    store: Store, claimed: int, reached: int
) -> None:
    """HP-14.1-6: what is claimed beyond is not believed."""
    await store.deliver(10)
    await store.deliver(20)
    assert await store.mark(claimed) == Raised(Marks(reached, 0), read_rose=False, rose=True)


async def test_a_mark_of_nothing_unread_changes_nothing(store: Store) -> None:
    """HP-14.1-6: below the first, in a conversation of others, and of one's own message."""
    await store.deliver(10)
    await store.deliver(20, "bob", "alice")
    assert await store.mark(9, 9) is None
    assert await store.mark(10, 10, user="carol") is None
    await store.read(20)
    assert await store.read(20) is None
    assert await store.receipts.marks(APP, TALK, ["alice", "bob", "carol"]) == {
        "bob": Marks(10, 10)
    }
    assert await store.unread() == {}
    assert await store.unread("alice") == {TALK: 1}


async def test_delivered_leaves_the_unread_as_they_are(store: Store) -> None:
    """HP-14.3-2: only `read` takes out."""
    await store.deliver(10)
    await store.mark(10)
    assert await store.unread() == {TALK: 1}


async def test_watermarks_only_rise(store: Store) -> None:
    """HP-14.1-3: each by itself, and a repetition raises nothing."""
    for time in (10, 20, 30):
        await store.deliver(time)
    steps = [
        (Marks(10, 0), Raised(Marks(10, 0), read_rose=False, rose=True)),
        (Marks(10, 0), Raised(Marks(10, 0), read_rose=False, rose=False)),
        (Marks(30, 10), Raised(Marks(30, 10), read_rose=True, rose=True)),
        (Marks(20, 20), Raised(Marks(30, 20), read_rose=True, rose=True)),
        (Marks(20, 20), None),
        (Marks(30, 0), Raised(Marks(30, 20), read_rose=False, rose=False)),
    ]
    for marks, raised in steps:
        assert await store.receipts.mark(APP, "bob", TALK, marks) == raised
    assert await store.receipts.marks(APP, TALK, ["alice", "bob"]) == {"bob": Marks(30, 20)}
    assert await store.receipts.marks(APP, TALK, []) == {}


async def test_what_a_dying_gateway_left_half_marked_is_marked_again(store: Store) -> None:
    """G10: the watermark rises before the count falls, so the retry finds what it needs."""
    await store.deliver(10)
    keys = store.keys.user(APP, "bob")
    waiting = store.redis.dump(keys.waiting(TALK))
    await store.read(10)
    store.redis.restore(keys.waiting(TALK), 0, waiting)  # it died before the last step
    assert await store.read(10) == Raised(Marks(10, 10), read_rose=False, rose=False)
    assert await store.unread() == {}


async def test_watermarks_live_as_long_as_a_profile(store: Store) -> None:
    """HP-14.1-8: 180 days from the last mark."""
    await store.deliver(10)
    await store.deliver(20)
    marks = store.keys.marks(APP, TALK)
    await store.mark(10)
    assert PROFILE_MS - 60_000 < store.redis.pttl(marks) <= PROFILE_MS
    store.redis.pexpire(marks, 1000)
    await store.mark(20)
    assert store.redis.pttl(marks) > PROFILE_MS - 60_000


async def test_what_is_past_its_time_is_not_counted(store: Store) -> None:
    """HP-14.3-6: to the millisecond, and what waits ends with its newest message."""
    await store.deliver(10)
    await store.deliver(20)
    key = store.keys.user(APP, "bob").waiting(TALK)
    assert PRO.retention_ms - 60_000 < store.redis.pttl(key) <= PRO.retention_ms
    over = 10 + PRO.retention_ms
    assert await store.unread(now=over - 1) == {TALK: 2}
    assert await store.unread(now=over) == {TALK: 1}
    assert await store.unread(now=over + 10) == {}
    assert not store.redis.exists(store.keys.user(APP, "bob").unread)


async def test_only_so_many_conversations_are_told_the_last_first(store: Store) -> None:
    """HP-14.3-5: those that became unread last; and that there are more is said."""
    for number in range(12):
        await store.deliver(100 + number, f"u{number}", "bob", f"d:bob:u{number}")
    await store.deliver(500, "u3", "bob", "d:bob:u3")
    counts, more = await store.receipts.unread(APP, PRO, "bob", 2000, 3)
    assert (list(counts.items()), more) == (
        [("d:bob:u11", 1), ("d:bob:u10", 1), ("d:bob:u9", 1)],
        True,
    )
    counts, more = await store.receipts.unread(APP, PRO, "bob", 2000, 12)
    assert (len(counts), counts["d:bob:u3"], more) == (12, 2, False)


async def test_a_profile_that_goes_takes_its_counts_along(store: Store) -> None:
    """180 days unused, or of a deleted app: an inbox and its counts are forgotten together."""
    await store.deliver(10)
    keys = store.keys.user(APP, "bob")
    assert store.redis.exists(keys.unread)
    await store.link.run(
        script("sweep"),
        keys.swept,
        10 + PROFILE_MS,
        PRO.retention_ms,
        PROFILE_MS,
        keys.member,
    )
    assert store.redis.exists(keys.unread, keys.inbox, keys.meta) == 0
