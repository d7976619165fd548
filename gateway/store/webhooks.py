"""An app's webhooks, as its owner keeps them: endpoints, and what was sent to each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from gateway.apps import webhooks
from gateway.apps.app import App
from gateway.apps.errors import WebhookNotFound
from gateway.apps.webhooks import TEST, Signing, Webhook, create_webhook, webhook_of
from gateway.redis.link import Link
from gateway.security.sealing import Sealer, SealError
from gateway.store.audit import AuditStore
from gateway.store.durable import DurableWrites
from gateway.store.hook_events import Event, HookEvents, webhook_id_of
from gateway.store.hook_log import Attempt, HookLogs, LogState
from gateway.store.hook_queue import HAPPENED, KEPT_MS
from gateway.store.keys import Keys
from gateway.store.registry import AppStore

MAX_PAGE: Final = 200
"""Events of one page."""

MAX_AGAIN: Final = 10_000
"""Numbers of a range that is sent again at a time."""


class Kept(NamedTuple):
    """An event in an endpoint's log: its ``webhook-id``, what the endpoint gets, and the attempts
    to send that."""

    id: str
    body: dict[str, Any]
    attempts: list[Attempt]


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events of an endpoint's log, in their order.

    `lost` are ranges of numbers, both ends included, of events that are kept no more. `next` is
    what to ask for after, None where the last event was reached.
    """

    events: list[Kept]
    lost: list[tuple[int, int]]
    next: int | None


