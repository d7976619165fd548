"""A region's store, driven without a gateway. Time is passed in: `Store.clock` stands still."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
import redis
from homeport.frames import Cursor

from gateway.apps.app import App, change, create_app
from gateway.apps.tiers import Tier
from gateway.redis.link import Link
from gateway.redis.opening import open_redis
from gateway.runtime.core import Core
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store import events
from gateway.store.admin import Admin
from gateway.store.conversations import ConversationStore
from gateway.store.directory import AppDirectory
from gateway.store.endings import BROKEN_OFF, End
from gateway.store.entries import NewEntry, Stored
from gateway.store.groups import GroupStore
from gateway.store.inbox import InboxStore, Standing
from gateway.store.keys import Keys, bucket_of
from gateway.store.readers import Arrival, Checked, Progress, Reader
from gateway.store.rows import RowStore
from gateway.store.stamp import Stamp
from gateway.store.stored import Reference, parse_references
from gateway.store.sweeper import Sweeper
from gateway.tasks import Tasks
from tests.clusters import client_of
from tests.harness import FakeClock

APP_ID = "02" + "0" * 30
_numbers = itertools.count(1)


def message_id() -> bytes:
    """A fresh one. It is as good as random: an epoch begins with it."""
    return hashlib.sha256(next(_numbers).to_bytes(16, "big")).digest()[:16]


def session(name: str) -> str:
    """A session id that begins with `name`."""
    return name.ljust(events.SESSION_ID_CHARS, "0")


class _HeardQueue(asyncio.Queue[tuple[bytes, bytes]]):
    """A listener, with what it heard."""

    def heard(self, channel: bytes, payload: bytes) -> None:
        """See `ChannelListener`."""
        self.put_nowait((channel, payload))


async def acked(inboxes: InboxStore, *said: Any) -> None:
    """`InboxStore.ack`, and wait for its answer."""
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    inboxes.ack(answer.set_result, *said)
    reply = await answer
    if isinstance(reply, Exception):
        raise reply


def lost(standing: Standing) -> tuple[int, int] | None:
    """The numbers, both included, that are gone before what waits for a device."""
    start, here = standing.start.number, standing.here
    return (start + 1, here) if here > start else None


def together(user: str) -> str:
    """Another user in the bucket of `user`."""
    wanted = bucket_of(APP_ID, user)
    return next(
        name for n in itertools.count() if bucket_of(APP_ID, name := f"{user}{n}") == wanted
    )


def apart(user: str) -> str:
    """Another user in another bucket than `user`'s."""
    wanted = bucket_of(APP_ID, user)
    return next(
        name for n in itertools.count() if bucket_of(APP_ID, name := f"{user}{n}") != wanted
    )


