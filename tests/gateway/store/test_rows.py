"""Rows: unread counts are exact, and no call reads all rows of a user who has many."""

from __future__ import annotations

import asyncio
import hashlib
import struct
from typing import Any

import pytest

from gateway.redis.scripts import SCRIPTS
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry
from gateway.store.groups import GroupStore
from gateway.store.inbox import PROFILE_MS
from gateway.store.rows import SLICE
from gateway.store.stored import Row
from tests.gateway.store.conftest import APP_ID, Store, apart, message_id

ANN, BOB = "ann", apart("ann")
HOUR_MS = 3_600_000


class Chat:
    """Ann and bob, whose inboxes are in two buckets."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.to = store.talks.direct(APP_ID, ANN, BOB)

    async def say(self, sender: str, count: int = 1, talks: ConversationStore | None = None) -> int:
        """Messages, one after the other; returns the number of the last."""
        for _ in range(count):
            mid = hashlib.sha256(message_id()).digest()[:16]
            entry = NewEntry(mid, b"record", self.store.clock.ms, sender)
            stored = await (talks or self.store.talks).send(APP_ID, self.store.tier, self.to, entry)
        return stored.seq

    async def mark(self, user: str, seq: int) -> None:
        """The user has read up to there."""
        other = BOB if user == ANN else ANN
        raised = await self.store.talks.mark(
            APP_ID, "d:" + ":".join(sorted((ANN, BOB))), user, 0, seq
        )
        assert raised is not None
        await self.store.rows.read_up_to(APP_ID, user, other, raised)

    async def unread(self, user: str) -> tuple[int, list[int]]:
        """The user's count, and how many messages had to be looked into."""
        looked_into: list[int] = []
        counts, _ = await self.store.rows.unread(
            APP_ID, self.store.tier, user, self.store.clock.ms, 10, looked_into.append
        )
        return counts.get(BOB if user == ANN else ANN, 0), looked_into

    async def row(self, user: str) -> Row:
        """The user's row."""
        row = await self.store.rows.row(APP_ID, user, BOB if user == ANN else ANN)
        assert row is not None
        return row

    def loses(self, user: str) -> None:
        """Redis loses the user's inbox: what somebody says next tells of all again."""
        keys = self.store.keys.inbox(APP_ID, user)
        self.store.raw.delete(keys.rows, keys.refs)


@pytest.fixture
def chat(store: Store) -> Chat:
    """On each kind of Redis, a cluster too."""
    return Chat(store)


@pytest.mark.parametrize("user", [ANN, BOB])
@pytest.mark.parametrize("healed", ["by the other one", "by the sweeper"])
async def test_ones_own_messages_are_not_unread_whoever_tells_of_them(
    chat: Chat, user: str, healed: str
) -> None:
    """HP-14.3-1, HP-14.3-8: the gateway of a sender died before it told their own inbox, and
    whoever did it then said nothing of the author: the sender's own messages were unread."""
    other = BOB if user == ANN else ANN
    await chat.say(other, 3)
    await chat.say(user, 2)
    await chat.say(other)
    await chat.say(user)
    chat.loses(user)
    if healed == "by the sweeper":
        await chat.store.talks.heal(APP_ID, chat.store.tier, chat.to)
    else:
        await chat.say(other)
    unread = 4 if healed == "by the sweeper" else 5
    assert (await chat.unread(user))[0] == unread
    assert await chat.unread(user) == (unread, [0])  # the row keeps it
    await chat.say(user)
    await chat.say(other)
    assert await chat.unread(user) == (unread + 1, [0])


async def test_a_count_is_exact_after_many_answers(chat: Chat) -> None:
    """HP-14.3-8: after the seventeenth answer, what stood before the first was taken as read."""
    for _ in range(40):
        await chat.say(ANN, 2)
        await chat.say(BOB)
    assert await chat.unread(BOB) == (80, [0])
    await chat.mark(BOB, 60)  # 20 answers back
    assert (await chat.unread(BOB))[0] == 40
    assert await chat.unread(BOB) == (40, [0])
    await chat.say(BOB, 3)
    await chat.say(ANN)
    await chat.mark(BOB, 118)
    assert (await chat.unread(BOB))[0] == 2
    await chat.mark(BOB, 124)
    assert await chat.unread(BOB) == (0, [0])


