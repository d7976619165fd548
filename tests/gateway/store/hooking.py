"""What tests of webhooks share: an app with endpoints, and a dispatcher's first half by hand."""

from __future__ import annotations

from typing import Any

from gateway.apps.webhooks import Webhook
from gateway.security.sealing import Sealer
from gateway.store.hook_events import Event, HookEvents
from gateway.store.hook_log import HookLogs
from gateway.store.hook_queue import ALL, HAPPENED, HookQueue, Noted, parse_noted
from tests.gateway.store.conftest import Store

URL = "https://chat.example/hook"


async def give_webhook(store: Store, *events: str, **more: Any) -> Webhook:
    """Give the store's app an endpoint, and have the store know."""
    async with store.admin() as admin:
        made = await admin.webhooks.add(store.app.id, URL, events or ("*",), store.clock.ms, **more)
        store.app = await admin.apps.existing(store.app.id)
    return made


def event(store: Store, type_: str = "message.sent", wanted: int = HAPPENED, **about: Any) -> bytes:
    """An event as `NewEntry.event` has it."""
    made = Event(type_, about or {"id": "x"})
    return bytes((wanted,)) + HookEvents(Sealer(store.keyring)).seal(
        store.app, made, store.clock.ms
    )


async def noted(store: Store) -> list[Noted]:
    """All that waits in the buckets of the store's app."""
    queue, found = HookQueue(store.link, store.keys), []
    for bucket in ALL:
        waiting = await queue.waiting(store.app.id, bucket)
        if waiting is not None:
            found += [parse_noted(value) for value in waiting.values]
    return sorted(found, key=lambda each: each.time_ms)


async def take_all(store: Store, webhook: Webhook) -> None:
    """Take what waits in the buckets to the log of an endpoint, as a dispatcher does."""
    queue, logs = HookQueue(store.link, store.keys), HookLogs(store.link, store.keys)
    for bucket in ALL:
        waiting = await queue.waiting(store.app.id, bucket)
        if waiting is None:
            continue
        had = (await logs.taken(store.app.id, webhook.id, [bucket]))[bucket]
        lost, values = waiting.missing(had)
        new: list[bytes | int] = [lost] if lost else []
        assert await logs.take(
            store.app.id, webhook.id, store.clock.ms, [(bucket, had, waiting)], [*new, *values]
        )
        await queue.took(store.app.id, bucket, waiting)
