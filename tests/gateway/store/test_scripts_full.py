"""A full Redis: what frees, what keeps sessions and what protects goes on; what adds is refused."""

from __future__ import annotations

import ast
import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import hiredis
import pytest
from homeport.frames import Cursor, Place
from redis.exceptions import OutOfMemoryError

import gateway.redis
import gateway.store
from gateway.apps.app import create_app
from gateway.apps.tiers import Rate
from gateway.redis.errors import Unavailable
from gateway.redis.link import Then
from gateway.redis.node_link import NodeLink
from gateway.redis.opening import open_redis
from gateway.redis.scripts import SCRIPTS, Script
from gateway.redis.servers import server_of
from gateway.redis.url import RedisUrl
from gateway.runtime.probe import Probe
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store import events, stamp
from gateway.store.blocks import BlockStore
from gateway.store.endings import BROKEN_OFF, End, Loss
from gateway.store.entries import NewMessage
from gateway.store.group_state import Change, Member, Notice
from gateway.store.groups import GroupStore
from gateway.store.inbox import InboxStore
from gateway.store.keys import STAMP
from gateway.store.log import LogStore
from gateway.store.presence import PresenceStore
from gateway.store.rates import RateStore
from gateway.store.readers import Arrival, Progress, Reader
from gateway.store.receipts import Marks, ReceiptStore
from gateway.store.region_clock import TIME
from gateway.store.rooms import RoomStore, Start, Top
from gateway.store.server_facts import store_facts
from gateway.tasks import Tasks
from tests.gateway.conftest import Servers
from tests.gateway.redis.conftest import beginning, node_link, until
from tests.gateway.store.conftest import APP_ID, Store, acked, message_id, open_store, session

GROUP_ID: Final = "ab" * 16
TALK: Final = "d:ann:bob"
NOWHERE: Final = Cursor("", 0, 0)
PHONE: Final = Reader(APP_ID, "bob", "phone", session("s"))
LOOKING: Final = Reader(APP_ID, "bob", "cli", session("e"), ephemeral=True)
GROUP_TALK: Final = f"g:{GROUP_ID}"

REFUSED: Final = frozenset(
    {
        "deliver",
        "group_change",
        "group_member",
        "log",
        "once",
        "presence_set",
        "probe",
        "room_send",
        "room_set",
    }
)
"""The scripts that a full Redis refuses: sends, and what users change at leisure."""

WORKING: Final = frozenset(
    {
        "ack",
        "attach",
        "audit",
        "block",
        "blocked_by",
        "check",
        "deleted",
        "due_now",
        "erase",
        "forget",
        "gateways",
        "group_read",
        "group_signal",
        "group_told",
        "history",
        "lease",
        "mark",
        "put",
        "reach",
        "read",
        "revoke",
        "rights",
        "time",
        "room_join",
        "room_seats",
        "room_signal",
        "seen",
        "spend",
        "sweep",
        "sweep_log",
        "unread",
    }
)
"""Those that must work on one."""

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


