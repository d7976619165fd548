"""Rows: unread counts are exact, whoever told the user of what, and whatever the user answered."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest

from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry
from gateway.store.stored import Row
from tests.gateway.store.conftest import APP_ID, Store, apart, message_id

ANN, BOB = "ann", apart("ann")


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
