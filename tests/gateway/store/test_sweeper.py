"""The sweeper: bytes leave in time, devices are forgotten, and no inbox is overlooked."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import pytest
from homeport.frames import Cursor
from structlog.testing import capture_logs

from gateway.apps.tiers import TIERS
from gateway.redis.errors import Unavailable
from gateway.store import sweeper as module
from gateway.store.entries import NewMessage
from gateway.store.sweeper import BATCH
from tests.gateway.store.conftest import APP_ID, Store, together

FREE_S = TIERS["free"].retention_ms / 1000
DAY_S = 86_400


def names_of(store: Store, app_id: str) -> list[bytes]:
    """Keys that name the app."""
    keys: Any = store.raw.keys()
    return [key for key in keys if app_id.encode() in key]


async def test_what_waits_on_is_untouched_and_what_is_over_leaves_no_byte(store: Store) -> None:
    """G4: Redis marks entries as removed and keeps their bytes; the sweeper does not leave it so,
    also for what had been acknowledged."""
    await store.attach("ann", "other")
    first, acked, kept = (secrets.token_bytes(64) for _ in range(3))
    await store.deliver("ann", record=first)
    store.clock.advance(10)
    await store.deliver("ann", record=acked)
    await store.deliver("ann", record=kept)
    store.clock.advance(FREE_S - 10)
    attached = await store.attach("ann")
    await store.ack("ann", attached.cursor, "other")
    await store.sweeper().sweep()
    assert not store.holds(first)
    entries = await store.page("ann")
    assert [(e.seq, e.record) for e in entries] == [(2, acked), (3, kept)]
    for device in ("phone", "other"):
        await store.ack("ann", Cursor(attached.cursor.epoch, entries[0].ms, 2), device)
    assert store.holds(acked)  # marked only, until the sweeper comes at its time
    store.clock.advance(10)
    store.use_tier("pro")
    async with store.admin() as admin:
        await admin.apps.change(store.app.id, "tier", "pro", store.clock.ms)
    await store.sweeper().sweep()
    assert not store.holds(acked)
    assert [(e.seq, e.record) for e in await store.page("ann")] == [(3, kept)]
    await store.fill("ann", 1)
    assert [e.seq for e in await store.page("ann")] == [3, 4]


async def test_a_long_inbox_is_swept_as_exactly(store: Store) -> None:
    """G4: past the size that is written anew, reading and counting are the same."""
    await store.fill("ann", 150)
    store.clock.advance(1)
    await store.fill("ann", 150)
    store.clock.advance(FREE_S - 1)
    assert await store.sweeper().sweep() == 150
    assert [seq for seq, _ in store.inbox("ann")] == list(range(151, 301))
    assert store.due("ann") == store.clock.ms + 1000


async def test_what_has_a_millisecond_left_stays(store: Store) -> None:
    """G4: a visit for one message does not take the next one before its time."""
    await store.fill("ann", 1)
    store.clock.now = round(store.clock.now + 0.001, 3)
    await store.fill("ann", 1)
    store.clock.now = round(store.clock.now + FREE_S - 0.001, 3)
    assert await store.sweeper().sweep() == 1
    assert [e.seq for e in await store.page("ann")] == [2]


async def test_an_inbox_nobody_touches_is_found(store: Store) -> None:
    """G4: nobody connects, nothing is sent, and the bytes go all the same, of every inbox."""
    users = [f"user{n}" for n in range(3 * BATCH)]
    record = secrets.token_bytes(64)
    await store.deliver(*users, record=record)
    store.clock.advance(FREE_S)
    assert await store.sweeper().sweep() == len(users)
    assert not store.holds(record)


async def test_more_than_a_batch_in_one_bucket(store: Store) -> None:
    """G4: a round goes on until nothing in the bucket is due."""
    crowd = [together("ann")]
    while len(crowd) < 2 * BATCH + 1:
        crowd.append(together(crowd[-1]))
        if len(crowd[-1]) > 60:  # names are bounded; begin another row
            crowd.append(together(f"row{len(crowd)}"))
    await asyncio.gather(*(store.deliver(user) for user in crowd))
    store.clock.advance(FREE_S)
    assert await store.sweeper().sweep() == len(crowd)


async def test_the_due_list_is_never_late(store: Store) -> None:
    """G4: whatever happens to an inbox, the sweeper looks at it before its oldest is over."""
    store.use_tier("free", inbox_cap=5)
    retention = store.app.tier.retention_ms

    def on_time() -> bool:
        due, held = store.due("ann"), store.inbox("ann")
        return due is not None and (not held or due <= held[0][1] + retention)

    for seconds in (0.5, 1, 2):
        store.clock.advance(seconds)
        await store.fill("ann", 3)  # the third time over the cap
        assert on_time()
    attached = await store.attach("ann")
    assert on_time()
    for entry in attached.entries:
        await store.ack("ann", Cursor(attached.cursor.epoch, entry.ms, entry.seq))
        assert on_time()
    assert store.inbox("ann") == []
    store.clock.advance(1)
    await store.fill("ann", 1)
    assert on_time()
    store.clock.advance(-7200)  # a clock set back
    await store.fill("ann", 1)
    assert on_time()
    for _ in range(4):
        store.clock.advance(FREE_S / 2)
        await store.sweeper().sweep()
        assert on_time()
        if not store.inbox("ann"):
            await store.fill("ann", 1)
            assert on_time()


async def test_devices_unseen_for_the_tiers_time_are_forgotten(store: Store) -> None:
    """G4: to the ms; and those that are connected are not, though they never write."""
    connected = (await store.attach("ann", "connected")).cursor
    await store.attach("ann", "gone")
    store.clock.advance(FREE_S - 0.001)
    await store.check("ann", connected, "connected")
    await store.sweeper().sweep()
    assert store.devices("ann") == {"connected", "gone"}
    store.clock.advance(0.001)
    await store.sweeper().sweep()
    assert store.devices("ann") == {"connected"}
    assert store.due("ann") == store.clock.ms - 1 + store.app.tier.retention_ms


async def test_a_device_that_comes_to_an_unused_profile_is_forgotten_in_time(
    store: Store,
) -> None:
    """G4: an unused profile is looked at as often as any, so what comes to it is in time."""
    await store.fill("ann", 1)
    store.clock.advance(FREE_S)
    await store.sweeper().sweep()
    assert store.due("ann") == store.clock.ms + store.app.tier.retention_ms
    store.clock.advance(1)
    await store.fill("ann", 1)
    await store.attach("ann")
    assert store.due("ann") == store.clock.ms - 1000 + store.app.tier.retention_ms


async def test_a_profile_is_kept_for_half_a_year(store: Store) -> None:
    """G3, G5: a device that comes back late is told the truth; after 180 days the count is gone."""
    await store.fill("ann", 3)
    epoch = (await store.attach("ann")).cursor.epoch
    used = store.clock.now
    store.clock.advance(FREE_S)
    await store.sweeper().sweep()
    store.clock.now = used + 180 * DAY_S - 0.001
    await store.sweeper().sweep()
    assert store.meta("ann").keys() == {"e", "q", "t", "u"}
    store.clock.now = used + 180 * DAY_S
    await store.sweeper().sweep()
    assert store.meta("ann") == {}
    assert store.due("ann") is None
    assert [k for k in names_of(store, APP_ID) if b":dup:" not in k] == [
        store.keys.app(APP_ID).encode()
    ]
    # The numbering begins anew, and says so.
    attached = await store.attach("ann")
    assert attached.cursor.epoch != epoch
    assert (attached.cursor.seq, attached.top, attached.lost) == (0, 0, None)


async def test_a_late_device_of_a_kept_profile_is_told_its_loss(store: Store) -> None:
    """G5: everything it missed, though nothing of it is left."""
    await store.fill("ann", 3)
    store.clock.advance(100 * DAY_S)
    await store.sweeper().sweep()
    attached = await store.attach("ann")
    assert (attached.lost, attached.top, attached.cursor.seq) == ((1, 3), 3, 3)


async def test_a_downgrade_is_swept_within_one_round(store: Store) -> None:
    """G4: by a sweeper that knew the app before and has not heard of the change."""
    async with store.admin() as admin:
        await admin.apps.change(APP_ID, "tier", "enterprise", store.clock.ms)
        store.use_tier("enterprise")
        sweeper = store.sweeper()
        old, young = secrets.token_bytes(64), secrets.token_bytes(64)
        await store.deliver("ann", record=old)
        await admin.apps.change(APP_ID, "tier", "enterprise", store.clock.ms)
        await sweeper.sweep()  # of an inbox that is due, so it knows the app now
        store.clock.advance(FREE_S)
        await store.deliver("ann", record=young)
        await sweeper.sweep()
        assert store.holds(old)
        await admin.apps.change(APP_ID, "tier", "free", store.clock.ms)
        assert await sweeper.sweep() == 1
    assert not store.holds(old)
    assert store.holds(young)
    assert store.due("ann") == store.clock.ms + TIERS["free"].retention_ms


async def test_an_upgrade_keeps_what_is_held(store: Store) -> None:
    """G4: the sweeper goes by the new tier from the change on."""
    await store.fill("ann", 2)
    store.clock.advance(FREE_S - 1)
    async with store.admin() as admin:
        await admin.apps.change(APP_ID, "tier", "basic", store.clock.ms)
    store.use_tier("basic")
    store.clock.advance(2)
    assert await store.sweeper().sweep() == 0
    assert [e.seq for e in await store.page("ann")] == [1, 2]


async def test_a_deleted_app_leaves_nothing(store: Store) -> None:
    """G4: after the app's record and salt, everything its users had goes, in one round."""
    other = "02" + "9" * 30
    record = secrets.token_bytes(64)
    await store.deliver("ann", together("ann"), "bob", record=record)
    await store.attach("ann")
    await store.attach("only-a-device")
    sweeper = store.sweeper()
    async with store.admin() as admin:
        await admin.apps.change(APP_ID, "tier", "free", store.clock.ms)
    await sweeper.sweep()  # of inboxes that are due, so it knows the app now
    await store.inboxes.deliver(
        other, store.app.tier, ("ann",), NewMessage(b"i" * 16, b"another app's", store.clock.ms)
    )
    async with store.admin() as admin:
        await admin.apps.delete(APP_ID)
    await sweeper.sweep()
    assert not store.holds(record)
    left = names_of(store, APP_ID)
    assert left
    assert all(b":dup:" in key and store.raw.pttl(key) > 0 for key in left)  # minutes only
    for bucket in range(256):
        assert not [m for m in store.raw.zrange(store.keys.due(bucket), 0, -1) if APP_ID in str(m)]
    assert store.raw.xlen(store.keys.user(other, "ann").inbox) == 1


