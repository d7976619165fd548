"""Sends what one endpoint's log has to send.

Several events are on their way at a time, so a later one may overtake an earlier one, whose number
tells it. How many there are is halved with each failure and grows with each success: so an endpoint
that is dead holds one connection, and nobody else waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway.apps.errors import WebhookNotFound
from gateway.apps.webhooks import Webhook, webhook_of
from gateway.clock import Clock
from gateway.hooks import schedule, signing
from gateway.hooks.sender import Answer, Sender
from gateway.security.pseudonyms import Pseudonyms
from gateway.security.sealing import Tampered
from gateway.store.directory import AppDirectory
from gateway.store.errors import AppNotFound
from gateway.store.hook_events import HookEvents, encode, webhook_id_of
from gateway.store.hook_log import FAILING, GONE, Attempt, HookLogs, Outcome, Record
from gateway.store.hook_queue import KEPT_MS

_log = structlog.get_logger()

AT_ONCE: Final = 16
"""Events that are on their way to one endpoint at most."""

BATCH: Final = 128
"""Events that are read at a time."""

FAILING_MS: Final = 24 * 3600 * 1000
"""An endpoint that has taken nothing for so long is said to be failing."""

OFF_MS: Final = KEPT_MS
"""An endpoint that has taken nothing for so long is turned off."""

REFUSES: Final = 410
SLOW_DOWN: Final = frozenset({429, 502, 503, 504})
PAUSE_MS: Final = 1000
"""How long an endpoint is left alone that says it is too much, and not for how long."""


@dataclass(slots=True)
class HookCounts:
    """What a dispatcher has counted: `attempts` by what came of them."""

    taken: int = 0
    lost: int = 0
    attempts: dict[str, int] = field(default_factory=dict)
    turned_off: int = 0
    failing: dict[tuple[str, str], int] = field(default_factory=dict)
    """Endpoints that have taken nothing since that time, in ms, although something was sent."""


@dataclass(frozen=True, slots=True)
class Means:
    """What all endpoints are sent to with."""

    logs: HookLogs
    events: HookEvents
    directory: AppDirectory
    sender: Sender
    clock: Clock
    counts: HookCounts
    names: Pseudonyms


class Endpoint:
    """One endpoint; `mine` says whether this process may still send to it."""

    def __init__(
        self, app_id: str, webhook_id: str, means: Means, mine: Callable[[], bool]
    ) -> None:
        self._app_id = app_id
        self._id = webhook_id
        self._means = means
        self._mine = mine
        self._flying: dict[int, asyncio.Task[None] | None] = {}
        self._outcomes: list[tuple[Outcome, Answer | None]] = []
        self._pace = AT_ONCE
        self._not_before_ms = 0
        self._off = ""
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """Send all that is due by now; returns once nothing is on its way.

        Raises:
            OperationFailed: Redis is away. What is not noted as sent is sent again, with its id.
        """
        try:
            while self._mine() and not self._off:
                if not await self._some():
                    break
            while self._flying:
                await self._next_move()
        finally:
            flying = [task for task in self._flying.values() if task is not None]
            for task in flying:
                task.cancel()
            await asyncio.gather(*flying, return_exceptions=True)

    async def _some(self) -> bool:
        """Begin to send some of what is due; False where that is nothing."""
        means, now_ms = self._means, self._means.clock.wall_ms()
        if now_ms < self._not_before_ms:
            return False
        numbers = await means.logs.to_send(
            self._app_id, self._id, now_ms, len(self._flying) + BATCH
        )
        numbers = [number for number in numbers if number not in self._flying]
        if not numbers:
            if not self._flying:
                return False
            await self._next_move()
            return True
        try:
            app = await means.directory.get(self._app_id)
            webhook = webhook_of(app.webhooks, self._id)
        except (AppNotFound, WebhookNotFound):
            return False
        page = await means.logs.read(self._app_id, self._id, numbers)
        if page is None:
            return False
        there = {record.number: record for record in page.records}
        for number in numbers[: numbers.index(page.looked) + 1]:
            while len(self._flying) >= self._pace:
                await self._next_move()
            if not self._mine() or self._off or means.clock.wall_ms() < self._not_before_ms:
                return True
            record = there.get(number)
            if record is None or record.noted.time_ms <= means.clock.wall_ms() - KEPT_MS:
                self._outcomes.append((Outcome(number, None, b""), None))
                self._flying[number] = None
                await self._flush()
            else:
                self._flying[number] = asyncio.create_task(self._send(webhook, record))
        return True

    async def _send(self, webhook: Webhook, record: Record) -> None:
        """One attempt."""
        means, number = self._means, record.number
        app = await means.directory.get(self._app_id)
        began_ms = means.clock.wall_ms()
        try:
            earlier = means.events.attempts(app, webhook, record)
            body = encode(means.events.body(app, webhook, record))
        except Tampered:  # it can't be told: its number says that it is missing
            self._outcomes.append((Outcome(number, None, b""), None))
            return
        headers = signing.headers(
            webhook.secrets, webhook_id_of(webhook, record), began_ms // 1000, body
        )
        answer = await means.sender.send(webhook.url, headers, body, began_ms / 1000)
        now_ms = means.clock.wall_ms()
        made = Attempt(began_ms, now_ms - began_ms, answer.status, answer.error, answer.body)
        attempts = [*earlier, made]
        sealed = means.events.seal_attempts(app, webhook, number, attempts, now_ms)
        again_ms = None
        if not answer.ok:
            again_ms = schedule.next_ms(
                len(attempts), now_ms, record.noted.time_ms, answer.retry_after_s
            )
        self._outcomes.append((Outcome(number, again_ms, sealed), answer))
        self._learn(answer, now_ms)

    def _learn(self, answer: Answer, now_ms: int) -> None:
        how = str(answer.status) if answer.status else answer.error
        counts = self._means.counts.attempts
        word = "ok" if answer.ok else how if not answer.status else f"{answer.status // 100}xx"
        counts[word] = counts.get(word, 0) + 1
        if answer.ok:
            self._pace = min(AT_ONCE, self._pace + 1)
            return
        self._pace = max(1, self._pace // 2)
        if answer.status == REFUSES:
            self._off = GONE
        elif answer.status in SLOW_DOWN:
            wait_ms = PAUSE_MS if answer.retry_after_s is None else answer.retry_after_s * 1000
            self._not_before_ms = max(self._not_before_ms, now_ms + min(round(wait_ms), KEPT_MS))

    async def _next_move(self) -> None:
        """Wait until something on its way is there or has failed, and note what became of it."""
        tasks = [task for task in self._flying.values() if task is not None]
        if not self._outcomes and tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
        await self._flush()

    async def _flush(self) -> None:
        """Note what became of attempts."""
        noted, self._outcomes = self._outcomes, []
        if not noted:
            return
        means, answers = self._means, [answer for _, answer in noted if answer is not None]
        took = any(answer.ok for answer in answers)
        since_ms, off = await means.logs.done(
            self._app_id,
            self._id,
            means.clock.wall_ms(),
            "ok" if took else "failed" if answers else "",
            [outcome for outcome, _ in noted],
            off=self._off,
            not_before_ms=self._not_before_ms,
        )
        for outcome, _ in noted:
            self._flying.pop(outcome.number, None)
        await self._see(since_ms, off)

    async def _see(self, since_ms: int, off: str) -> None:
        """Take up how the log says that the endpoint is."""
        means, name = self._means, (self._app_id, self._id)
        if since_ms and not off:
            means.counts.failing[name] = since_ms
        else:
            means.counts.failing.pop(name, None)
        if since_ms and means.clock.wall_ms() - since_ms >= OFF_MS and not off:
            off = self._off = FAILING
            await means.logs.done(
                self._app_id, self._id, means.clock.wall_ms(), "", [], off=FAILING
            )
            means.counts.failing.pop(name, None)
        if off and self._off == off:
            means.counts.turned_off += 1
            _log.warning(
                "webhook_off", app=means.names.app(self._app_id), webhook=self._id, reason=off
            )
        self._off = off or self._off
