"""A full Redis: what frees, what keeps sessions and what protects goes on; what adds is refused."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import hiredis
import pytest
from homeport.frames import Cursor
from homeport.ids import ROOM
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
from gateway.security.tokens import Identity
from gateway.store import events, stamp, stored
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
from gateway.store.keys import STAMP, bucket_of
from gateway.store.lateness import FRESH_MS, Lateness
from gateway.store.owned import OwnedStore
from gateway.store.presence import PresenceStore
from gateway.store.rates import RateStore
from gateway.store.readers import Arrival, Progress, Reader
from gateway.store.region_clock import TIME
from gateway.store.rooms import RoomStore, Start, Top
from gateway.store.rows import RowStore
from gateway.store.server_facts import store_facts
from gateway.tasks import Tasks
from tests.gateway.conftest import Servers
from tests.gateway.redis.conftest import beginning, node_link, until
from tests.gateway.store.conftest import APP_ID, Store, acked, message_id, open_store, session

GROUP_ID: Final = "ab" * 16
TALK: Final = "d:ann:bob"
HOOK: Final = "wh_0000000000000000"
NOWHERE: Final = Cursor("", 0, 0)
PHONE: Final = Reader(APP_ID, "bob", "phone", session("s"))
LOOKING: Final = Reader(APP_ID, "bob", "cli", session("e"), ephemeral=True)

REFUSED: Final = frozenset(
    {
        "conversation_edit",
        "conversation_send",
        "hooks_log",
        "hooks_note",
        "membership",
        "once",
        "own",
        "presence_set",
        "probe",
        "references",
        "room_send",
        "room_set",
    }
)
"""The scripts that a full Redis refuses: sends, and what users change at leisure."""

WORKING: Final = frozenset(
    {
        "audit",
        "block",
        "blocked_by",
        "conversation_erase",
        "conversation_floor",
        "conversation_last",
        "conversation_mark",
        "conversation_own",
        "conversation_page",
        "conversation_read",
        "conversation_recall",
        "conversation_sizes",
        "conversation_sweep",
        "deleted",
        "due_now",
        "gateways",
        "group_read",
        "group_signal",
        "groups_of",
        "hooks_again",
        "hooks_done",
        "hooks_lease",
        "hooks_log_sweep",
        "hooks_records",
        "hooks_sweep",
        "hooks_taken",
        "hooks_waiting",
        "inbox_ack",
        "inbox_attach",
        "inbox_check",
        "inbox_page",
        "inbox_sweep",
        "late",
        "lease",
        "put",
        "references_full",
        "revoke",
        "revoke_token",
        "rights",
        "room_join",
        "room_seats",
        "room_sweep",
        "room_signal",
        "row_mark",
        "rows",
        "rows_sweep",
        "scan",
        "scrub",
        "seen",
        "settled",
        "spend",
        "time",
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
            "online only": lambda: self.inboxes.tell(app, mid, {"bob": b"event"}, now),
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
        seq, number = await region.numbers()
        for name, act in refused.items():
            if name != "heal":  # that is settled
                await act()  # there is room again
        # And nothing was done before: two messages and an edit's notice came; bob's inbox has the
        # notice of the group, too.
        assert await region.numbers() == (seq + 3, number + 4)
        walked = link.sent
    by_the_sweeper = {
        "lease",
        "seen",
        "room_sweep",
        "conversation_sweep",
        "inbox_sweep",
        "rows_sweep",
    }
    by_the_sweeper |= {"scan", "scrub"}
    by_the_operator = {"audit", "deleted", "revoke", "revoke_token", "put", "due_now"}
    assert walked == (REFUSED | WORKING) - by_the_sweeper - by_the_operator - {"rights"}


async def test_the_sweeper_makes_room_on_a_full_redis(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G4: messages whose time was over lay in a full Redis for as long as it was full, because the
    sweeper's lease is a write, and so are the due lists that it keeps; now they make room."""
    async with recording(store) as link:
        region = Region(store, link)
        await region.live()
        body, entry = b"b" * 10_000, region.entry()
        big = [replace(entry, id=bytes([n % 256, n // 256]) * 8, record=body) for n in range(300)]
        to = region.talks.direct(APP_ID, "cat", "dan")
        await asyncio.gather(*(region.talks.send(APP_ID, region.tier, to, each) for each in big))
        # Nobody has settled any of it: everyone is owed a reference that can't be written now.
        used = int(store.raw.info("memory")["used_memory"])
        with full(store):
            heads = [store.keys.conversation(APP_ID, name).head for name in (TALK, "d:cat:dan")]
            left = [key for head in heads for key in store.raw.scan_iter(f"{head}:*")]
            assert len(left) == 4
            left.append(store.keys.inbox(APP_ID, "dan").refs.encode())
            store.clock.advance(store.app.tier.retention_ms / 1000 + 1)
            sweeper = store.sweeper()
            monkeypatch.setattr("gateway.store.sweeper.INTERVAL_S", 0.01)
            running = asyncio.create_task(sweeper.run())
            try:
                await until(lambda: not store.raw.exists(*left))
            finally:
                running.cancel()
            assert int(store.raw.info("memory")["used_memory"]) < used - 2_000_000
    with contextlib.suppress(asyncio.CancelledError):
        await running


async def test_an_operator_can_act_while_redis_is_full(store: Store) -> None:
    """G8: a stolen token could not be revoked, a leaked certificate not be replaced, and the app
    that filled Redis not be deleted: the stamp is written before anything, and so were they."""
    async with recording(store) as link:
        region = Region(store, link)
        for n in range(50):
            to = region.talks.direct(APP_ID, f"u{n}", "bob")
            await region.talks.send(APP_ID, region.tier, to, region.entry())
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
                ends_s = store.clock.ms // 1000 + 60
                await admin.access.revoke_token(
                    APP_ID, Identity("ann", ends_s - 60, ends_s, "", "abc")
                )
                assert (await heard.get())[1] == events.token_voided("abc")
            before = await admin.apps.get(APP_ID)
            after = await admin.apps.rotate_certificate(APP_ID, store.clock.ms)
            assert before is not None
            assert after.certificates[0] not in before.certificates
            assert (
                await admin.apps.change(APP_ID, "tier", "pro", store.clock.ms)
            ).tier.name == "pro"
            await admin.access.kick(APP_ID, "ann")
            assert (await store_facts(admin.link, admin.region)).stamp_problem is None
            with pytest.raises(Unavailable, match="OOM"):
                await admin.apps.create(other, store.clock.ms)
            await admin.apps.delete(APP_ID)
        await store.sweeper().sweep()
        refs = [store.keys.inbox(APP_ID, f"u{n}").refs for n in range(50)]
        assert not store.raw.exists(*refs)
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
