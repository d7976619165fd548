"""The sweeper: what is past its time leaves Redis within a minute, read or not.

Reading already hides it to the millisecond (`Inboxes.page`); this is about the sealed bytes. In an
inbox of more than 100 messages Redis frees them block by block, so a few may go later (sweep.lua).

Each bucket has a due list, so an inbox nobody touches is found without looking at the others. One
gateway of the region sweeps at a time, by a lease.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

import structlog

from gateway.apps.app import AppError
from gateway.security.sealing import SealError
from gateway.store.directory import AppDirectory
from gateway.store.errors import AppNotFound, StoreError, Unavailable
from gateway.store.inbox import PROFILE_MS
from gateway.store.keys import BUCKETS, Keys
from gateway.store.link import Link, script

_SWEEP: Final = script("sweep")

INTERVAL_S: Final = 10.0
LEASE_MS: Final = 30_000
BATCH: Final = 100
_log = structlog.get_logger("store")


class Sweeper:
    """Sweeps a region. `clock_ms` gives milliseconds since 1970."""

    def __init__(
        self, link: Link, keys: Keys, directory: AppDirectory, clock_ms: Callable[[], int]
    ) -> None:
        self._link = link
        self._keys = keys
        self._directory = directory
        self._clock_ms = clock_ms
        self._id = secrets.token_hex(8)

    async def run(self) -> None:
        """Sweep every `INTERVAL_S` while this process holds the lease. Never returns."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                if await self._lease():
                    removed = await self.sweep()
                    if removed:
                        _log.info("swept", messages=removed)
            except Unavailable as error:
                _log.warning("sweep_put_off", reason=error.reason)
            except StoreError as error:
                _log.error("sweep_failed", reason=type(error).__name__)

    async def _lease(self) -> bool:
        if await self._link.call("SET", self._keys.sweeper, self._id, "NX", "PX", LEASE_MS):
            return True
        if await self._link.call("GET", self._keys.sweeper) != self._id.encode():
            return False
        return bool(await self._link.call("PEXPIRE", self._keys.sweeper, LEASE_MS))

    async def sweep(self) -> int:
        """Go through all due lists once; returns how many messages were removed.

        Raises:
            Unavailable: Redis went away; what is left is swept next time.
        """
        removed = await asyncio.gather(*(self._sweep_bucket(b) for b in range(BUCKETS)))
        return sum(removed)

    async def _sweep_bucket(self, bucket: int) -> int:
        due, now = self._keys.due(bucket), self._clock_ms()
        removed = passed_over = 0
        while True:
            members = await self._link.call(
                "ZRANGE", due, "-inf", now, "BYSCORE", "LIMIT", passed_over, BATCH
            )
            times: dict[str, tuple[int, int] | None] = {}
            for member in members:
                app_id, _, user = member.decode().partition(":")
                if app_id not in times:
                    times[app_id] = await self._times(app_id)
                kept = times[app_id]
                if kept is None:
                    passed_over += 1
                    continue
                keys = self._keys.user(app_id, user)
                removed += await self._link.run(
                    _SWEEP,
                    (keys.inbox, keys.meta, keys.due, keys.talks, keys.unread),
                    now,
                    *kept,
                    keys.member,
                )
            if len(members) < BATCH:
                return removed

    async def _times(self, app_id: str) -> tuple[int, int] | None:
        """How long messages and unused profiles of an app are kept, ms; None: it can't be told."""
        try:
            # Not from memory: whoever made an inbox due for a change has written the change before,
            # and an old time would put the inbox off to that time.
            return (await self._directory.read(app_id)).tier.retention_ms, PROFILE_MS
        except AppNotFound:
            return 0, 0
        except (SealError, AppError) as error:
            _log.error("sweep_app_unreadable", app=app_id, reason=type(error).__name__)
            return None
