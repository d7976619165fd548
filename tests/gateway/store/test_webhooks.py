"""The webhooks of an app, as its owner keeps them."""

from __future__ import annotations

import pytest

from gateway.apps.errors import InvalidWebhook, TooManyWebhooks, WebhookNotFound
from gateway.apps.webhooks import MAX_WEBHOOKS
from gateway.store.errors import AppNotFound
from gateway.store.hook_log import HookLogs, Outcome
from gateway.store.hook_queue import HookQueue
from tests.gateway.store.conftest import APP_ID, Store, message_id
from tests.gateway.store.hooking import URL, event, give_webhook, take_all

NOW = 1_800_000_000_000


async def fill(store: Store, count: int) -> None:
    """So many events wait in a bucket."""
    queue = HookQueue(store.link, store.keys)
    for _ in range(count):
        await queue.note(APP_ID, "ann", event(store), message_id(), store.clock.ms)


async def test_an_app_has_few_endpoints(store: Store) -> None:
    """G9: the next one is refused, and an id that is none is said to be none."""
    async with store.admin() as admin:
        for _ in range(MAX_WEBHOOKS):
            await admin.webhooks.add(APP_ID, URL, ("*",), NOW)
        with pytest.raises(TooManyWebhooks):
            await admin.webhooks.add(APP_ID, URL, ("*",), NOW)
        with pytest.raises(WebhookNotFound):
            await admin.webhooks.test(APP_ID, "wh_0000000000000000", NOW)
        with pytest.raises(InvalidWebhook):
            await admin.webhooks.add(APP_ID, "http://chat.example/", ("*",), NOW)
        with pytest.raises(AppNotFound):
            await admin.webhooks.add("02" + "f" * 30, URL, ("*",), NOW)


async def test_redis_reads_nothing_of_an_event(store: Store) -> None:
    """G7: neither what happened, nor where it is sent, nor what was answered."""
    secret = "zz-needle"
    webhook = await give_webhook(store)
    queue = HookQueue(store.link, store.keys)
    said = event(store, id=secret)
    await queue.note(APP_ID, "ann", said, message_id(), store.clock.ms)
    await take_all(store, webhook)
    assert not store.holds(secret.encode())
    assert not store.holds(b"message.sent")
    assert not store.holds(b"chat.example")
    assert not store.holds(webhook.secrets[0].encode())


async def test_a_range_is_sent_again(store: Store) -> None:
    """With the ids that the events had; what is kept no more is not counted."""
    webhook, logs = await give_webhook(store), HookLogs(store.link, store.keys)
    await fill(store, 5)
    await take_all(store, webhook)
    names = (APP_ID, webhook.id)
    done = [Outcome(number, None, b"sealed") for number in range(1, 6)]
    await logs.done(*names, store.clock.ms, "ok", done)
    assert await logs.to_send(*names, store.clock.ms, 10) == []
    async with store.admin() as admin:
        before = await admin.webhooks.events(*names, store.clock.ms, 0)
        assert await admin.webhooks.redeliver(*names, store.clock.ms, 2, 3) == 2
        assert await admin.webhooks.redeliver(*names, store.clock.ms, 5, 900) == 1
        after = await admin.webhooks.events(*names, store.clock.ms, 0)
    assert await logs.to_send(*names, store.clock.ms, 10) == [2, 3, 5]
    assert [each.id for each in before.events] == [each.id for each in after.events]


async def test_events_come_in_pages(store: Store) -> None:
    """`events` after a number, in order, until there is none."""
    webhook = await give_webhook(store)
    await fill(store, 7)
    await take_all(store, webhook)
    seen, after = [], 0
    async with store.admin() as admin:
        while True:
            page = await admin.webhooks.events(APP_ID, webhook.id, store.clock.ms, after, 3)
            seen += [each.body["data"]["seq"] for each in page.events]
            assert page.lost == []
            if page.next is None:
                break
            after = page.next
        last = await admin.webhooks.events(APP_ID, webhook.id, store.clock.ms, 7)
    assert seen == list(range(1, 8))
    assert (last.events, last.lost, last.next) == ([], [], None)


async def test_a_rotated_secret_is_beside_the_one_before(store: Store) -> None:
    """Two at a time: the one before the last is gone."""
    webhook = await give_webhook(store, signing="ed25519")
    async with store.admin() as admin:
        one = await admin.webhooks.rotate(APP_ID, webhook.id, NOW)
        two = await admin.webhooks.rotate(APP_ID, webhook.id, NOW)
    assert one.secrets[1] == webhook.secrets[0]
    assert two.secrets[1] == one.secrets[0]
    assert len(two.secrets) == 2
    assert all(secret.startswith("whsk_") for secret in two.secrets)


@pytest.mark.parametrize("how", ["webhook", "app"])
async def test_nothing_is_left_of_what_was_deleted(store: Store, how: str) -> None:
    """G11: with an endpoint its log goes at once; with the app all of its keys do."""
    webhook = await give_webhook(store)
    await fill(store, 3)
    await take_all(store, webhook)
    await fill(store, 3)
    async with store.admin() as admin:
        if how == "app":
            await admin.apps.delete(APP_ID)
        else:
            await admin.webhooks.delete(APP_ID, webhook.id, store.clock.ms)
            assert not [k for k in store.raw.scan_iter(count=1000) if b":hook:" in k]
            store.clock.advance(4 * 24 * 3600)
    await store.sweeper().sweep()
    left = [k for k in store.raw.scan_iter(count=1000) if b"hook" in k]
    assert [k for k in left if store.raw.type(k) != b"set"] == []
    assert not store.raw.sismember(store.keys.hook_apps, APP_ID)
    due = [m for k in store.raw.scan_iter("*:due") for m in store.raw.zrange(k, 0, -1)]
    assert not any(b":h:" in member for member in due)