async def test_a_message_after_the_deletion_is_swept_too(store: Store) -> None:
    """G4: a gateway that had not heard of it yet leaves nothing that stays for ever."""
    await store.fill("ann", 1)
    async with store.admin() as admin:
        await admin.apps.delete(APP_ID)
    await store.sweeper().sweep()
    await store.fill("ann", 1)
    assert store.due("ann") is not None
    store.clock.advance(FREE_S)
    await store.sweeper().sweep()
    assert (store.inbox("ann"), store.meta("ann"), store.due("ann")) == ([], {}, None)


async def test_an_unreadable_app_holds_up_nobody_else(store: Store) -> None:
    """G4: one damaged record among the region's apps does not stop the sweep of the others."""
    damaged = "02" + "0" * 29 + "d"
    store.raw.set(store.keys.app(damaged), b"no record at all")
    bucket = store.keys.user(APP_ID, "ann").bucket
    await store.fill("ann", 1)
    # Ahead of the others, and more than one batch of them.
    store.raw.zadd(store.keys.due(bucket), {f"{damaged}:user{n}": n for n in range(2 * BATCH)})
    store.clock.advance(FREE_S)
    assert await store.sweeper().sweep() == 1
    assert store.raw.zcard(store.keys.due(bucket)) == 2 * BATCH + 1


