"""The sweeper: bytes leave in time, nothing is overlooked, and who is owed a reference gets it."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, replace
from typing import Any

import pytest
from homeport.frames import Cursor
from homeport.ids import direct_conversation
from structlog.testing import capture_logs

from gateway.apps.tiers import TIERS
from gateway.redis.errors import Unavailable
from gateway.redis.slots import BUCKETS
from gateway.store import sweeper as module
from gateway.store.conversations import ConversationStore
from gateway.store.endings import BROKEN_OFF, End
from gateway.store.entries import NewEntry, Stored
from gateway.store.fanout import TAKEOVER_MS
from gateway.store.inbox import InboxStore, Standing
from gateway.store.readers import Arrival, Progress, Reader
from gateway.store.sweeper import BATCH
from tests.gateway.store.conftest import (
    APP_ID,
    Store,
    acked,
    apart,
    message_id,
    session,
    together,
)

FREE_S = TIERS["free"].retention_ms / 1000
DAY_S = 86_400
ANN, BOB = "ann", apart("ann")


def names_of(store: Store, app_id: str) -> list[bytes]:
    """Keys that name the app."""
    keys: Any = store.raw.keys()
    return [key for key in keys if app_id.encode() in key]


@dataclass
class Talks:
    """What users say to each other, in a store. `talks` and `inboxes` are a gateway's."""

    store: Store

    def __post_init__(self) -> None:
        self.talks = ConversationStore(self.store.link, self.store.keys)
        self.inboxes = InboxStore(self.store.link, self.store.keys, self.talks)

    def say(
        self, sender: str, to: str, record: bytes = b"record", ttl_s: float | None = None
    ) -> asyncio.Future[Stored]:
        """A message, now."""
        now = self.store.clock.ms
        ends = None if ttl_s is None else round(now + 1000 * ttl_s)
        # An id is as good as random: an epoch begins with it.
        mid = hashlib.sha256(message_id()).digest()[:16]
        entry = NewEntry(mid, record, now, sender, expires_ms=ends)
        recipients = self.talks.direct(APP_ID, sender, to)
        return self.talks.send(APP_ID, self.store.tier, recipients, entry)

    async def settle(self) -> None:
        """As a gateway does every few seconds."""
        await self.talks.fanout.settle(self.store.clock.ms)

    async def history(self, one: str, other: str) -> list[int]:
        """The numbers that the history shows."""
        name = direct_conversation(one, other)
        page = await self.talks.page(APP_ID, self.store.tier, name, self.store.clock.ms, 100)
        return [message.seq for message in page.messages]

    async def attach(
        self, user: str, device: str = "phone", cursor: Cursor | None = None
    ) -> Standing:
        """Connect a device, now."""
        now = self.store.clock.ms
        reader = Reader(APP_ID, user, device, session("s"))
        tier = replace(self.store.tier, devices=1000)
        return await self.inboxes.attach(reader, tier, Arrival(now, cursor), now)

    async def waiting(self, user: str) -> list[tuple[int, int]]:
        """The (number, seq) of each reference that lies in an inbox."""
        page = await self.inboxes.page(APP_ID, user, 0)
        return [(ref.number, ref.seq) for ref in page.references]

    def kept(self, one: str, other: str) -> int:
        """How many messages of a conversation Redis holds, past their time or not."""
        head = self.head(one, other)
        chunks = self.store.raw.scan_iter(f"{head}:*")
        return sum(int(self.store.raw.hlen(key)) for key in chunks)

    def head(self, one: str, other: str) -> str:
        """The key of a conversation's head."""
        return self.store.keys.conversation(APP_ID, direct_conversation(one, other)).head

    def due(self, one: str, other: str = "") -> int | None:
        """When the sweeper looks at a conversation next, or at an inbox, in ms; None: never."""
        keys: Any = self.store.keys.inbox(APP_ID, one)
        if other:
            keys = self.store.keys.conversation(APP_ID, direct_conversation(one, other))
        score: Any = self.store.raw.zscore(keys.due, keys.member)
        return None if score is None else int(score)

    def devices(self, user: str) -> set[str]:
        """The devices whose cursors are kept."""
        fields: Any = self.store.raw.hkeys(self.store.keys.inbox(APP_ID, user).meta)
        return {name[2:].decode() for name in fields if name.startswith(b"d:")}