class WebhookStore:
    """The webhooks of a region's apps. Times are milliseconds since 1970.

    Methods raise as those of `AppStore`, and `WebhookNotFound` where the app has no such endpoint.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        sealer: Sealer,
        apps: AppStore,
        audit: AuditStore,
        writes: DurableWrites,
    ) -> None:
        self._writes = writes
        self._keys = keys
        self._apps = apps
        self._audit = audit
        self._logs = HookLogs(link, keys)
        self._events = HookEvents(sealer)

    async def add(
        self,
        app_id: str,
        url: str,
        events: tuple[str, ...],
        now_ms: int,
        *,
        signing: Signing = "hmac",
        bodies: bool = False,
    ) -> Webhook:
        """Give an app another endpoint. From now on it is sent what happens.

        Raises:
            InvalidWebhook, TooManyWebhooks.
        """
        made = create_webhook(url, events, signing, now_ms, bodies=bodies)
        await self._apps.existing(app_id)
        await self._logs.open(app_id, made.id, now_ms)
        # Before the app says so: a dispatcher looks only where it is said that there are webhooks.
        await self._writes.call("SADD", self._keys.hook_apps, app_id)
        await self._apps.replace(
            app_id,
            lambda app: replace(app, webhooks=webhooks.with_webhook(app.webhooks, made)),
            now_ms,
        )
        await self._audit.note("webhook add", app_id, made.id)
        return made

    async def all(self, app_id: str) -> list[tuple[Webhook, LogState | None]]:
        """The endpoints of an app, and how each is; None where Redis has lost that."""
        app = await self._apps.existing(app_id)
        return [(each, await self._logs.state(app_id, each.id)) for each in app.webhooks]

    async def get(self, app_id: str, webhook_id: str) -> tuple[Webhook, LogState | None]:
        """One of them."""
        found = webhook_of((await self._apps.existing(app_id)).webhooks, webhook_id)
        return found, await self._logs.state(app_id, webhook_id)

    async def delete(self, app_id: str, webhook_id: str, now_ms: int) -> None:
        """Forget an endpoint, and all that was sent to it."""
        app = await self._replace(app_id, webhook_id, lambda _: None, now_ms)
        if not app.webhooks:
            await self._writes.call("SREM", self._keys.hook_apps, app_id)
        await self._logs.sweep(app_id, webhook_id, now_ms, 0)
        await self._audit.note("webhook delete", app_id, webhook_id)

    async def rotate(self, app_id: str, webhook_id: str, now_ms: int) -> Webhook:
        """Give an endpoint a fresh secret. The one before signs beside it until the next time."""
        app = await self._replace(app_id, webhook_id, webhooks.rotate, now_ms)
        await self._audit.note("webhook rotate", app_id, webhook_id)
        return webhook_of(app.webhooks, webhook_id)

    async def enable(self, app_id: str, webhook_id: str, now_ms: int) -> None:
        """Send to an endpoint again that was turned off, what waits for it first."""
        await self._again(app_id, webhook_id, now_ms, 1, 0, on=True)
        await self._audit.note("webhook enable", app_id, webhook_id)

    async def test(self, app_id: str, webhook_id: str, now_ms: int) -> int:
        """Send an endpoint an event that says nothing; returns its number."""
        app = await self._apps.existing(app_id)
        webhook_of(app.webhooks, webhook_id)
        sealed = self._events.seal(app, Event(TEST, {"id": webhook_id}), now_ms)
        value = b"%c%b%b%b" % (HAPPENED, now_ms.to_bytes(6, "big"), bytes(8), sealed)
        number = await self._logs.add(app_id, webhook_id, now_ms, value)
        if number is None:
            raise WebhookNotFound(webhook_id)
        return number

    async def redeliver(
        self, app_id: str, webhook_id: str, now_ms: int, first: int, last: int
    ) -> int:
        """Send the events from number `first` to `last`, `MAX_AGAIN` at most, again, with the ids
        that they had; returns how many are there."""
        last = min(last, first + MAX_AGAIN - 1)
        return await self._again(app_id, webhook_id, now_ms, first, last)

    async def events(
        self, app_id: str, webhook_id: str, now_ms: int, after: int, limit: int = MAX_PAGE
    ) -> EventPage:
        """The events of an endpoint after number `after`, whether or not they were delivered."""
        app = await self._apps.existing(app_id)
        webhook = webhook_of(app.webhooks, webhook_id)
        state = await self._logs.state(app_id, webhook_id)
        if state is None:
            return EventPage([], [], None)
        begin = max(after + 1, state.first)
        lost = [(after + 1, begin - 1)] if begin > after + 1 and state.last > after else []
        numbers = range(begin, min(state.last, begin + min(limit, MAX_PAGE) - 1) + 1)
        if not numbers:
            return EventPage([], lost, None)
        page = await self._logs.read(app_id, webhook_id, numbers)
        if page is None:
            return EventPage([], lost, None)
        found, at = [], begin
        for record in page.records:
            if record.noted.time_ms <= now_ms - KEPT_MS:
                continue
            try:
                kept = Kept(
                    webhook_id_of(webhook, record),
                    self._events.body(app, webhook, record),
                    self._events.attempts(app, webhook, record),
                )
            except SealError:
                continue  # said to be lost
            if record.number > at:
                lost.append((at, record.number - 1))
            found.append(kept)
            at = record.number + 1
        if page.looked >= at:
            lost.append((at, page.looked))
        return EventPage(found, _joined(lost), page.looked if page.looked < state.last else None)

    async def _again(
        self, app_id: str, webhook_id: str, now_ms: int, first: int, last: int, *, on: bool = False
    ) -> int:
        webhook_of((await self._apps.existing(app_id)).webhooks, webhook_id)
        count = await self._logs.again(app_id, webhook_id, now_ms, first, last, on=on)
        if count is None:
            raise WebhookNotFound(webhook_id)
        return count

    async def _replace(
        self,
        app_id: str,
        webhook_id: str,
        change: Callable[[Webhook], Webhook | None],
        now_ms: int,
    ) -> App:
        def made_of(app: App) -> App:
            found = webhook_of(app.webhooks, webhook_id)
            new = change(found)
            if new is None:
                kept = tuple(each for each in app.webhooks if each.id != webhook_id)
            else:
                kept = webhooks.with_webhook(app.webhooks, new)
            return replace(app, webhooks=kept)

        return await self._apps.replace(app_id, made_of, now_ms)


def _joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same, those that follow each other as one."""
    joined: list[tuple[int, int]] = []
    for first, last in ranges:
        if joined and joined[-1][1] == first - 1:
            first = joined.pop()[0]
        joined.append((first, last))
    return joined
