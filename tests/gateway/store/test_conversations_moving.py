"""Conversations and inboxes in a cluster whose slots move while messages flow."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from gateway.redis.errors import Unavailable
from gateway.redis.slots import slot_of
from gateway.security.keyring import Keyring
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry
from gateway.store.inbox import InboxStore
from tests.clusters import START_S, RedisCluster
from tests.gateway.redis.conftest import until
from tests.gateway.store.conftest import APP_ID, apart, message_id, open_store, together

ANN = "ann"


class Sender:
    """Sends messages to a conversation, 20 of them at once, each until it is accepted."""

    def __init__(self, store: Any, talks: ConversationStore, to: str) -> None:
        self._store, self._talks = store, talks
        self.to = talks.direct(APP_ID, ANN, to)
        self.name = f"d:{':'.join(sorted((ANN, to)))}"
        self.accepted: dict[int, bytes] = {}
        """The records, by the numbers that were answered."""
        self.refused = 0
        self.pages = 0
        self.doubled: list[int] = []

    async def send(self, number: int) -> None:
        """One message, until it is accepted."""
        entry = NewEntry(message_id(), b"%d" % number, self._store.clock.ms, ANN)
        while True:
            try:
                stored = await self._talks.send(APP_ID, self._store.tier, self.to, entry)
            except Unavailable:
                self.refused += 1
                await asyncio.sleep(0)
                continue
            if stored.seq in self.accepted:
                self.doubled.append(stored.seq)
            self.accepted[stored.seq] = entry.record
            return

    async def read(self, stop: asyncio.Event) -> None:
        """The newest page of the history, until `stop`: it has no gap."""
        while not stop.is_set():
            try:
                page = await self._talks.page(
                    APP_ID, self._store.tier, self.name, self._store.clock.ms, 100
                )
            except Unavailable:
                self.refused += 1
                await asyncio.sleep(0)
                continue
            assert page.lost == 0
            seqs = [m.seq for m in page.messages]
            assert seqs == list(range(seqs[0], seqs[0] - len(seqs), -1)) if seqs else True
            self.pages += 1

    async def flow(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        room = asyncio.Semaphore(20)
        async with asyncio.TaskGroup() as tasks:
            for number in itertools.count():
                if stop.is_set():
                    return
                await room.acquire()
                tasks.create_task(self.send(number)).add_done_callback(lambda _: room.release())


@pytest.mark.parametrize("way", ["move", "move_by_key", "move_at_once"])
async def test_slots_move_while_conversations_are_written_to(
    cluster_url: str, _cluster: RedisCluster, keyring: Keyring, way: str
) -> None:
    """G1, G2, G3: a script makes the names of chunks itself, so while a slot moves, the head may be
    here and the chunk there. What is accepted is there once, under the number that was answered,
    numbers have no gap in the conversation nor in an inbox, and every reference has its message: in
    a conversation beside both inboxes, and in one of two buckets; over several chunks, there and
    back."""
    async with open_store(cluster_url, keyring, tier="enterprise") as store:
        talks = ConversationStore(store.link, store.keys)
        inboxes = InboxStore(store.link, store.keys, talks)
        flows = {user: Sender(store, talks, user) for user in (together(ANN), apart(ANN))}
        slots = {slot_of(sender.to.keys.head): sender for sender in flows.values()}
        slots |= {slot_of(store.keys.inbox(APP_ID, user).rows): flows[user] for user in flows}
        stop = asyncio.Event()

        async def all_flow() -> None:
            before = {user: len(sender.accepted) for user, sender in flows.items()}
            await until(lambda: all(len(flows[u].accepted) > before[u] + 70 for u in flows))

        sending = [asyncio.create_task(sender.flow(stop)) for sender in flows.values()]
        sending += [asyncio.create_task(sender.read(stop)) for sender in flows.values()]
        try:
            for slot in slots:
                home = _cluster.owner(slot)
                away = next(node for node in _cluster.primaries() if node is not home)
                for to in (away, home):
                    await all_flow()
                    await asyncio.to_thread(getattr(_cluster, way), slot, to)
            await all_flow()
        finally:
            stop.set()
            async with asyncio.timeout(START_S):
                await asyncio.gather(*sending)
        print({user: (len(s.accepted), s.refused, s.pages) for user, s in flows.items()})
        for user, sender in flows.items():
            count = len(sender.accepted)
            assert sender.doubled == []
            assert sorted(sender.accepted) == list(range(1, count + 1))
            assert count > 3 * 128
            found = await read(talks, sender.name, count)
            assert found == [sender.accepted[seq] for seq in range(1, count + 1)]
            assert await talks.top(APP_ID, sender.name) == count
            references = await told(inboxes, user)
            assert [r.number for r in references] == list(range(1, count + 1))
            assert [(r.seq, r.hole) for r in references] == [
                (seq, False) for seq in range(1, count + 1)
            ]
            row = await store.rows.row(APP_ID, user, ANN)
            assert row is not None
            assert (row.top, row.unread) == (count, count)
        mine = await told(inboxes, ANN)
        assert [r.number for r in mine] == list(range(1, len(mine) + 1))
        for user, sender in flows.items():
            told_of = [r.seq for r in mine if r.peer == user]
            assert told_of == list(range(1, len(sender.accepted) + 1))


async def read(talks: ConversationStore, name: str, count: int) -> list[bytes]:
    """The records of the messages 1 to `count`; none is large."""
    found: list[bytes] = []
    for start in range(1, count + 1, 100):
        numbers = range(start, min(start + 100, count + 1))
        (part,) = await talks.read(APP_ID, [(name, numbers)])
        found += [b"" if m is None else m.record or b"" for m in part]
    return found


async def told(inboxes: InboxStore, user: str) -> list[Any]:
    """All that an inbox refers to."""
    found: list[Any] = []
    while True:
        page = await inboxes.page(APP_ID, user, len(found), 1000)
        found += page.references
        if len(found) >= page.top or not page.references:
            return found