@pytest.fixture
async def talks(store: Store) -> Talks:
    """On each kind of Redis."""
    return Talks(store)


async def test_what_is_over_leaves_no_byte_and_nothing_else_goes(talks: Talks) -> None:
    """G4: nobody connects, nothing is read, and the bytes go all the same, to the millisecond."""
    store = talks.store
    first, second = secrets.token_bytes(64), secrets.token_bytes(64)
    await talks.say(ANN, BOB, first)
    store.clock.now = round(store.clock.now + 0.001, 3)
    await talks.say(ANN, BOB, second)
    await talks.settle()
    store.clock.now = round(store.clock.now + FREE_S - 0.002, 3)
    assert await store.sweeper().sweep() == 0
    store.clock.now = round(store.clock.now + 0.001, 3)
    await store.sweeper().sweep()
    assert not store.holds(first)
    assert store.holds(second)
    assert await talks.history(ANN, BOB) == [2]
    assert await talks.waiting(BOB) == [(2, 2)]
    await talks.say(BOB, ANN)
    assert await talks.waiting(BOB) == [(2, 2), (3, 3)]


async def test_what_goes_on_is_swept_as_well(talks: Talks) -> None:
    """G4: each new message put off the look at the older ones by another retention, so that a
    conversation in which somebody said something each day was never swept."""
    first = secrets.token_bytes(64)
    await talks.say(ANN, BOB, first)
    for _ in range(3):
        await talks.settle()
        talks.store.clock.advance(FREE_S / 4)
        await talks.say(ANN, BOB)
    await talks.settle()
    assert talks.due(ANN, BOB) == talks.store.clock.ms + TIERS["free"].retention_ms // 4
    talks.store.clock.advance(FREE_S / 4)
    await talks.store.sweeper().sweep()
    assert not talks.store.holds(first)
    assert await talks.history(ANN, BOB) == [4, 3, 2]


async def test_a_messages_own_time_is_kept_as_exactly(talks: Talks) -> None:
    """G4: of a message with a time to live the record goes within a round; its number stays."""
    store, record = talks.store, secrets.token_bytes(64)
    await talks.say(ANN, BOB, record, ttl_s=5)
    await talks.say(ANN, BOB)
    store.clock.advance(4.999)
    assert await store.sweeper().sweep() == 0
    assert await talks.history(ANN, BOB) == [2, 1]
    store.clock.now = round(store.clock.now + 0.001, 3)
    assert await talks.history(ANN, BOB) == [2]  # also before the sweeper came
    assert store.holds(record)
    assert await store.sweeper().sweep() == 1
    assert not store.holds(record)
    assert await talks.waiting(BOB) == [(1, 1), (2, 2)]


async def test_what_nobody_touches_is_found(talks: Talks) -> None:
    """G4: a round goes through all buckets, and in each until nothing is due."""
    record = secrets.token_bytes(64)
    crowd = [together("zoe")]
    while len(crowd) < 2 * BATCH + 1:
        crowd.append(together(crowd[-1]))
        if len(crowd[-1]) > 60:  # names are bounded; begin another row
            crowd.append(together(f"row{len(crowd)}"))
    users = [*crowd, *(f"user{n}" for n in range(3 * BATCH))]
    await asyncio.gather(*(talks.say(user, "zoe", record) for user in users))
    await talks.settle()
    talks.store.clock.advance(FREE_S)
    assert await talks.store.sweeper().sweep() == 3 * len(users)  # each of them and two references
    assert not talks.store.holds(record)