async def test_authors_that_need_many_calls_are_all_found(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-14.3-8, G9: one call looks at so many messages, and at so many bytes; the next goes on."""
    monkeypatch.setattr("gateway.store.rows.LOOKS", 8)
    for _ in range(50):
        await chat.say(ANN, 2)
        await chat.say(BOB)
    chat.loses(BOB)
    await chat.say(ANN)
    assert await chat.unread(BOB) == (101, [151])
    monkeypatch.setattr("gateway.store.rows.LOOKED_BYTES", 1)
    chat.loses(BOB)
    await chat.say(ANN)
    assert await chat.unread(BOB) == (102, [152])


async def test_what_is_past_its_time_takes_its_answers_along(chat: Chat) -> None:
    """HP-14.3-6, HP-14.3-8: the user's own messages that are past their time are subtracted from
    nothing any more; it is counted anew, for all that may have to be looked into."""
    await chat.say(ANN, 3)
    await chat.say(BOB, 2)
    chat.store.clock.now += 1
    await chat.say(ANN, 4)
    await chat.say(BOB, 1)
    chat.store.clock.now += chat.store.tier.retention_ms / 1000 - 1
    assert await chat.unread(BOB) == (4, [10])
    assert await chat.unread(BOB) == (4, [0])


async def test_gateways_that_overlap_leave_nothing_to_look_into(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-14.3-8, G9: the later message of two gateways came first to an inbox, which then did not
    know who wrote the earlier one. The earlier one's own call says it, and nothing is read."""
    store = chat.store
    await chat.say(ANN)
    late: list[Any] = []
    send = store.link.run_packed

    def held(*said: Any, **options: Any) -> None:
        late.append(lambda: send(*said, **options))

    with monkeypatch.context() as patch:
        patch.setattr(store.link, "run_packed", held)
        slow = [asyncio.create_task(chat.say(who)) for who in (BOB, ANN)]
        while len(late) < 2:
            await store.link.call("PING")
    await chat.say(ANN)
    assert (await chat.row(BOB)).unsure == (1, 3)
    await chat.say(BOB)
    for call in late:
        call()
    await asyncio.gather(*slow)
    row = await chat.row(BOB)
    assert (row.unsure, row.unread, row.own) == ((0, 0), 3, 2)
    assert await chat.unread(BOB) == (3, [0])


PEERS = 3 * SLICE
"""Conversations of a user who has more than one call looks at."""


class Many:
    """Bob, who has many conversations: direct ones, and every third a group that he is in."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.keys = store.keys.inbox(APP_ID, BOB)
        self.names = [f"g:{n:032x}" if n % 3 == 0 else f"u{n}" for n in range(PEERS)]
        now = store.clock.ms
        # Two have each time; half of them are read, and the time of the last is an hour ago.
        self.times = {name: now - HOUR_MS - 10 * (n // 2) for n, name in enumerate(self.names)}
        self.newest = sorted(self.names, key=lambda name: (-self.times[name], name))
        self.unread = [name for n, name in enumerate(self.names) if n % 2]
        rows: Any = {
            name: struct.pack(
                ">IIIHIIHIIIIII", 1, 1, 1, *divmod(self.times[name], 2**32), n % 2 == 0, *[0] * 7
            )
            for n, name in enumerate(self.names)
        }
        store.raw.hset(self.keys.rows, "#", struct.pack(">IHIHI", 1, 0, 1, 0, 1))
        store.raw.hset(self.keys.rows, mapping=rows)
        store.raw.zadd(self.keys.due, {self.keys.member: now})

    def answers(self) -> list[int]:
        """How many values each call answers from now on."""
        sizes: list[int] = []
        run = self.store.link.run

        async def counted(*said: Any, **options: Any) -> Any:
            reply = await run(*said, **options)
            sizes.append(len(reply) if isinstance(reply, list) else 1)
            return reply

        self.store.link.run = counted  # type: ignore[method-assign, assignment]
        return sizes


@pytest.fixture
def many(store: Store) -> Many:
    """On each kind of Redis."""
    return Many(store)


async def test_a_list_is_read_in_slices(many: Many) -> None:
    """HP-13.5-1, G9: one script read and sorted all rows of a user, 300 ms for 20,000 of them, and
    everybody waited. A call looks at some, and the pages are what they were."""
    sizes, seen, paid = many.answers(), list[str](), list[int]()
    more, after = True, None
    while more:
        rows, more = await many.store.rows.rows(APP_ID, BOB, 100, after=after, pay=paid.append)
        seen += [row.peer for row in rows]
        after = rows[-1].time_ms, rows[-1].peer
    assert seen == many.newest
    pages = -(-PEERS // 100)
    assert paid == [PEERS + 1 - SLICE] * pages
    assert len(sizes) >= pages * 2
    assert max(sizes) <= 2 + 2 * 101


async def test_unread_is_counted_in_slices(many: Many) -> None:
    """HP-14.3-5, G9: of all conversations, whatever their number."""
    sizes = many.answers()
    found, more = await many.store.rows.unread(
        APP_ID, many.store.tier, BOB, many.store.clock.ms, 200, lambda _: None
    )
    assert [*found] == [name for name in many.newest if name in set(many.unread)][:200]
    assert (set(found.values()), more) == ({1}, True)
    assert max(sizes) <= 2 + 2 * 201


async def test_groups_are_found_in_slices(many: Many) -> None:
    """HP-11.5-2, G9: in the order of their ids, each once."""
    groups = GroupStore(
        many.store.link, many.store.keys, many.store.talks, lambda: many.store.clock.ms
    )
    wanted = sorted(name[2:] for name in many.names if name.startswith("g:"))
    for n, group in enumerate(wanted):
        state = many.store.keys.group(APP_ID, group).state
        many.store.raw.hset(state, mapping={"v": 1, "n": b"", "c": 1, f"u:{BOB}": f"m {n} 0"})
    many.answers()
    seen, after, paid = list[str](), "", list[int]()
    while True:
        found, following = await groups.of_user(APP_ID, BOB, after, 50, paid.append)
        seen += [each.id for each in found]
        if following is None:
            break
        after = following
    assert seen == wanted
    assert set(paid) == {PEERS + 1 - SLICE}


async def test_rows_are_swept_in_slices(many: Many) -> None:
    """G4, G9: each goes an hour after its last message's time, but for those of groups that the
    user is in; and nothing is left once the app is gone."""
    store = many.store
    sizes = many.answers()
    kept_ms = store.tier.retention_ms + HOUR_MS
    at = sorted(many.times.values())[PEERS // 2] + kept_ms
    await store.inboxes.sweep(APP_ID, BOB, at, store.tier.retention_ms, PROFILE_MS)
    left: Any = store.raw.hkeys(many.keys.rows)
    wanted = {n for n in many.names if n.startswith("g:") or many.times[n] + kept_ms > at}
    assert {name.decode() for name in left} - {"#", "#t"} == wanted
    assert len(sizes) >= 3
    going = [time for name, time in many.times.items() if name in wanted and name[:2] != "g:"]
    assert store.due(BOB) == min(going) + kept_ms
    await store.inboxes.sweep(
        APP_ID, BOB, at + 10 * PROFILE_MS, store.tier.retention_ms, PROFILE_MS
    )
    assert store.raw.hlen(many.keys.rows) == 2 + PEERS // 3
    await store.inboxes.sweep(APP_ID, BOB, at + 10 * PROFILE_MS, 0, 0)
    assert not store.raw.exists(many.keys.rows)
    assert store.due(BOB) is None


async def test_a_row_that_comes_while_an_inbox_is_swept_stays(chat: Chat) -> None:
    """G4: between the walk through the rows and the end of the sweep, somebody writes to a user of
    whom nothing else was left."""
    store = chat.store
    await chat.say(ANN)
    store.clock.now += (PROFILE_MS + store.tier.retention_ms) / 1000 + 3600
    run, swept = store.link.run, SCRIPTS["inbox_sweep"]

    async def written_to(script: Any, *said: Any, **options: Any) -> Any:
        if script is swept:
            await chat.say(ANN)
            store.raw.delete(store.keys.inbox(APP_ID, BOB).refs)  # all devices have acknowledged it
        return await run(script, *said, **options)

    store.link.run = written_to  # type: ignore[method-assign, assignment]
    await store.inboxes.sweep(APP_ID, BOB, store.clock.ms, store.tier.retention_ms, PROFILE_MS)
    assert (await chat.row(BOB)).top == 2
    assert store.due(BOB) is not None