@dataclass
class Store:
    """What a gateway has of its Redis, with one app."""

    url: str
    keyring: Keyring
    link: Link
    raw: redis.Redis
    clock: FakeClock
    app: App
    keys: Keys = field(init=False)
    talks: ConversationStore = field(init=False)
    inboxes: InboxStore = field(init=False)
    rows: RowStore = field(init=False)
    tier: Tier = field(init=False)
    clock_agrees: bool = True
    """Whether the clock of whoever sweeps agrees with Redis'."""

    def __post_init__(self) -> None:
        self.keys = Keys(self.app.region)
        self.tier = self.app.tier
        self.talks = ConversationStore(self.link, self.keys)
        self.inboxes = InboxStore(self.link, self.keys, self.talks)
        self.rows = RowStore(self.link, self.keys)

    def use_tier(self, tier: str, inbox_cap: int | None = None) -> None:
        """As a gateway that has heard of the app's new tier; its cap may be another."""
        self.app = change(self.app, "tier", tier)
        cap = self.app.tier.inbox_cap if inbox_cap is None else inbox_cap
        self.tier = replace(self.app.tier, inbox_cap=cap)

    def say(
        self, to: str, sender: str = "sender", record: bytes = b"record", mid: bytes | None = None
    ) -> asyncio.Future[Stored]:
        """A message, now."""
        entry = NewEntry(mid or message_id(), record, self.clock.ms, sender)
        return self.talks.send(
            self.app.id, self.tier, self.talks.direct(self.app.id, sender, to), entry
        )

    async def fill(self, user: str, count: int) -> None:
        """Send `user` as many messages, in the same ms."""
        await asyncio.gather(*(self.say(user) for _ in range(count)))

    async def attach(
        self,
        user: str,
        device: str = "phone",
        name: str = "s",
        cursor: Cursor | None = None,
        issued_ms: int | None = None,
        digest: str = "",
    ) -> Standing:
        """Connect a device, now, with a token issued now or at `issued_ms`, called `digest`.

        Any number of devices: how many a tier lets in is test_inbox_admission.py's business.
        """
        return await self.inboxes.attach(
            Reader(self.app.id, user, device, session(name)),
            replace(self.tier, devices=1000),
            Arrival(self.clock.ms if issued_ms is None else issued_ms, cursor, digest=digest),
            self.clock.ms,
        )

    async def ack(
        self,
        user: str,
        at: Cursor,
        device: str = "phone",
        name: str = "s",
        closing: bool = False,
    ) -> None:
        """Acknowledge up to `at`, now."""
        await acked(
            self.inboxes,
            Reader(self.app.id, user, device, session(name)),
            self.tier,
            Progress(at, End(self.clock.ms, BROKEN_OFF) if closing else None),
            self.clock.ms,
        )

    async def check(
        self, user: str, given: Cursor, device: str = "phone", since_ms: int = 0
    ) -> Checked:
        """Compare a live session with the store."""
        reader = Reader(self.app.id, user, device, session("s"))
        return await self.inboxes.check(reader, given, since_ms, self.clock.ms)

    def waiting(self, user: str) -> list[Reference]:
        """What Redis holds in an inbox, past its time or not."""
        keys = self.keys.inbox(self.app.id, user)
        raw: Any = self.raw.lrange(keys.refs, 0, -1)
        numbering: Any = self.raw.hget(keys.rows, "#")
        top = int.from_bytes(numbering[4:10], "big") if numbering else len(raw)
        return parse_references(top - len(raw) + 1, raw)

    def inbox(self, user: str) -> list[int]:
        """The numbers of that."""
        return [ref.number for ref in self.waiting(user)]

    def meta(self, user: str) -> dict[str, str]:
        """The hash next to the inbox."""
        found: Any = self.raw.hgetall(self.keys.user(self.app.id, user).meta)
        return {name.decode(): value.decode() for name, value in found.items()}

    def devices(self, user: str) -> set[str]:
        """The devices whose cursors are kept."""
        return {name[2:] for name in self.meta(user) if name.startswith("d:")}

    def due(self, user: str) -> int | None:
        """When the sweeper looks at the inbox next, in ms; None: never."""
        keys = self.keys.user(self.app.id, user)
        score: Any = self.raw.zscore(keys.due, keys.member)
        return None if score is None else int(score)

    def holds(self, needle: bytes) -> bool:
        """True if `needle` is in the bytes of any key, or of any key's name."""
        # On each node of a cluster: a node that compresses its dumps hides what is looked for.
        raw: Any = self.raw
        everywhere = {"target_nodes": "all"} if isinstance(raw, redis.RedisCluster) else {}
        raw.config_set("rdbcompression", "no", **everywhere)
        keys = list(self.raw.scan_iter(count=1000))
        with self.raw.pipeline(transaction=False) as dumps:
            for key in keys:
                dumps.dump(key)
            return any(needle in found for found in (*keys, *dumps.execute()))

    def sweeper(self) -> Sweeper:
        """A sweeper as a gateway that knows no app yet has it."""
        sealer = Sealer(self.keyring)
        directory = AppDirectory(self.link, self.keys, sealer, Tasks(), lambda _: None)
        groups = GroupStore(self.link, self.keys, self.talks, lambda: self.clock.ms)
        return Sweeper(
            self.link,
            self.keys,
            directory,
            self.talks,
            self.inboxes,
            groups,
            clock_ms=lambda: self.clock.ms,
            trusted=lambda: self.clock_agrees,
        )

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[Admin]:
        """The region's admin."""
        async with Core.at(self.url, self.keyring).admin() as admin:
            yield admin

    @contextlib.asynccontextmanager
    async def hearing(self, *channels: str) -> AsyncIterator[asyncio.Queue[tuple[bytes, bytes]]]:
        """A queue of what is published on `channels` from now on."""
        queue = _HeardQueue()
        link, subscriber = open_redis(self.url, Stamp.of(self.keyring), Tasks())
        await link.start()
        await subscriber.start()
        try:
            await asyncio.gather(*(subscriber.subscribe(channel, queue) for channel in channels))
            yield queue
        finally:
            await subscriber.aclose()
            await link.aclose()


@contextlib.asynccontextmanager
async def open_store(url: str, keyring: Keyring, tier: str = "free") -> AsyncIterator[Store]:
    """A `Store` with an app of `tier` on the Redis at `url`, which may have been emptied."""
    clock = FakeClock()
    app = msgspec.structs.replace(create_app("test", "sg", tier, "global", clock.ms), id=APP_ID)
    async with Core.at(url, keyring).admin() as admin:
        await admin.region.begin(again=True)
        await admin.apps.create(app, clock.ms)
    link, _ = open_redis(url, Stamp.of(keyring), Tasks())
    await link.start()
    try:
        with client_of(url) as raw:
            yield Store(url, keyring, link, raw, clock, app)
    finally:
        await link.aclose()


@pytest.fixture
async def store(any_url: str, keyring: Keyring) -> AsyncIterator[Store]:
    """A store with an app of the free tier."""
    async with open_store(any_url, keyring) as opened:
        yield opened


@pytest.fixture
async def one_store(store_url: str, keyring: Keyring) -> AsyncIterator[Store]:
    """The same on one server, for what is about its link."""
    async with open_store(store_url, keyring) as opened:
        yield opened