async def test_the_due_list_is_never_late(talks: Talks) -> None:
    """G4: whatever happens, the sweeper looks at a conversation and at an inbox before their
    oldest is over."""
    store, retention = talks.store, talks.store.app.tier.retention_ms
    store.use_tier("free", inbox_cap=5)
    times: list[int] = []

    def on_time() -> bool:
        oldest = min((ms for ms in times if ms + retention > store.clock.ms), default=None)
        if oldest is None:
            return True
        dues = (talks.due(ANN, BOB), talks.due(BOB))
        return all(due is not None and due <= oldest + retention for due in dues)

    for seconds in (0.5, 1, 2):
        store.clock.advance(seconds)
        for _ in range(3):  # the third time over the cap
            await talks.say(ANN, BOB)
            times.append(store.clock.ms)
            assert on_time()
        await talks.settle()
        assert on_time()
    for _ in range(4):
        store.clock.advance(FREE_S / 2)
        await store.sweeper().sweep()
        assert on_time()


async def test_devices_unseen_for_the_tiers_time_are_forgotten(talks: Talks) -> None:
    """G4: to the ms; and those that are connected are not, though they never write."""
    store = talks.store
    await talks.attach(ANN, "connected")
    await talks.attach(ANN, "gone")
    store.clock.advance(FREE_S - 0.001)
    connected = Reader(APP_ID, ANN, "connected", session("s"))
    await talks.inboxes.check(connected, Cursor("", 0, 0), 0, store.clock.ms)
    await store.sweeper().sweep()
    assert talks.devices(ANN) == {"connected", "gone"}
    store.clock.now = round(store.clock.now + 0.001, 3)
    await store.sweeper().sweep()
    assert talks.devices(ANN) == {"connected"}
    assert talks.due(ANN) == store.clock.ms - 1 + store.app.tier.retention_ms


async def test_a_profile_is_kept_for_half_a_year(talks: Talks) -> None:
    """G3, G5: a device that comes back late is told the truth; after 180 days the count is gone."""
    store = talks.store
    for _ in range(3):
        await talks.say(ANN, BOB)
    await talks.settle()
    standing = await talks.attach(BOB)
    used = store.clock.now
    for days in (4, 100):
        store.clock.now = used + days * DAY_S
        await store.sweeper().sweep()
    late = await talks.attach(BOB, cursor=Cursor(standing.start.epoch, 0, 0))
    assert (late.start.epoch, late.start.number) == (standing.start.epoch, 0)
    assert (late.here, late.top) == (3, 3)
    keys = store.keys.inbox(APP_ID, BOB)
    await acked(
        talks.inboxes,
        Reader(APP_ID, BOB, "phone", session("s")),
        store.tier,
        Progress(Cursor(late.start.epoch, 0, 3), End(store.clock.ms, BROKEN_OFF)),
        store.clock.ms,
    )
    for days in (1, 79, 181, 400):
        store.clock.now = used + (100 + days) * DAY_S
        await store.sweeper().sweep()
    assert not any(store.raw.exists(key) for key in (keys.rows, keys.refs, keys.meta))
    assert (talks.due(BOB), talks.due(ANN, BOB)) == (None, None)
    left = [key for key in names_of(store, APP_ID) if key != store.keys.app(APP_ID).encode()]
    assert left == []


async def test_a_downgrade_is_swept_within_one_round(talks: Talks) -> None:
    """G4: by a sweeper that knew the app before and has not heard of the change."""
    store = talks.store
    async with store.admin() as admin:
        await admin.apps.change(APP_ID, "tier", "enterprise", store.clock.ms)
        store.use_tier("enterprise")
        sweeper = store.sweeper()
        old, young = secrets.token_bytes(64), secrets.token_bytes(64)
        await talks.say(ANN, BOB, old)
        await talks.settle()
        await admin.apps.change(APP_ID, "tier", "enterprise", store.clock.ms)
        await sweeper.sweep()  # of what is due, so it knows the app now
        store.clock.advance(FREE_S)
        await talks.say(ANN, BOB, young)
        await talks.settle()
        await sweeper.sweep()
        assert store.holds(old)
        await admin.apps.change(APP_ID, "tier", "free", store.clock.ms)
        assert await sweeper.sweep() == 3  # the message and two references
    assert not store.holds(old)
    assert store.holds(young)
    assert talks.due(ANN, BOB) == store.clock.ms + TIERS["free"].retention_ms


