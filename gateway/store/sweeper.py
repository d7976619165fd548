"""The sweeper: what is past its time leaves Redis within a minute, read or not.

Reading already hides it to the millisecond; this is about the sealed bytes. Each bucket has a due
list, so an inbox, a conversation or a room that nobody touches is found without looking at the
others, and a ttl list of the messages whose own time to live is shorter. A conversation whose last
message some inbox may lack stands in the due list, too: the gateway that sent it may have died
before it told everyone, and the sweeper does it then. One gateway of the region sweeps at a time,
by a lease.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

import structlog

from gateway.apps.app import App
from gateway.apps.errors import AppError
from gateway.redis.errors import OperationFailed, Unavailable
from gateway.redis.link import Link
from gateway.redis.slots import BUCKETS
from gateway.security.sealing import SealError
from gateway.store.conversations import ConversationStore
from gateway.store.directory import AppDirectory
from gateway.store.errors import AppNotFound
from gateway.store.groups import GroupStore
from gateway.store.hook_log import HookLogs
from gateway.store.hook_queue import KEPT_MS, HookQueue
from gateway.store.inbox import PROFILE_MS, InboxStore
from gateway.store.keys import STAMP, Keys
from gateway.store.scripts import script
from gateway.store.scrub import Scrub

SILENT_MS: Final = 120_000
"""Time without a gateway at work that is noted."""

GAPS_KEPT: Final = 8
"""How many such times are kept."""

_SEEN: Final = script("seen", "now")
_LEASE: Final = script("lease")
_SWEEP_ROOM: Final = script("room_sweep")

INTERVAL_S: Final = 10.0
LEASE_MS: Final = 30_000
BATCH: Final = 100

SETTLE_S: Final = 5.0
"""How often a gateway says of which conversations everyone has what it sent."""

_log = structlog.get_logger()


async def keep_settling(conversations: ConversationStore, clock_ms: Callable[[], int]) -> None:
    """Say every `SETTLE_S` who has all references, and how much is stored. Never returns.

    What it does not come to, because Redis is away or this gateway dies, the sweeper makes sure of;
    or it is not counted as stored.
    """
    while True:
        await asyncio.sleep(SETTLE_S)
        await conversations.fanout.settle(clock_ms())
        await conversations.storage.settle()


class Sweeper:
    """Sweeps a region. `clock_ms` gives milliseconds since 1970; nothing is swept while `trusted`
    says that this time may be wrong."""

    def __init__(
        self,
        link: Link,
        keys: Keys,
        directory: AppDirectory,
        conversations: ConversationStore,
        inboxes: InboxStore,
        groups: GroupStore,
        *,
        clock_ms: Callable[[], int],
        trusted: Callable[[], bool],
    ) -> None:
        self._link = link
        self._keys = keys
        self._directory = directory
        self._conversations = conversations
        self._inboxes = inboxes
        self._groups = groups
        self._hook_queue = HookQueue(link, keys)
        self._hook_logs = HookLogs(link, keys)
        self._clock_ms = clock_ms
        self._trusted = trusted
        self._scrub = Scrub(link, keys, self._app, clock_ms)
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

    @property
    def lost_keys(self) -> int:
        """How many keys were found that only a lost one led to."""
        return self._scrub.lost_keys

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
                    await self.look_around()
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
        """Go through all due lists once; returns how many messages, and references to them, were
        removed.

        Raises:
            Unavailable: Redis, or a server of a cluster, went away. The rest was swept.
        """
        self._overdue_ms = 0
        results = await asyncio.gather(
            *(self._sweep_bucket(b) for b in range(BUCKETS)),
            *(self._end_messages(b) for b in range(BUCKETS)),
            return_exceptions=True,
        )
        await self._conversations.fanout.settle(self._clock_ms())  # where the sweeper made it so
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return sum(result for result in results if isinstance(result, int))

    async def look_around(self) -> None:
        """Look at some keys that nothing may lead to any more; see `Scrub`.

        Raises:
            Unavailable: Redis went away.
        """
        await self._scrub.round()

    def _found(self, scores: list[bytes], now: int) -> None:
        """These times were due. 0 is that of what was made due for a change of its app."""
        for score in scores:
            if score != b"0":
                self._overdue_ms = max(self._overdue_ms, now - int(float(score)))
                return

    async def _sweep_bucket(self, bucket: int) -> int:
        """Sweep what is due in a bucket. What can't be read, or be written now, is passed over."""
        due, now = self._keys.due(bucket), self._clock_ms()
        removed = passed_over = 0
        away: Unavailable | None = None
        apps: dict[str, App | Exception | None] = {}
        while self._trusted():
            found = await self._link.call(
                "ZRANGE", due, "-inf", now, "BYSCORE", "LIMIT", passed_over, BATCH, "WITHSCORES"
            )
            members = found[::2]
            self._found(found[1::2], now)
            for member in members:
                try:
                    app_id, _, name = member.decode().partition(":")
                    if app_id not in apps:
                        apps[app_id] = await self._app(app_id)
                    gone, done = await self._sweep_one(app_id, apps[app_id], name, bucket, now)
                except Unavailable as error:
                    away, done, gone = error, False, 0
                except Exception as error:  # noqa: BLE001 - it stops nobody else's sweep
                    _log.error("sweep_failed", reason=type(error).__name__, exc_info=error)
                    done, gone = False, 0
                removed += gone
                passed_over += not done
            if len(members) < BATCH:
                break
        if away is not None:
            raise away
        return removed

    async def _sweep_one(
        self, app_id: str, app: App | Exception | None, name: str, bucket: int, now: int
    ) -> tuple[int, bool]:
        """Sweep what one member of a due list names; `app` is what `_app` returned.

        Returns how many messages went, and False where it stays due.
        """
        if isinstance(app, Unavailable):
            raise app
        if isinstance(app, Exception):  # that has been logged
            return 0, False
        retention_ms, profile_ms = (0, 0) if app is None else (app.tier.retention_ms, PROFILE_MS)
        kind, colon, rest = name.partition(":")
        if not colon:
            return await self._inboxes.sweep(app_id, name, now, retention_ms, profile_ms), True
        if kind == "h":
            return await self._sweep_webhooks(app_id, app, rest, bucket, now), True
        if kind == "r":
            return await self._sweep_room(app_id, rest, now, retention_ms, profile_ms), True
        removed, more = 0, True
        while more:
            gone, more, owed = await self._conversations.sweep(
                app_id, name, now, retention_ms, profile_ms
            )
            removed += gone
        if owed and app is not None:
            await self._heal(app, kind, rest)
        return removed, not owed

    async def _heal(self, app: App, kind: str, rest: str) -> None:
        """Refer everyone to the last message of a conversation, which its gateway did not."""
        try:
            if kind == "g":
                await self._groups.heal(app, rest)
            else:
                one, _, other = rest.partition(":")
                to = self._conversations.direct(app.id, one, other)
                await self._conversations.heal(app.id, app.tier, to)
        except Unavailable as error:
            # A full Redis refuses it, say. What stands behind it in the due list makes room.
            _log.warning("heal_put_off", reason=error.reason)

    async def _sweep_webhooks(
        self, app_id: str, app: App | None, endpoint: str, bucket: int, now: int
    ) -> int:
        """Sweep what waits in a bucket for an app's webhooks, or the log of one of them."""
        there = set() if app is None else {each.id for each in app.webhooks}
        if not endpoint:
            kept_ms = KEPT_MS if there else 0
            return await self._hook_queue.sweep(app_id, bucket, now, kept_ms)
        removed, more = 0, True
        while more:
            kept_ms = KEPT_MS if endpoint in there else 0
            gone, more = await self._hook_logs.sweep(app_id, endpoint, now, kept_ms)
            removed += gone
        return removed

    async def _sweep_room(
        self, app_id: str, room: str, now: int, retention_ms: int, profile_ms: int
    ) -> int:
        keys = self._keys.room(app_id, room)
        names = (keys.log, keys.meta, keys.due)
        return int(
            await self._link.run(_SWEEP_ROOM, names, now, retention_ms, profile_ms, keys.member)
        )

    async def _end_messages(self, bucket: int) -> int:
        """Take the records of messages whose own time to live is over."""
        ttl, now = self._keys.ttl(bucket), self._clock_ms()
        removed = passed_over = 0
        while self._trusted():
            found = await self._link.call(
                "ZRANGE", ttl, "-inf", now, "BYSCORE", "LIMIT", passed_over, BATCH, "WITHSCORES"
            )
            members = found[::2]
            self._found(found[1::2], now)
            conversations: dict[bytes, list[bytes]] = {}
            for member in members:
                conversation, _, number = member.rpartition(b" ")
                conversations.setdefault(conversation, []).append(number)
            for conversation, numbers in conversations.items():
                try:
                    app_id, _, name = conversation.decode().partition(":")
                    seqs = [int(number) for number in numbers]
                    removed += await self._conversations.end(app_id, name, seqs, now)
                except Unavailable:
                    raise
                except Exception as error:  # noqa: BLE001 - it stops nobody else's
                    _log.error("sweep_failed", reason=type(error).__name__, exc_info=error)
                    passed_over += len(numbers)
            if len(members) < BATCH:
                break
        return removed

    async def _app(self, app_id: str) -> App | Exception | None:
        """The app; None where it was deleted; or why it can't be told."""
        try:
            # Not from memory: whoever made an inbox due for a change has written the change before,
            # and an old time would put the inbox off to that time.
            return await self._directory.read(app_id)
        except AppNotFound:
            return None
        except Unavailable as error:
            return error
        except (SealError, AppError) as error:
            _log.error("sweep_app_unreadable", reason=type(error).__name__)
            return error