@pytest.fixture
async def store(servers: Servers, keyring: Keyring) -> AsyncIterator[Store]:
    """A store on a server that nobody else uses."""
    async with open_store(servers().url, keyring) as opened:
        yield opened


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
        self.inboxes = InboxStore(link, store.keys)
        self.logs = LogStore(link, store.keys)
        self.blocks = BlockStore(link, store.keys)
        self.groups = GroupStore(link, store.keys, self.inboxes, lambda: store.clock.ms)
        self.rooms = RoomStore(link, store.keys)
        self.receipts = ReceiptStore(link, store.keys)
        self.presence = PresenceStore(link, store.keys, "abcdef")
        self.rates = RateStore(link, store.keys)
        self.sweeper = store.sweeper()
        self.sent_mid = message_id()

    async def live(self) -> None:
        """Everything there is, before Redis is full."""
        await self.attach()
        await self.send(self.sent_mid)
        await self.send(message_id())
        await self.create_group(1)
        await self.groups.settled(self.app, GROUP_ID)
        await self.rooms.join(self.app, "hall", "ann:d1", Start(1), Top(), self.now)
        await self.blocks.change(APP_ID, self.tier, "ann", "eve", True, self.now)

    async def attach(self) -> Any:
        return await self.inboxes.attach(PHONE, self.tier, Arrival(self.now), self.now)

    def send(self, mid: bytes, expires_ms: int | None = None) -> asyncio.Future[int]:
        return self.inboxes.deliver(
            APP_ID,
            self.tier,
            ("ann", "bob"),
            NewMessage(mid, b"r" * 50, self.now, TALK, "ann", expires_ms),
            history=True,
        )

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

    async def create_group(self, version: int) -> bool:
        change = Change(b"name", False, {"ann": Member("owner"), "bob": Member("member")})
        return await self.groups.change(
            self.app, GROUP_ID, None, change, Notice(version, message_id(), b"r")
        )

    def working(self) -> dict[str, Callable[[], Awaitable[Any]]]:
        """What must go on."""
        app, tier, now = APP_ID, self.tier, self.now

        async def ack() -> None:
            cursor = Cursor((await self.attach()).cursor.epoch, now, 1)
            end, loss = End(now, BROKEN_OFF), Loss(now, 1, 2)
            await acked(self.inboxes, PHONE, tier, Progress(cursor, end, loss), now)

        async def marked() -> None:
            raised = await self.receipts.mark(app, "bob", TALK, Marks(now, now))
            assert raised is not None and raised.read_rose

        async def signalled() -> None:
            group = await self.groups.current(self.app, GROUP_ID)
            assert group is not None
            await self.groups.signal(group, b"event")

        return {
            "attach": self.attach,
            "ephemeral": lambda: self.inboxes.attach(LOOKING, tier, Arrival(now), now),
            "check": lambda: self.inboxes.check(PHONE, Cursor("", 0, 0), 0, now + 60_000),
            "page": lambda: self.inboxes.page(app, tier, "bob", NOWHERE, now, 10),
            "ack": ack,
            "unread": lambda: self.receipts.unread(app, tier, "bob", now, 10),
            "mark": marked,
            "marks": lambda: self.receipts.marks(app, TALK, ["bob"]),
            "history": lambda: self.logs.page(app, tier, TALK, "bob", now, 10),
            "forget": lambda: self.logs.forget(app, TALK, "bob", Place(now, 1)),
            "block": lambda: self.blocks.change(app, tier, "bob", "eve", True, now),
            "unblock": lambda: self.blocks.change(app, tier, "ann", "eve", False, now),
            "blocks": lambda: self.blocks.list(app, "ann"),
            "blocked by": lambda: self.blocks.blocked_by(app, "eve"),
            "lease": self.presence.renew,
            "connections": lambda: self.presence.tell(app),
            "presence": lambda: self.presence.read([(app, "bob")]),
            "spend": lambda: self.rates.spend(app, "bob", Rate(10, 10), 1, now),
            "group": lambda: self.groups.settled(self.app, GROUP_ID),
            "groups": lambda: self.groups.of_user(app, "bob", "", 10),
            "group signal": signalled,
            "look after": lambda: self.groups.look_after(self.app, GROUP_ID),
            "join": lambda: self.rooms.join(self.app, "new", "bob:d", Start(1), Top(), now),
            "keep": lambda: self.rooms.keep(app, "hall", ["ann:d1"], Top(), now),
            "away": lambda: self.rooms.away(app, "hall", "ann:d1", now),
            "signal": lambda: self.rooms.signal(app, "hall", "ann", b"event", now),
            "leave": lambda: self.rooms.leave(app, "new", "bob:d", now),
            "time": lambda: self.link.run(TIME, (self.keys.clock(0),), ""),
            "publish": lambda: self.link.publish(self.inboxes.channel(app, "bob"), b"event"),
        }

    def refused(self) -> dict[str, Callable[[], Awaitable[Any]]]:
        """What is `unavailable` until there is room."""
        app, tier, now = APP_ID, self.tier, self.now
        first, second, mid = message_id(), message_id(), message_id()

        return {
            "send": lambda: self.send(first),
            "send with a time to live": lambda: self.send(second, now + 1000),
            "online only": lambda: self.inboxes.tell(app, mid, {"bob": b"event"}, now),
            "group log": lambda: self.logs.add(app, tier, NewMessage(mid, b"r", now, GROUP_TALK)),
            "group": lambda: self.create_group(2),
            "room": lambda: self.rooms.send(
                self.app, "hall", NewMessage(mid, b"r", now, sender="ann"), Top()
            ),
            "room policy": lambda: self.rooms.set(self.app, "mine", "ann", "admins", ["ann"], now),
            "probe": self.probe,
            "status": lambda: self.presence.set(app, "bob", "phone", "away", b"tea"),
        }


async def test_a_script_that_is_new_takes_a_side() -> None:
    """What may be done on a full Redis is decided for each script, here and in its first line."""
    assert {*SCRIPTS} == REFUSED | WORKING
    for name, script in SCRIPTS.items():
        first, _, _ = script.text.partition("\n")
        assert ("allow-oom" in first or "no-writes" in first) == (name in WORKING), name


