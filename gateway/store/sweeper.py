"""The sweeper: what is past its time leaves Redis within a minute, read or not.

Reading already hides it to the millisecond (`InboxStore.page`); this is about the sealed bytes. In
an inbox or log of more than 100 messages (1,000 for a message's own time to live) Redis frees them
block by block, so a few may go later (sweep.lua, erase.lua).

Each bucket has a due list, so an inbox or a log nobody touches is found without looking at the
others, and a ttl list of the entries whose own time to live is shorter. One gateway of the region
sweeps at a time, by a lease.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

import structlog

from gateway.apps.errors import AppError
from gateway.redis.errors import OperationFailed, Unavailable
from gateway.redis.link import Link
from gateway.redis.slots import BUCKETS
from gateway.security.sealing import SealError
from gateway.store.directory import AppDirectory
from gateway.store.errors import AppNotFound
from gateway.store.groups import GroupStore
from gateway.store.inbox import PROFILE_MS, STALE_MS
from gateway.store.keys import GROUP_DUE, LOG_DUE, STAMP, Keys
from gateway.store.scripts import script

SILENT_MS: Final = 120_000
"""Time without a gateway at work that is noted."""

GAPS_KEPT: Final = 8
"""How many such times are kept."""

_SEEN: Final = script("seen", "now")
_LEASE: Final = script("lease")
_SWEEP: Final = script("sweep")
_SWEEP_LOG: Final = script("sweep_log")
_ERASE: Final = script("erase")

INTERVAL_S: Final = 10.0
LEASE_MS: Final = 30_000
BATCH: Final = 100

_log = structlog.get_logger()


class Sweeper:
    """Sweeps a region. `clock_ms` gives milliseconds since 1970; nothing is swept while `trusted`
    says that this time may be wrong."""

    def __init__(
        self,
        link: Link,
        keys: Keys,
        directory: AppDirectory,
        groups: GroupStore,
        clock_ms: Callable[[], int],
        trusted: Callable[[], bool],
    ) -> None:
        self._link = link
        self._keys = keys
        self._directory = directory
        self._groups = groups
        self._clock_ms = clock_ms
        self._trusted = trusted
        self._id = secrets.token_hex(8)
        self._overdue_ms = 0
        self._tended_ms = clock_ms()

    @property
    def lag_s(self) -> float:
        """By how much the sweeping is late, in seconds.

        How long the oldest thing was due that the last round found here, and the time since that
        round ended, or since another gateway was seen to hold the lease. So it grows while nobody
        sweeps, and is mostly below `INTERVAL_S` while all is well.
        """
        return (self._overdue_ms + max(self._clock_ms() - self._tended_ms, 0)) / 1000

    async def run(self) -> None:
        """Sweep every `INTERVAL_S` while this process holds the lease. Never returns."""
        self._tended_ms = self._clock_ms()  # by now Redis has told the time
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self._note_life()
            if not self._trusted():
                continue  # the lease goes to a gateway whose clock is right
            try:
                if await self.lease():
                    removed = await self.sweep()
                    if removed:
                        _log.info("swept", messages=removed)
                else:
                    self._overdue_ms = 0  # how late it is, its holder says
                self._tended_ms = self._clock_ms()
            except Unavailable as error:
                _log.warning("sweep_put_off", reason=error.reason)
            except Exception as error:  # noqa: BLE001 - what can't be read stops no other round
                _log.error("sweep_failed", reason=type(error).__name__, exc_info=error)

    async def _note_life(self) -> None:
        """Note that the region is at work; say so where it was not for long, or where Redis was
        restored from a backup, which looks the same."""
        keys = (STAMP, self._keys.stamp_clock)
        try:
            since = await self._link.run(_SEEN, keys, SILENT_MS, GAPS_KEPT)
        except OperationFailed:
            return  # in ten seconds again; the link says what it is
        if since is not None:
            _log.warning(
                "region_was_silent",
                since=int(since),
                note="no gateway was at work, or Redis is that of a backup: homeport region check",
            )

    async def lease(self) -> bool:
        """Take the lease, or renew it. False: another gateway has it, and sweeps.

        Raises:
            Unavailable, CommandFault.
        """
        return bool(await self._link.run(_LEASE, (self._keys.sweeper,), self._id, LEASE_MS))

    async def sweep(self) -> int:
        """Go through all due lists once; returns how many messages were removed.

        Raises:
            Unavailable: Redis went away; what is left is swept next time.
        """
        self._overdue_ms = 0
        removed = await asyncio.gather(
            *(self._sweep_bucket(b) for b in range(BUCKETS)),
            *(self._erase_expired(b) for b in range(BUCKETS)),
        )
        return sum(removed)

    def _found(self, scores: list[bytes], now: int) -> None:
        """These times were due. 0 is that of what was made due for a change of its app."""
        for score in scores:
            if score != b"0":
                self._overdue_ms = max(self._overdue_ms, now - int(float(score)))
                return

    async def _sweep_bucket(self, bucket: int) -> int:
        due, now = self._keys.due(bucket), self._clock_ms()
        removed = passed_over = 0
        while True:
            found = await self._link.call(
                "ZRANGE", due, "-inf", now, "BYSCORE", "LIMIT", passed_over, BATCH, "WITHSCORES"
            )
            members = found[::2]
            self._found(found[1::2], now)
            times: dict[str, tuple[int, int] | None] = {}
            for member in members:
                app_id, _, name = member.decode().partition(":")
                if name.startswith(GROUP_DUE):
                    passed_over += not await self._group(app_id, name.removeprefix(GROUP_DUE))
                    continue
                if app_id not in times:
                    times[app_id] = await self._times(app_id)
                kept = times[app_id]
                if kept is None:
                    passed_over += 1
                    continue
                removed += await self._sweep_one(app_id, name, now, *kept)
            if len(members) < BATCH:
                return removed

    async def _sweep_one(
        self, app_id: str, name: str, now: int, retention_ms: int, profile_ms: int
    ) -> int:
        """Sweep a log, or an inbox: a user's, or a room's, which is kept like one."""
        if name.startswith(LOG_DUE):
            log = self._keys.log(app_id, name)
            removed = await self._link.run(
                _SWEEP_LOG, (log.log, log.meta, log.due), now, retention_ms, log.member
            )
        else:
            keys = self._keys.user(app_id, name)
            removed = await self._link.run(
                _SWEEP,
                keys.swept,
                now,
                retention_ms,
                profile_ms,
                keys.member,
                STALE_MS,
            )
        return int(removed)

    async def _erase_expired(self, bucket: int) -> int:
        """Entries whose own time to live is over."""
        ttl, now, removed = self._keys.ttl(bucket), self._clock_ms(), 0
        while True:
            found = await self._link.call(
                "ZRANGE", ttl, "-inf", now, "BYSCORE", "LIMIT", 0, BATCH, "WITHSCORES"
            )
            members = found[::2]
            self._found(found[1::2], now)
            streams: dict[str, list[str]] = {}
            for member in members:
                stream, _, entry_id = member.decode().partition(" ")
                streams.setdefault(stream, []).append(entry_id)
            for stream, ids in streams.items():
                app_id, _, name = stream.partition(":")
                key = (
                    self._keys.log(app_id, name).log
                    if name.startswith(LOG_DUE)
                    else self._keys.user(app_id, name).inbox
                )
                removed += await self._link.run(_ERASE, (key, ttl), stream, *ids)
            if len(members) < BATCH:
                return removed

    async def _group(self, app_id: str, group_id: str) -> bool:
        """Look after a group; False where it stays due."""
        try:
            await self._groups.look_after(await self._directory.read(app_id), group_id)
        except AppNotFound:
            await self._groups.purge(app_id, group_id)
        except (SealError, AppError) as error:
            _log.error("sweep_app_unreadable", reason=type(error).__name__)
            return False
        except Unavailable as error:
            # What the group owes its members can't be written now, on a full Redis say. What stands
            # behind it in the due list is what makes room.
            _log.warning("sweep_group_put_off", reason=error.reason)
            return False
        return True

    async def _times(self, app_id: str) -> tuple[int, int] | None:
        """How long messages and unused profiles of an app are kept, ms; None: it can't be told."""
        try:
            # Not from memory: whoever made an inbox due for a change has written the change before,
            # and an old time would put the inbox off to that time.
            return (await self._directory.read(app_id)).tier.retention_ms, PROFILE_MS
        except AppNotFound:
            return 0, 0
        except (SealError, AppError) as error:
            _log.error("sweep_app_unreadable", reason=type(error).__name__)
            return None
