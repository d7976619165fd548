"""The log of an endpoint: dense numbers, and what became of each event."""

from __future__ import annotations

import pytest

from gateway.store import hook_log
from gateway.store.hook_log import FAILING, HookLogs, Outcome
from gateway.store.hook_queue import KEPT_MS, HookQueue
from gateway.store.keys import bucket_of
from tests.gateway.store.conftest import APP_ID, Store, message_id
from tests.gateway.store.hooking import event, give_webhook, take_all


async def fill(store: Store, count: int, whom: str = "ann") -> None:
    """So many events wait in a bucket."""
    queue = HookQueue(store.link, store.keys)
    for _ in range(count):
        await queue.note(APP_ID, whom, event(store), message_id(), store.clock.ms)


async def test_numbers_are_dense_over_all_buckets(store: Store) -> None:
    """Each endpoint numbers its events 1, 2, 3…, whichever bucket they come from; they are to be
    sent in that order."""
    webhook, logs = await give_webhook(store), HookLogs(store.link, store.keys)
    for user in ("ann", "bob", "cat"):
        await fill(store, 50, user)
    await take_all(store, webhook)
    state = await logs.state(APP_ID, webhook.id)
    assert state is not None
    assert (state.first, state.last, state.waiting) == (1, 150, 150)
    assert await logs.to_send(APP_ID, webhook.id, store.clock.ms, 200) == list(range(1, 151))
    page = await logs.read(APP_ID, webhook.id, range(1, 151))
    assert page is not None
    assert [record.number for record in page.records] == list(range(1, 151))


async def test_what_is_in_the_log_is_taken_once(store: Store) -> None:
    """A dispatcher that dies between the log and the bucket leaves both: the next one, and a slow
    one that wakes up, add nothing a second time."""
    webhook = await give_webhook(store)
    queue, logs, bucket = (
        HookQueue(store.link, store.keys),
        HookLogs(store.link, store.keys),
        bucket_of(APP_ID, "ann"),
    )
    await fill(store, 3)
    waiting = await queue.waiting(APP_ID, bucket)
    assert waiting is not None
    add = (APP_ID, webhook.id, store.clock.ms, [(bucket, None, waiting)], waiting.values)
    assert await logs.take(*add)
    assert not await logs.take(*add)
    await take_all(store, webhook)
    state = await logs.state(APP_ID, webhook.id)
    assert state is not None
    assert state.last == 3


async def test_what_the_bucket_dropped_has_numbers(store: Store) -> None:
    """G5: lost events take up numbers, so that a receiver sees a hole and a reader is told."""
    webhook, logs = await give_webhook(store), HookLogs(store.link, store.keys)
    queue, bucket = HookQueue(store.link, store.keys), bucket_of(APP_ID, "ann")
    await fill(store, 2)
    waiting = await queue.waiting(APP_ID, bucket)
    assert waiting is not None
    took = [(bucket, None, waiting)]
    assert await logs.take(APP_ID, webhook.id, store.clock.ms, took, [7, *waiting.values])
    assert await logs.to_send(APP_ID, webhook.id, store.clock.ms, 10) == [8, 9]
    async with store.admin() as admin:
        page = await admin.webhooks.events(APP_ID, webhook.id, store.clock.ms, 0)
    assert page.lost == [(1, 7)]
    assert [each.body["data"]["seq"] for each in page.events] == [8, 9]


async def test_a_full_log_drops_the_oldest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """G9: a log holds so many bytes, and what goes is not sent and is said to be lost."""
    webhook, logs = await give_webhook(store), HookLogs(store.link, store.keys)
    monkeypatch.setattr(hook_log, "LOG_BYTES", 3000)
    await fill(store, 100)
    await take_all(store, webhook)
    state = await logs.state(APP_ID, webhook.id)
    assert state is not None
    assert state.bytes <= 3000
    assert (state.last, state.waiting) == (100, 100 - state.first + 1)
    async with store.admin() as admin:
        page = await admin.webhooks.events(APP_ID, webhook.id, store.clock.ms, 4)
    assert page.lost == [(5, state.first - 1)]


async def test_attempts_are_noted_and_end_the_sending(store: Store) -> None:
    """What was taken is sent no more; what was not is due again when it is said to be."""
    webhook, logs = await give_webhook(store), HookLogs(store.link, store.keys)
    await fill(store, 3)
    await take_all(store, webhook)
    now_ms, names = store.clock.ms, (APP_ID, webhook.id)
    outcomes = [Outcome(1, None, b"ok"), Outcome(2, now_ms + 5000, b"bad")]
    assert await logs.done(*names, now_ms, "ok", outcomes) == (0, "")
    assert await logs.to_send(*names, now_ms, 10) == [3]
    assert await logs.to_send(*names, now_ms + 5000, 10) == [3, 2]
    page = await logs.read(*names, [1, 2, 3])
    assert page is not None
    assert [record.attempts for record in page.records] == [b"ok", b"bad", b""]


async def test_since_when_an_endpoint_fails_is_known(store: Store) -> None:
    """From the first attempt that failed until one is taken; once it is off nothing is due, and
    what waits is sent when it is on again."""
    webhook, logs = await give_webhook(store), HookLogs(store.link, store.keys)
    await fill(store, 2)
    await take_all(store, webhook)
    now_ms, names = store.clock.ms, (APP_ID, webhook.id)
    assert await logs.done(*names, now_ms, "failed", []) == (now_ms, "")
    assert await logs.done(*names, now_ms + 9, "failed", []) == (now_ms, "")
    assert await logs.done(*names, now_ms + 10, "ok", []) == (0, "")
    assert await logs.done(*names, now_ms, "failed", [], off=FAILING) == (now_ms, FAILING)
    queue, bucket = HookQueue(store.link, store.keys), store.keys.hook(*names).bucket
    assert await queue.hooked(bucket, now_ms, 10) == []
    await fill(store, 1)
    await take_all(store, webhook)
    assert f"{APP_ID}:{webhook.id}" not in await queue.hooked(bucket, now_ms, 10)
    async with store.admin() as admin:
        await admin.webhooks.enable(*names, now_ms)
    assert f"{APP_ID}:{webhook.id}" in await queue.hooked(bucket, now_ms, 10)
    assert await logs.to_send(*names, now_ms, 10) == [1, 2, 3]


async def test_a_log_is_kept_three_days_exactly(store: Store) -> None:
    """G11: to the millisecond for who reads, and within a sweep in Redis; numbers go on."""
    webhook = await give_webhook(store)
    await fill(store, 2)
    await take_all(store, webhook)
    store.clock.advance(KEPT_MS / 1000 - 0.001)
    async with store.admin() as admin:
        page = await admin.webhooks.events(APP_ID, webhook.id, store.clock.ms, 0)
        assert len(page.events) == 2
        store.clock.advance(0.001)
        page = await admin.webhooks.events(APP_ID, webhook.id, store.clock.ms, 0)
        assert (page.events, page.lost) == ([], [(1, 2)])
        assert store.raw.exists(f"{store.keys.hook(APP_ID, webhook.id).log}:0")
        await store.sweeper().sweep()
        assert not store.raw.exists(f"{store.keys.hook(APP_ID, webhook.id).log}:0")
        assert await admin.webhooks.test(APP_ID, webhook.id, store.clock.ms) == 3