def _verbs() -> Iterator[tuple[str, str]]:
    """Every command that the code spells out, and the file that does."""
    folders = (*gateway.store.__path__, *gateway.redis.__path__)
    for path in (path for folder in folders for path in Path(folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            words = node.args[0].elts if isinstance(node.args[0], ast.Tuple) else node.args
            first = words[0] if words else None
            if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
                continue
            if first.value.isupper() and first.value.isalpha() and len(first.value) > 2:
                yield first.value, path.name


async def test_a_direct_command_that_is_new_takes_a_side(store: Store) -> None:
    """By the server's own word: what a full Redis refuses is sent only where that is meant."""
    told: Any = store.raw.command()

    def refuses(verb: str) -> bool:
        return "denyoom" in told.get(verb.lower(), {"flags": ()})["flags"]

    assert refuses("SET") and not refuses("GET")  # else nothing would be seen here
    found = {(verb, file) for verb, file in _verbs() if refuses(verb)}
    assert {verb for verb, _ in found} <= ADDING, found
    assert len({verb for verb, _ in _verbs()}) > 15


async def test_every_script_is_walked_on_a_full_redis(store: Store) -> None:
    """A full Redis could not be mended: nobody could attach, acknowledge, be revoked or swept, and
    so nothing became free. What frees goes on; sends are told to come back, and leave no trace."""
    async with recording(store) as link:
        region = Region(store, link)
        await region.live()
        refused = region.refused()
        with full(store):
            for name, act in refused.items():
                with pytest.raises(Unavailable) as refusal:
                    await act()
                assert refusal.value.reason == "oom", name
            for name, act in region.working().items():
                try:
                    await act()
                except Unavailable as error:
                    pytest.fail(f"{name}: {error}")
        top = store.meta("bob")["q"]
        for act in refused.values():
            await act()  # there is room again
        assert int(store.meta("bob")["q"]) == int(top) + 2  # and nothing was done before
        walked = link.sent
    by_the_sweeper = {"lease", "seen", "sweep", "sweep_log", "erase"}
    by_the_operator = {"audit", "deleted", "revoke", "put", "due_now"}
    assert walked == SCRIPTS.keys() - by_the_sweeper - by_the_operator - {"rights"}


async def test_the_sweeper_makes_room_on_a_full_redis(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G4: messages whose time was over lay in a full Redis for as long as it was full, because the
    sweeper's lease is a write, and so are the due lists that it keeps; now they make room."""
    async with recording(store) as link:
        region = Region(store, link)
        await region.live()
        body = b"b" * 10_000
        await asyncio.gather(*(store.deliver("cat", record=body) for _ in range(300)))
        await region.send(message_id(), store.clock.ms + 1000)
        # A group owes a notice that can't be delivered now, and stands first in its due list.
        assert await region.groups.change(
            store.app,
            GROUP_ID,
            await region.groups.current(store.app, GROUP_ID),
            Change(members={"cat": Member("member")}),
            Notice(2, message_id(), b"r"),
        )
        used = int(store.raw.info("memory")["used_memory"])
        with full(store):
            store.clock.advance(store.app.tier.retention_ms / 1000 + 1)
            sweeper = store.sweeper()
            monkeypatch.setattr("gateway.store.sweeper.INTERVAL_S", 0.01)
            running = asyncio.create_task(sweeper.run())
            try:
                log = store.keys.log(APP_ID, TALK).log
                await until(lambda: not store.inbox("cat") and not store.inbox("bob"))
                await until(lambda: not store.raw.exists(log))
            finally:
                running.cancel()
            assert int(store.raw.info("memory")["used_memory"]) < used - 2_000_000
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_an_operator_can_act_while_redis_is_full(store: Store) -> None:
    """G8: a stolen token could not be revoked, a leaked certificate not be replaced, and the app
    that filled Redis not be deleted: the stamp is written before anything, and so were they."""
    await asyncio.gather(*(store.deliver(f"u{n}") for n in range(50)))
    other = create_app("other", "sg", "free", "global", store.clock.ms)
    with full(store):
        async with store.admin() as admin:
            assert [app.id for app in await admin.apps.all()] == [APP_ID]
            async with store.hearing(store.keys.user(APP_ID, "ann").channel) as heard:
                await admin.access.revoke(APP_ID, "ann", store.clock.ms)
                assert await heard.get() == (
                    store.keys.user(APP_ID, "ann").channel.encode(),
                    events.revoked(store.clock.ms),
                )
            before = await admin.apps.get(APP_ID)
            after = await admin.apps.rotate_certificate(APP_ID, store.clock.ms)
            assert before is not None
            assert after.certificates[0] not in before.certificates
            assert (
                await admin.apps.change(APP_ID, "tier", "pro", store.clock.ms)
            ).tier.name == "pro"
            await admin.access.kick(APP_ID, "ann")
            assert (
                await store_facts(admin.link, admin.region, store.clock.now)
            ).stamp_problem is None
            with pytest.raises(Unavailable, match="OOM"):
                await admin.apps.create(other, store.clock.ms)
            await admin.apps.delete(APP_ID)
        await store.sweeper().sweep()
        assert not any(store.inbox(f"u{n}") for n in range(50))
    assert store.raw.exists(store.keys.app(other.id)) == 0


async def test_a_gateway_connects_to_a_full_redis(store: Store) -> None:
    """A gateway that was restarted stood in its start for as long as Redis was full, because the
    stamp was written before it was read."""
    with full(store):
        link = node_link(store.url, stamp.RegionIdentity.of(store.keyring))
        try:
            async with asyncio.timeout(10):
                await link.start()
            assert await link.call("HGET", STAMP, "region") == b"sg"
        finally:
            await link.aclose()