async def test_sweeping_a_full_redis_loses_nothing(one_store: Store) -> None:
    """G1, G4: writing an inbox anew must not be cut short by maxmemory; and sweeping is what a
    full Redis needs."""
    await one_store.fill("ann", 1)
    one_store.clock.advance(1)
    await one_store.fill("ann", 2)
    one_store.clock.advance(FREE_S - 1)
    try:
        one_store.raw.config_set("maxmemory", 1)
        with pytest.raises(Unavailable) as refused:
            await one_store.deliver("ann")
        assert refused.value.reason == "oom"
        assert await one_store.sweeper().sweep() == 1
    finally:
        one_store.raw.config_set("maxmemory", 0)
    assert [(e.seq, e.record) for e in await one_store.page("ann")] == [(2, b"2"), (3, b"3")]


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
    await store.fill("ann", 1)
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
            assert len(store.inbox("ann")) == 1
            monkeypatch.setattr(store.link, "call", real_call)
            rounds.let_one_go()
            while rounds.begun < 3:
                await asyncio.wait({task}, timeout=0.005)
        assert store.inbox("ann") == []
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_entry_that_nobody_wrote_stops_no_other_round(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: a name that can't be read ended the sweeper, then its worker, and with each worker that
    took the lease the next one."""
    keys = store.keys.user(store.app.id, "ann")
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