async def test_an_upgrade_keeps_what_is_held(talks: Talks) -> None:
    """G4: the sweeper goes by the new tier from the change on."""
    store = talks.store
    for _ in range(2):
        await talks.say(ANN, BOB)
    await talks.settle()
    store.clock.advance(FREE_S - 1)
    async with store.admin() as admin:
        await admin.apps.change(APP_ID, "tier", "basic", store.clock.ms)
    store.use_tier("basic")
    store.clock.advance(2)
    assert await store.sweeper().sweep() == 0
    assert await talks.history(ANN, BOB) == [2, 1]


# -- fan-outs that were cut off --------------------------------------------------------------------


async def test_the_sweeper_makes_good_what_a_dead_gateway_did_not(talks: Talks) -> None:
    """G1, G10: its gateway died between keeping a message and referring the recipient to it. The
    next one that sweeps does it, some seconds later, and once."""
    store = talks.store
    await talks.say(ANN, BOB)
    await talks.settle()

    def never(*_: Any, **__: Any) -> None:
        """The gateway is dead."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.link, "run_packed", never)
        lost = talks.say(ANN, BOB)
        await asyncio.sleep(0)
        await store.link.call("EXISTS", talks.head(ANN, BOB))  # behind it in the line
    assert not lost.done()
    assert await talks.history(ANN, BOB) == [2, 1]
    assert await talks.waiting(BOB) == [(1, 1)]
    sweeper = store.sweeper()
    store.clock.advance(TAKEOVER_MS / 1000 - 0.001)
    await sweeper.sweep()
    assert await talks.waiting(BOB) == [(1, 1)]  # its gateway may still be at it
    store.clock.advance(0.001)
    async with store.hearing(store.keys.inbox(APP_ID, BOB).channel) as heard:
        await sweeper.sweep()
        assert await talks.waiting(BOB) == [(1, 1), (2, 2)]
        async with asyncio.timeout(10):
            await heard.get()  # a device that is connected has it at once
    assert talks.due(ANN, BOB) == store.clock.ms - TAKEOVER_MS + store.tier.retention_ms
    store.clock.advance(60)
    await sweeper.sweep()
    assert await talks.waiting(BOB) == [(1, 1), (2, 2)]


def test_a_fan_out_heals_within_about_a_minute() -> None:
    """G10: also where the gateway that died held the sweeper's lease."""
    assert TAKEOVER_MS / 1000 + module.LEASE_MS / 1000 + module.INTERVAL_S <= 60


