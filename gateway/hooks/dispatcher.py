"""The dispatcher: takes what waits for webhooks to the logs of endpoints, and has it sent.

It looks at all buckets of the region for what waits there, of the apps that are its own
(`gateway.store.hook_leases`). An event goes from its bucket only once the log of each endpoint has
it, and from a log's list only once it was noted as sent: so whoever comes after a dispatcher that
was killed finds everything, and what was on its way is sent again with its id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from gateway.apps.app import App
from gateway.apps.webhooks import Webhook
from gateway.hooks.endpoint import FAILING_MS, Endpoint, Means
from gateway.redis.errors import OperationFailed, Unavailable
from gateway.redis.link import Link
from gateway.security.sealing import Tampered
from gateway.store.errors import AppNotFound
from gateway.store.hook_leases import RENEW_S, Leases
from gateway.store.hook_queue import ALL, KEPT_MS, HookQueue, Taken, Waiting, parse_noted
from gateway.store.keys import Keys
from gateway.tasks import Tasks, nothing_to_undo

BUSY_S: Final = 0.02
LOOK_S: Final = 0.25
IDLE_S: Final = 2.0
"""Seconds until the next look: where the last one found something, where it found nothing,
and where no app of the region has webhooks."""

LOOKED_AT: Final = 1000
"""What is found in one bucket at a time."""

AT_ONCE: Final = 16
"""Buckets that are taken from at a time."""

_log = structlog.get_logger()


class Dispatcher:
    """One of a region's. Its tasks are among `tasks`."""

    def __init__(self, link: Link, keys: Keys, means: Means, tasks: Tasks) -> None:
        self._link = link
        self._keys = keys
        self._means = means
        self._tasks = tasks
        self._queue = HookQueue(link, keys)
        self._leases = Leases(link, keys, means.clock)
        self._renewed = float("-inf")
        self._busy: set[str] = set()

    async def run(self) -> None:
        """Look, and look again. Never returns."""
        while True:
            wait_s = await self._look()
            await asyncio.sleep(wait_s)

    async def aclose(self) -> None:
        """Leave what there is to do to others, and close all connections."""
        try:
            await self._leases.give_up()
        finally:
            await self._means.sender.aclose()

    @property
    def failing(self) -> int:
        """How many endpoints have taken nothing for `FAILING_MS`, although something was sent."""
        now_ms = self._means.clock.wall_ms()
        failing = self._means.counts.failing
        return sum(now_ms - since_ms >= FAILING_MS for since_ms in failing.values())

    async def _look(self) -> float:
        """See to what there is to do; returns after how many seconds to look again."""
        try:
            if not await self._link.call("SCARD", self._keys.hook_apps):
                return IDLE_S
            if self._means.clock.steady() - self._renewed >= RENEW_S:
                asked = self._means.clock.steady()
                await self._leases.renew()
                self._renewed = asked
            return BUSY_S if await self._find() else LOOK_S
        except OperationFailed as error:
            _put_off(error)
            return IDLE_S

    async def _find(self) -> bool:
        """Begin whatever is to be done; True if there was something new."""
        now_ms = self._means.clock.wall_ms()
        found = await asyncio.gather(
            *(self._queue.hooked(bucket, now_ms, LOOKED_AT) for bucket in ALL)
        )
        waiting: dict[str, list[int]] = {}
        begun = False
        for bucket, members in zip(ALL, found, strict=True):
            for member in members:
                app_id, _, webhook_id = member.partition(":")
                if not self._leases.has(app_id) or member in self._busy:
                    continue
                begun = True
                if webhook_id:
                    self._begin(member, app_id, webhook_id)
                else:
                    waiting.setdefault(app_id, []).append(bucket)
        for app_id, buckets in waiting.items():
            self._busy.add(app_id)
            self._tasks.spawn(self._take(app_id, buckets), nothing_to_undo)
        return begun

    def _begin(self, member: str, app_id: str, webhook_id: str) -> None:
        self._busy.add(member)
        endpoint = Endpoint(app_id, webhook_id, self._means, lambda: self._leases.has(app_id))
        self._tasks.spawn(self._send(member, endpoint), nothing_to_undo)

    async def _send(self, member: str, endpoint: Endpoint) -> None:
        try:
            await endpoint.run()
        except OperationFailed as error:
            _put_off(error)
        finally:
            self._busy.discard(member)

    # -- from the buckets to the logs --------------------------------------------------------------

    async def _take(self, app_id: str, buckets: Sequence[int]) -> None:
        """Take what waits in these buckets to the logs of the app's endpoints."""
        try:
            for at in range(0, len(buckets), AT_ONCE):
                await self._take_some(app_id, buckets[at : at + AT_ONCE])
        except OperationFailed as error:
            _put_off(error)
        finally:
            self._busy.discard(app_id)

    async def _take_some(self, app_id: str, buckets: Sequence[int]) -> None:
        means = self._means
        found = await asyncio.gather(*(self._queue.waiting(app_id, bucket) for bucket in buckets))
        waiting = [
            (bucket, each) for bucket, each in zip(buckets, found, strict=True) if each is not None
        ]
        try:
            app = await means.directory.get(app_id)
        except AppNotFound:
            app = None
        kept = 0
        for webhook in () if app is None else app.webhooks:
            assert app is not None
            if not await self._log(app, webhook, waiting):
                return  # another dispatcher has the app, or the log is to be made first
            kept += 1
        if not self._leases.has(app_id):
            return
        for bucket, each in waiting:
            await self._queue.took(app_id, bucket, each, lost=not kept)
        means.counts.taken += sum(len(each.values) for _, each in waiting)

    async def _log(
        self, app: App, webhook: Webhook, waiting: Sequence[tuple[int, Waiting]]
    ) -> bool:
        """Add to an endpoint's log what it lacks of what is waiting; False where it did not take
        it."""
        means, now_ms = self._means, self._means.clock.wall_ms()
        taken = await means.logs.taken(app.id, webhook.id, [bucket for bucket, _ in waiting])
        sources: list[tuple[int, Taken | None, Waiting]] = []
        values: list[tuple[int, bytes]] = []
        lost = 0
        for bucket, each in waiting:
            gone, missing = each.missing(taken[bucket])
            lost += gone
            for value in missing:
                noted = parse_noted(value)
                try:
                    event = means.events.open_sealed(app, noted.sealed, absent=noted.absent)
                except Tampered:
                    lost += 1
                    continue
                if webhook.wants(event.type) and noted.time_ms > now_ms - KEPT_MS:
                    values.append((noted.time_ms, value))
            sources.append((bucket, taken[bucket], each))
        values.sort(key=lambda each: each[0])  # in a bucket they keep their order
        means.counts.lost += lost
        new: list[bytes | int] = [lost] if lost else []
        new += [value for _, value in values]
        if await means.logs.take(app.id, webhook.id, now_ms, sources, new):
            return True
        if await means.logs.state(app.id, webhook.id) is None:
            # Redis lost it, or the endpoint was deleted: only the app, as it is now, can tell.
            fresh = await means.directory.read(app.id)
            if any(each.id == webhook.id for each in fresh.webhooks):
                await means.logs.open(app.id, webhook.id, now_ms)
            else:
                await means.directory.reload(app.id)
        return False


def _put_off(error: OperationFailed) -> None:
    reason = error.reason if isinstance(error, Unavailable) else type(error).__name__
    _log.warning("webhooks_put_off", reason=reason)
