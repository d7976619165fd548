"""A region whose scripts are all run, on a Redis that may be full."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final

import hiredis
import pytest
from homeport.frames import Cursor
from homeport.ids import ROOM
from redis.exceptions import OutOfMemoryError

from gateway.apps.tiers import Rate
from gateway.redis.errors import Unavailable
from gateway.redis.link import Then
from gateway.redis.node_link import NodeLink
from gateway.redis.opening import open_redis
from gateway.redis.scripts import SCRIPTS, Script
from gateway.redis.servers import server_of
from gateway.redis.url import RedisUrl
from gateway.runtime.probe import Probe
from gateway.security.sealing import Sealer
from gateway.store import stamp, stored
from gateway.store.blocks import BlockStore
from gateway.store.conversations import ConversationStore
from gateway.store.endings import BROKEN_OFF, End, Loss
from gateway.store.entries import NewEntry
from gateway.store.group_state import Change, Member
from gateway.store.groups import GroupStore
from gateway.store.hook_leases import Leases
from gateway.store.hook_log import HookLogs, Outcome
from gateway.store.hook_queue import HookQueue
from gateway.store.inbox import InboxStore
from gateway.store.keys import bucket_of
from gateway.store.lateness import FRESH_MS, Lateness
from gateway.store.owned import OwnedStore
from gateway.store.presence import PresenceStore
from gateway.store.rates import RateStore
from gateway.store.readers import Arrival, Progress, Reader
from gateway.store.region_clock import TIME
from gateway.store.rooms import RoomStore, Start, Top
from gateway.store.rows import RowStore
from gateway.tasks import Tasks
from tests.gateway.redis.conftest import beginning
from tests.gateway.store.conftest import APP_ID, Store, acked, message_id, session

GROUP_ID: Final = "ab" * 16
TALK: Final = "d:ann:bob"
HOOK: Final = "wh_0000000000000000"
NOWHERE: Final = Cursor("", 0, 0)
PHONE: Final = Reader(APP_ID, "bob", "phone", session("s"))
LOOKING: Final = Reader(APP_ID, "bob", "cli", session("e"), ephemeral=True)

ADDING: Final = frozenset({"HSET", "HSETNX", "SADD"})
"""The direct commands that a full Redis refuses: they begin a region, a key or an app, or say that
what a restore had undone is done again."""


class RecordingLink(NodeLink):
    """A link that notes the names of the scripts that it runs."""

    sent: set[str]

    def run_then(self, then: Then, script: Script, *said: Any, **options: Any) -> None:
        self.sent.add(next(name for name, each in SCRIPTS.items() if each is script))
        super().run_then(then, script, *said, **options)

    def run_packed(self, then: Then, command: bytes, bucket: int, *, durable: bool) -> None:
        reader = hiredis.Reader()
        reader.feed(command)
        verb, sha, *_ = reader.gets()
        assert verb == b"EVALSHA"
        self.sent.add(next(name for name, each in SCRIPTS.items() if each.sha.encode() == sha))
        super().run_packed(then, command, bucket, durable=durable)


@contextlib.asynccontextmanager
async def recording(store: Store) -> AsyncIterator[RecordingLink]:
    """A link to the server of `store` that is up."""
    server = server_of(RedisUrl.parse(store.url), "homeport-link")
    link = RecordingLink(server, stamp.Stamp.of(store.keyring), Tasks())
    link.sent = set()
    await link.start()
    link.sent.clear()
    try:
        yield link
    finally:
        await link.aclose()


@contextlib.contextmanager
def full(store: Store) -> Iterator[None]:
    """Redis has reached its maxmemory."""
    store.raw.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            store.raw.set("some", "thing")
        yield
    finally:
        store.raw.config_set("maxmemory", 0)


class Region:
    """All that a gateway does with its Redis, by the side that it must take on a full one."""

    def __init__(self, store: Store, link: NodeLink) -> None:
        self.store, self.link, self.keys = store, link, store.keys
        self.app, self.tier, self.now = store.app, store.app.tier, store.clock.ms
        self.talks = ConversationStore(link, store.keys)
        self.inboxes = InboxStore(link, store.keys, self.talks)
        self.rows = RowStore(link, store.keys)
        self.blocks = BlockStore(link, store.keys)
        self.groups = GroupStore(link, store.keys, self.talks, lambda: store.clock.ms)
        self.rooms = RoomStore(link, store.keys)
        self.presence = PresenceStore(link, store.keys, "abcdef")
        self.rates = RateStore(link, store.keys)
        self.queue, self.logs = HookQueue(link, store.keys), HookLogs(link, store.keys)
        self.leases = Leases(link, store.keys, store.clock.clock())
        self.to = self.talks.direct(APP_ID, "ann", "bob")

    async def live(self) -> None:
        """Everything there is, before Redis is full. Nobody has settled it."""
        await self.attach()
        for _ in range(3):
            await self.send()
        await self.send(ends_ms=self.now + 1000)
        await self.talks.send(APP_ID, self.tier, self.to, self.entry("bob"))
        assert await self.create_group(GROUP_ID)
        await self.rooms.join(self.app, "hall", "ann:d1", Start(1), Top(), self.now)
        await self.blocks.change(APP_ID, self.tier, "ann", "eve", True, self.now)
        await self.note()
        await self.logs.open(APP_ID, HOOK, self.now)
        assert await self.logs.add(APP_ID, HOOK, self.now, b"\1" + bytes(19)) == 1

    async def attach(self) -> Any:
        return await self.inboxes.attach(PHONE, self.tier, Arrival(self.now), self.now)

    def entry(
        self, sender: str = "ann", flags: int = stored.COUNTS, ends: int | None = None
    ) -> Any:
        mid = hashlib.sha256(message_id()).digest()[:16]
        return NewEntry(mid, b"r" * 50, self.now, sender, flags, ends)

    def send(self, ends_ms: int | None = None) -> asyncio.Future[Any]:
        return self.talks.send(APP_ID, self.tier, self.to, self.entry(ends=ends_ms))

    def change(self, seq: int, *, recall: bool) -> Awaitable[bool]:
        notice = self.entry("", 0)
        return self.talks.replace(
            APP_ID,
            self.tier,
            self.to,
            seq,
            notice,
            expected=0,
            change=11 if recall else 1,
            record=b"other",
            recall=recall,
        )

    async def numbers(self) -> tuple[int, int]:
        """How many messages the conversation has had, and how many bob's inbox."""
        page = await self.talks.page(APP_ID, self.tier, TALK, self.now, 1)
        return page.messages[0].seq, (await self.inboxes.page(APP_ID, "bob", 0)).top

    async def probe(self) -> None:
        """Send one probe; raises what it is refused with."""
        answers: list[asyncio.Future[Any]] = []
        run = self.link.run

        class Writer:
            refused = None
            places = self.link.places

            def run(self, *command: Any, durable: bool) -> asyncio.Future[Any]:
                answers.append(run(*command, durable=durable))
                return answers[-1]

        ours = beginning(stamp.RegionIdentity.of(self.store.keyring))
        _, subscriber = open_redis(self.store.url, ours, Tasks())
        clock = self.store.clock.clock()
        sealer = Sealer(self.store.keyring)
        probe = Probe(
            Writer(),
            subscriber,
            lambda bucket: self.keys.probe(bucket, "abcdef"),
            sealer,
            clock,
            lambda _: None,
        )
        probe.send()
        await answers[-1]

    async def create_group(self, group_id: str) -> bool:
        change = Change(b"name", False, {"ann": Member("owner"), "bob": Member("member")})
        version = self.groups.next_version(None)
        return await self.groups.change(
            self.app, group_id, None, change, version, self.entry("", 0)
        )

    def working(self) -> dict[str, Callable[[], Awaitable[Any]]]:
        """What must go on."""
        app, tier, now = APP_ID, self.tier, self.now

        async def page() -> None:
            found = await self.inboxes.page(app, "bob", 0)
            waiting = await self.inboxes.messages(app, tier, "bob", found.references, now)
            assert [each.message is not None for each in waiting][:2] == [True, True]

        async def ack() -> None:
            cursor = Cursor((await self.attach()).start.epoch, now, 1)
            end, loss = End(now, BROKEN_OFF), Loss(now, 1, 2)
            await acked(self.inboxes, PHONE, tier, Progress(cursor, end, loss), now)

        async def marked() -> None:
            raised = await self.talks.mark(app, TALK, "bob", 2, 2)
            assert raised is not None
            assert raised.read_rose
            await self.rows.read_up_to(app, "bob", "ann", raised)

        async def unread() -> None:
            looked_into: list[int] = []
            counts, _ = await self.rows.unread(app, tier, "bob", now, 10, looked_into.append)
            assert (counts["ann"], looked_into) == (2, [3])
            later = now + tier.retention_ms  # some of them are counted anew
            assert await self.rows.unread(app, tier, "bob", later, 10, looked_into.append) == (
                {},
                False,
            )

        async def forgotten() -> None:
            row = await self.rows.row(app, "bob", "ann")
            assert row is not None
            await self.rows.forget(app, "bob", row, 1)

        async def recalled() -> None:
            assert await self.change(2, recall=True)

        async def erased() -> None:
            assert await self.talks.erase(app, TALK, [1]) == 1

        async def signalled() -> None:
            group = await self.groups.current(self.app, GROUP_ID)
            assert group is not None
            await self.groups.signal(self.app, group, b"event")

        return {
            "attach": self.attach,
            "ephemeral": lambda: self.inboxes.attach(LOOKING, tier, Arrival(now), now),
            "check": lambda: self.inboxes.check(PHONE, Cursor("", 0, 0), 0, now + 60_000),
            "page": page,
            "ack": ack,
            "mark": marked,
            "unread": unread,
            "marks": lambda: self.talks.marks(app, TALK, ["bob"]),
            "history": lambda: self.talks.page(app, tier, TALK, now, 10),
            "sizes": lambda: self.talks.sizes(app, [(TALK, 1)]),
            "forget": forgotten,
            "recall": recalled,
            "erase": erased,
            "sent": lambda: self.talks.sent(app, TALK, b"i" * 16),
            "settle": lambda: self.talks.fanout.settle(now),
            "block": lambda: self.blocks.change(app, tier, "bob", "eve", True, now),
            "unblock": lambda: self.blocks.change(app, tier, "ann", "eve", False, now),
            "blocks": lambda: self.blocks.list(app, "ann"),
            "blocked by": lambda: self.blocks.blocked_by(app, "eve"),
            "late": self.late,
            "lease": self.presence.renew,
            "connections": lambda: self.presence.tell(app),
            "presence": lambda: self.presence.read([(app, "bob")]),
            "spend": lambda: self.rates.spend(app, "bob", Rate(10, 10), 1, now),
            "storage": self.talks.storage.settle,
            "groups": lambda: self.groups.of_user(app, "bob", "", 10),
            "group signal": signalled,
            "join": lambda: self.rooms.join(self.app, "new", "bob:d", Start(1), Top(), now),
            "keep": lambda: self.rooms.keep(app, "hall", ["ann:d1"], Top(), now),
            "away": lambda: self.rooms.away(app, "hall", "ann:d1", now),
            "signal": lambda: self.rooms.signal(app, "hall", "ann", b"event", now),
            "leave": lambda: self.rooms.leave(app, "new", "bob:d", now),
            "time": lambda: self.link.run(TIME, (self.keys.clock(0),), ""),
            "publish": lambda: self.link.publish(self.inboxes.channel(app, "bob"), b"event"),
            **self.webhooks(),
        }

    def note(self) -> Awaitable[None]:
        return self.queue.note(APP_ID, "bob", b"\1event", b"seed", self.now)

    def webhooks(self) -> dict[str, Callable[[], Awaitable[Any]]]:
        """Of what goes on, what a dispatcher does, and the sweeper for webhooks."""
        bucket, now = bucket_of(APP_ID, "bob"), self.now

        async def took() -> None:
            waiting = await self.queue.waiting(APP_ID, bucket)
            assert waiting is not None
            await self.queue.took(APP_ID, bucket, waiting)

        return {
            "leases": self.leases.renew,
            "took": took,
            "read": lambda: self.logs.read(APP_ID, HOOK, [1]),
            "done": lambda: self.logs.done(APP_ID, HOOK, now, "ok", [Outcome(1, None, b"a")]),
            "again": lambda: self.logs.again(APP_ID, HOOK, now, 1, 1),
            "sweep of what waits": lambda: self.queue.sweep(APP_ID, bucket, now, 0),
            "sweep of a log": lambda: self.logs.sweep(APP_ID, HOOK, now, 0),
        }

    async def late(self) -> None:
        """The gateway notes that it is late."""
        late = Lateness(self.link, self.keys, "one", lambda: self.now)
        assert not late.fresh(self.now - FRESH_MS - 1)
        if not await self.link.call("ZCARD", self.keys.late):
            raise Unavailable("oom")

    def refused(self) -> dict[str, Callable[[], Awaitable[Any]]]:
        """What is `unavailable` until there is room."""
        app, now = APP_ID, self.now
        mid = message_id()
        return {
            "send": self.send,
            "send with a time to live": lambda: self.send(now + 1000),
            "online only": lambda: self.inboxes.tell(app, mid, {"bob": b"event"}, now, 1000),
            "group": lambda: self.create_group("cd" * 16),
            "edit": lambda: self.change(3, recall=False),
            "heal": lambda: self.talks.heal(app, self.tier, self.to),
            "room": lambda: self.rooms.send(
                self.app, "hall", NewEntry(mid, b"r", now, "ann"), Top()
            ),
            "own": lambda: OwnedStore(self.link, self.keys).add(self.app, "ann", ROOM, "r", now),
            "room policy": lambda: self.rooms.set(self.app, "mine", "ann", "admins", ["ann"], now),
            "event": self.note,
            "event in a log": lambda: self.logs.add(app, HOOK, now, b"\1" + bytes(19)),
            "probe": self.probe,
            "status": lambda: self.presence.set(app, "bob", "phone", "away", b"tea"),
        }