async def test_what_can_not_be_healed_now_stops_nothing(
    talks: Talks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G4: a conversation whose last message can't be told now, on a full Redis say, stands first in
    a due list; what stands behind it goes all the same."""
    store = talks.store
    other = together(min(ANN, BOB))
    await talks.say(other, other)
    await talks.settle()
    store.clock.advance(FREE_S - 60)
    await talks.say(ANN, BOB)  # and nobody settles it
    store.clock.advance(70)

    async def refuse(*_: Any, **__: Any) -> None:
        raise Unavailable("oom")

    monkeypatch.setattr(ConversationStore, "heal", refuse)
    with capture_logs() as logs:
        assert await store.sweeper().sweep() == 2
    assert [log["reason"] for log in logs if log["event"] == "heal_put_off"] == ["oom"]
    assert talks.kept(other, other) == 0


# -- what can't be read ----------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["record", "lost"])
async def test_an_unreadable_app_holds_up_nobody_else(talks: Talks, damage: str) -> None:
    """G4: one damaged record among the region's apps, or one that Redis lost, does not stop the
    sweep of the others."""
    store, damaged = talks.store, "02" + "0" * 29 + "d"
    if damage == "record":
        store.raw.set(store.keys.app(damaged), b"no record at all")
    else:
        store.raw.sadd(store.keys.apps, damaged)
    bucket = store.keys.inbox(APP_ID, BOB).bucket
    await talks.say(ANN, BOB)
    await talks.settle()
    # Ahead of the others, and more than one batch of them.
    store.raw.zadd(store.keys.due(bucket), {f"{damaged}:user{n}": n for n in range(2 * BATCH)})
    store.clock.advance(FREE_S)
    try:
        await store.sweeper().sweep()
    except Unavailable as error:  # the round says so, and is as late as it is
        assert (damage, error.reason) == ("lost", "app_lost")
    assert await talks.waiting(BOB) == []
    left: Any = store.raw.zrange(store.keys.due(bucket), 0, -1)
    assert sum(damaged.encode() in member for member in left) == 2 * BATCH


@pytest.mark.parametrize("listing", ["due", "ttl"])
async def test_what_is_damaged_holds_up_nobody_else(talks: Talks, listing: str) -> None:
    """G4: names that nobody wrote, and a key of another type, stood first in a list and stopped
    every round at them."""
    store = talks.store
    keys = store.keys.conversation(APP_ID, direct_conversation(ANN, BOB))
    broken = together(min(ANN, BOB))
    store.raw.set(talks.head(broken, broken), "no hash")
    name = f"{APP_ID}:{direct_conversation(broken, broken)}"
    members: dict[Any, float]
    if listing == "due":
        members = {b"\xff": 0, name: 0}
    else:
        members = {b"\xff 1": 0, f"{name} one": 0, f"{name} 1": 0}
    store.raw.zadd(getattr(keys, listing), members)
    await talks.say(ANN, BOB, ttl_s=5)
    await talks.settle()
    store.clock.advance(5 if listing == "ttl" else FREE_S)
    with capture_logs() as logs:
        await store.sweeper().sweep()
    assert len([log for log in logs if log["event"] == "sweep_failed"]) >= 2
    record: Any = await talks.talks.read(APP_ID, [(direct_conversation(ANN, BOB), [1])])
    assert record[0][0] is None or record[0][0].record is None


# -- clocks ----------------------------------------------------------------------------------------


async def test_a_wrong_clock_sweeps_nothing(talks: Talks) -> None:
    """G4: a gateway whose clock is 200 days ahead would empty the region. It stops in the middle of
    a round, too."""
    store = talks.store
    await talks.say(ANN, BOB, ttl_s=5)
    await talks.settle()
    store.clock.advance(200 * DAY_S)
    store.clock_agrees = False
    assert await store.sweeper().sweep() == 0
    assert talks.kept(ANN, BOB) == 1
    assert await talks.waiting(BOB) == [(1, 1)]
    store.clock_agrees = True
    assert await store.sweeper().sweep() > 0


# -- deletion --------------------------------------------------------------------------------------


async def test_a_deleted_app_leaves_nothing(talks: Talks) -> None:
    """G4: after the app's record and salt, everything its users had goes, in one round; another
    app's stays."""
    store, other = talks.store, "02" + "9" * 30
    record = secrets.token_bytes(64)
    for user in (BOB, together(ANN), ANN):
        await talks.say(ANN, user, record)
    await talks.say(ANN, BOB, record, ttl_s=3600)
    await talks.attach(ANN)
    await talks.attach("only-a-device")
    sweeper = store.sweeper()
    async with store.admin() as admin:
        await admin.apps.change(APP_ID, "tier", "free", store.clock.ms)
    await sweeper.sweep()  # of what is due, so it knows the app now
    theirs = NewEntry(b"i" * 16, b"another app's", store.clock.ms, ANN)
    to = talks.talks.direct(other, ANN, BOB)
    await talks.talks.send(other, store.tier, to, theirs)
    async with store.admin() as admin:
        await admin.apps.delete(APP_ID)
    await sweeper.sweep()
    assert not store.holds(record)
    assert names_of(store, APP_ID) == []
    for bucket in range(BUCKETS):
        for listing in (store.keys.due(bucket), store.keys.ttl(bucket)):
            assert not [m for m in store.raw.zrange(listing, 0, -1) if APP_ID in str(m)]
    assert store.holds(b"another app's")


async def test_a_message_after_the_deletion_is_swept_too(talks: Talks) -> None:
    """G4: a gateway that had not heard of it yet leaves nothing that stays for ever."""
    store = talks.store
    await talks.say(ANN, BOB)
    async with store.admin() as admin:
        await admin.apps.delete(APP_ID)
    await store.sweeper().sweep()
    await talks.say(ANN, BOB)
    await talks.settle()
    assert talks.due(BOB) is not None
    store.clock.advance(FREE_S)
    await store.sweeper().sweep()
    assert names_of(store, APP_ID) == []


async def test_sweeping_a_full_redis_loses_nothing(one_store: Store) -> None:
    """G1, G4: sweeping is what a full Redis needs, and must not be cut short by its maxmemory."""
    talks = Talks(one_store)
    await talks.say(ANN, BOB)
    one_store.clock.advance(1)
    await talks.say(ANN, BOB)
    await talks.say(ANN, BOB)
    try:
        one_store.raw.config_set("maxmemory", 1)
        with pytest.raises(Unavailable) as refused:
            await talks.say(ANN, BOB)
        assert refused.value.reason == "oom"
        await talks.settle()
        one_store.clock.advance(FREE_S - 1)
        assert await one_store.sweeper().sweep() == 3  # the message and two references
    finally:
        one_store.raw.config_set("maxmemory", 0)
    assert await talks.history(ANN, BOB) == [3, 2]


# -- rounds ----------------------------------------------------------------------------------------


class Rounds:
    """Lets a test run the sweeper's rounds one by one, without time passing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._turns: asyncio.Semaphore = asyncio.Semaphore(0)
        self.begun = 0
        monkeypatch.setattr("gateway.store.sweeper.asyncio.sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        assert seconds == module.INTERVAL_S
        self.begun += 1
        await self._turns.acquire()

    def let_one_go(self) -> None:
        """Begin one round."""
        self._turns.release()


async def test_one_sweeper_at_a_time(store: Store) -> None:
    """G10: the lease is one gateway's; another takes it over when it is not renewed."""
    one, two = store.sweeper(), store.sweeper()
    assert await one.lease()
    assert not await two.lease()
    store.raw.pexpire(store.keys.sweeper, 1000)
    assert await one.lease()  # renews
    assert store.raw.pttl(store.keys.sweeper) > module.LEASE_MS - 5000
    assert not await two.lease()
    store.raw.delete(store.keys.sweeper)  # the holder died, and its lease ran out
    assert await two.lease()
    assert not await one.lease()


async def test_rounds_go_on_after_redis_was_away(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G4, G10: a round that fails is put off, not the last."""
    talks = Talks(store)
    await talks.say(ANN, BOB)
    await talks.settle()
    store.clock.advance(FREE_S)
    real_call = store.link.call
    rounds = Rounds(monkeypatch)
    task = asyncio.create_task(store.sweeper().run())
    try:
        monkeypatch.setattr(store.link, "call", lambda *_, **__: _away())
        rounds.let_one_go()
        async with asyncio.timeout(10):
            while rounds.begun < 2:
                await asyncio.wait({task}, timeout=0.005)
            monkeypatch.setattr(store.link, "call", real_call)
            assert len(await talks.waiting(BOB)) == 1
            rounds.let_one_go()
            while rounds.begun < 3:
                await asyncio.wait({task}, timeout=0.005)
        assert await talks.waiting(BOB) == []
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_entry_that_nobody_wrote_stops_no_other_round(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: a name that can't be read ended the sweeper, then its worker, and with each worker that
    took the lease the next one."""
    keys = store.keys.inbox(store.app.id, "ann")
    store.raw.zadd(keys.due, {b"\xff": 0})
    rounds = Rounds(monkeypatch)
    task = asyncio.create_task(store.sweeper().run())
    try:
        with capture_logs() as logs:
            rounds.let_one_go()
            async with asyncio.timeout(10):
                while rounds.begun < 2:
                    await asyncio.wait({task}, timeout=0.005)
        failed = [log["reason"] for log in logs if log["event"] == "sweep_failed"]
        assert failed == ["UnicodeDecodeError"]
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _away() -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(Unavailable("not_connected"))
    return future
