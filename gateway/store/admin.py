"""What the command line asks of a region's Redis. Not for the hot path: one await a command."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import (
    NoPermissionError,
    RedisClusterException,
    RedisError,
)

from gateway.apps.app import (
    App,
    with_device_policy,
    with_new_certificate,
    with_recall,
    with_revoked,
    with_tier,
)
from gateway.redis_url import RedisUrl, place_of
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.security.tokens import covering_ms
from gateway.store import audit, events
from gateway.store.directory import open_app, seal_app
from gateway.store.errors import (
    AppNotFound,
    Refused,
    RegionMissing,
    StampError,
    Unavailable,
    WrongKeys,
)
from gateway.store.keys import BUCKETS, STAMP, Keys
from gateway.store.promises import condition_of
from gateway.store.reasons import is_refusal, reason_of
from gateway.store.scripts import script
from gateway.store.servers import CONNECT_TIMEOUT_S, TLSFiles, primary_of
from gateway.store.stamp import Stamp, different
from gateway.store.user_facts import UserFacts, read_user

_REVOKE: Final = script("revoke")
_PUT: Final = script("put")
_DELETED: Final = script("deleted")
_AUDIT: Final = script("audit")
_DUE_NOW: Final = script("due_now")
_BATCH: Final = 1000
_CLUSTER_RETRY: Final = Retry(ExponentialWithJitterBackoff(cap=1, base=0.1), 3)
"""redis-py asks for the slots anew between two attempts, so a failover needs them."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What one server tells of itself.

    `clock_skew_s` is its clock minus ours. `used_share` is how much of its maxmemory it uses, 0
    where it has none. `disk_works` is False where it could not write its last snapshot or
    append-only file. `append_only` and the two after it are None where it does not let us look.
    """

    server: str
    version: str
    append_only: bool | None
    append_fsync: str | None
    eviction: str | None
    replicas: int
    clock_skew_s: float
    used_share: float
    disk_works: bool


@dataclass(frozen=True, slots=True)
class StoreFacts(ServerFacts):
    """What `homeport doctor` reports of a Redis.

    `stamp_problem` is None where the stamp is ours, or there is none and the region has not begun;
    `stamp_unread` is why it could not be compared, or "". Of a cluster's primaries each fact is
    that of the one that keeps the least.
    """

    primaries: int
    stamp_region: str | None
    stamp_problem: StampError | None
    stamp_unread: str = ""


class Admin:
    """Use as ``async with Admin.open(redis_url, region, keyring) as admin``.

    Every method raises `Unavailable` when Redis is away, and every method that reads or writes apps
    raises `StampError` when this Redis is not this region's.
    """

    def __init__(self, url: RedisUrl, redis: Any, region: str, keyring: Keyring) -> None:
        self._url = url
        self._redis = redis
        self._region = region
        self._sealer = Sealer(keyring)
        self._keyring = keyring
        self._stamp = Stamp.of(keyring)
        self._begun = keyring.begun is not None
        self._notes = None if keyring.path is None else audit.file_of(keyring.path)
        self._keys = Keys(region)
        self._stamped = False

    async def now_ms(self) -> int:
        """The region's time: Redis' clock, in milliseconds since 1970."""
        seconds, micros = await self._redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    @classmethod
    @asynccontextmanager
    async def open(cls, redis_url: str, region: str, keyring: Keyring) -> AsyncIterator[Self]:
        """Connect; let go at the end.

        Raises:
            OSError: a file that TLS needs can't be used.
        """
        url = RedisUrl.parse(redis_url)
        await TLSFiles(url).check()
        # Any: redis-py types answers for decoded and undecoded clients alike.
        redis: Any
        place = [url.path] if url.path else [place_of(*host) for host in url.hosts]
        if url.kind == "cluster":
            redis = _cluster(url)
        else:
            primary = await primary_of(url)
            place = [place_of(*primary)] if primary[0] else place
            redis = Redis(**url.of_server(*primary), **_options())
        try:
            yield cls(url, redis, region, keyring)
        except (RedisError, RedisClusterException) as error:
            reason = reason_of(error, tls=url.tls, secrets=url.secrets)
            if is_refusal(error):
                raise Refused(",".join(place), reason) from error
            raise Unavailable(
                type(error).__name__, detail=f"{','.join(place)}: {reason}"
            ) from error
        finally:
            await redis.aclose()

    async def begin_region(self, *, again: bool = False) -> bool:
        """Begin the region in this Redis; False where it has begun here already. See `Stamp.begin`.

        Raises:
            RegionMissing: it has begun elsewhere, and not `again`.
        """
        await self._choose_keys()
        begun = await self._stamp.begin(self._redis.execute_command, again=again)
        if begun:
            await self._note("region init")
        return begun

    async def create_app(self, app: App, now_ms: int) -> None:
        """Register `app` in this region. With the first one the region begins, if it has not yet.

        `now_ms` is milliseconds since 1970.

        Raises:
            RegionMissing: it has begun, and not in this Redis.
        """
        await self._check_stamp(may_begin=True)
        # First, because a full Redis refuses it, and a name without a record is no app.
        await self._redis.sadd(self._keys.apps, app.id)
        await self._put(app, now_ms)
        await self._note("app create", app.id)

    async def get_app(self, app_id: str) -> App | None:
        """The app, or None."""
        await self._check_stamp()
        record = await self._redis.get(self._keys.app(app_id))
        return None if record is None else open_app(self._sealer, app_id, record)

    async def list_apps(self) -> list[App]:
        """All apps of the region, the oldest first."""
        await self._check_stamp()
        ids = await self._redis.smembers(self._keys.apps)
        found = [await self.get_app(app_id.decode()) for app_id in ids]
        return sorted((app for app in found if app), key=lambda app: app.created_ms)

    async def set_tier(self, app_id: str, tier: str, now_ms: int) -> App:
        """Move an app to another tier, at once for reading, within a minute for the bytes.

        Raises:
            AppNotFound, UnknownTier.
        """
        app = await self._change(app_id, lambda app: with_tier(app, tier), now_ms)
        await self._note("app set-tier", app_id, tier)
        await self._make_due(app_id)
        return app

    async def set_device_policy(self, app_id: str, policy: str, now_ms: int) -> App:
        """Say what happens when a user has too many devices; it counts for the next connect.

        Raises:
            AppNotFound, UnknownPolicy.
        """
        app = await self._change(app_id, lambda app: with_device_policy(app, policy), now_ms)
        await self._note("app set-device-policy", app_id, policy)
        return app

    async def set_recall(self, app_id: str, recall_s: int, now_ms: int) -> App:
        """Say for how many seconds a message may be recalled or edited; 0: not at all.

        Raises:
            AppNotFound, InvalidApp.
        """
        app = await self._change(app_id, lambda app: with_recall(app, recall_s), now_ms)
        await self._note("app set-recall", app_id, str(recall_s))
        return app

    async def rotate_certificate(self, app_id: str, now_ms: int) -> App:
        """Give an app a new primary certificate; the old one stays valid as the secondary.

        Raises:
            AppNotFound.
        """
        app = await self._change(app_id, with_new_certificate, now_ms)
        await self._note("app rotate-certificate", app_id)
        return app

    async def delete_app(self, app_id: str) -> None:
        """Forget an app. With its record goes its salt, without which nothing it stored opens.

        The sweeper removes the bytes. Copies of both stay in the append-only file until it is
        rewritten, and in backups: who has one of those and the key file can read it.

        Raises:
            AppNotFound.
        """
        await self._existing(app_id)
        # First, so that no gateway takes a record that is missing for one that was lost.
        await self._redis.eval(
            _DELETED.text, 1, self._keys.deleted_apps, app_id, await self.now_ms()
        )
        await self._redis.delete(self._keys.app(app_id))
        await self._redis.srem(self._keys.apps, app_id)
        await self._tell(app_id)
        await self._note("app delete", app_id)
        await self._make_due(app_id)
        await self._make_due(app_id, self._keys.ttl)

    async def revoke(self, app_id: str, user: str, before_ms: int | None = None) -> int:
        """Void the user's tokens issued before `before_ms`, and end the sessions they opened.

        None: all that there are now, also by a clock that is ahead. Returns the time.

        Raises:
            AppNotFound.
        """
        app = await self._existing(app_id)
        keys = self._keys.user(app_id, user)
        # A token lives max_token_s at most, so after that there is nothing left to refuse. Counted
        # from now: `before_ms` may lie ahead.
        now_ms = await self.now_ms()
        before_ms = covering_ms(now_ms) if before_ms is None else before_ms
        ahead = max(0, before_ms - now_ms)
        await self._redis.eval(
            _REVOKE.text,
            2,
            keys.revoked,
            keys.channel,
            before_ms,
            ahead + (app.max_token_s + 60) * 1000,
            events.revoked(before_ms),
        )
        await self._note("token revoke", app_id, f"{user} before {before_ms}")
        return before_ms

    async def revoke_app(self, app_id: str, before_ms: int | None = None) -> int:
        """As `revoke`, of all users of an app.

        Raises:
            AppNotFound.
        """
        now_ms = await self.now_ms()
        before_ms = covering_ms(now_ms) if before_ms is None else before_ms
        await self._change(app_id, lambda app: with_revoked(app, before_ms), now_ms)
        await self._note("token revoke", app_id, f"all before {before_ms}")
        return before_ms

    async def revoke_region(self, before_ms: int | None = None) -> int:
        """As `revoke_app`, of every app."""
        before_ms = covering_ms(await self.now_ms()) if before_ms is None else before_ms
        for app in await self.list_apps():
            await self.revoke_app(app.id, before_ms)
        return before_ms

    async def kick(self, app_id: str, user: str, device: str | None = None) -> None:
        """End the user's sessions: those of `device`, or all.

        Raises:
            AppNotFound.
        """
        await self._existing(app_id)
        await self._publish(self._keys.user(app_id, user).channel, events.kicked(device or ""))
        await self._note("kick", app_id, f"{user} {device or ''}".rstrip())

    async def notes(self) -> tuple[list[audit.Note], list[audit.Note]]:
        """What operators did: what Redis has, and what only the file beside the key file has, each
        the oldest first.

        Raises:
            OSError: the file can't be read.
        """
        await self._check_stamp()
        sealed = await self._redis.lrange(self._keys.audit, 0, -1)
        there = audit.opened(self._sealer, reversed(sealed))
        oldest = there[0].ms if len(there) == audit.KEPT else 0
        ids = {each.id for each in there}
        kept = [] if self._notes is None else audit.opened(self._sealer, audit.kept(self._notes))
        return there, [each for each in kept if each.id not in ids and each.ms >= oldest]

    async def life(self) -> tuple[int | None, list[tuple[int, int]]]:
        """When a gateway was at work last, and the times when none was: from, to. In ms since 1970,
        by Redis' clock. What a backup does not have is such a time, too.
        """
        await self._check_stamp()
        fields = await self._redis.hgetall(STAMP)
        gaps = sorted(
            (int(name[4:]), int(until)) for name, until in fields.items() if name[:4] == b"gap:"
        )
        return int(fields[b"seen"]) if b"seen" in fields else None, gaps

    async def settle(self) -> None:
        """What came back from the past has been dealt with: forget those times, and have in Redis
        what only the file has.

        Raises:
            OSError: the file can't be read.
        """
        _, gaps = await self.life()
        if gaps:
            await self._redis.hdel(STAMP, *(f"gap:{since}" for since, _ in gaps))
        now_ms = await self.now_ms()
        await self._redis.hset(STAMP, "seen", now_ms)
        for note in (await self.notes())[1]:
            sealed = audit.seal(self._sealer, note)
            await self._redis.eval(_AUDIT.text, 1, self._keys.audit, sealed, audit.KEPT)
        await self._note("region check --done")

    async def _note(self, action: str, app_id: str = "", about: str = "") -> None:
        """Say who did it. The file first: it is what is left when Redis comes from a backup."""
        note = audit.note(await self.now_ms(), action, app_id, about)
        sealed = audit.seal(self._sealer, note)
        if self._notes is not None:
            with contextlib.suppress(OSError):  # read-only, as in Kubernetes: then Redis has it
                audit.keep(self._notes, sealed)
        await self._redis.eval(_AUDIT.text, 1, self._keys.audit, sealed, audit.KEPT)

    async def user_facts(self, app_id: str, user: str) -> UserFacts:
        """What the region's Redis holds of a user, by Redis' own clock. Changes nothing.

        Raises:
            AppNotFound.
        """
        app = await self._existing(app_id)
        seconds, micros = await self._redis.time()
        return await read_user(self._redis, self._keys, app, user, seconds * 1000 + micros // 1000)

    async def facts(self, now_s: float) -> StoreFacts:
        """See `StoreFacts`. `now_s` is our clock, seconds since 1970."""
        async with self._servers() as servers:
            found = [await _server_facts(server, now_s) for server in servers]
        region = await self._redis.hget(STAMP, "region")
        problem: StampError | None = None
        unread = ""
        if region is None:
            problem = RegionMissing(self._region) if self._begun else None
        else:
            try:
                await self._check_stamp()
                call, identity = self._redis.execute_command, self._stamp.identity
                for version in await different(call, identity):
                    problem = WrongKeys(version, missing=False)
            except StampError as error:
                problem = error
            except RedisError as error:  # a key that is new is noted there, and that is a write
                unread = reason_of(error, tls=self._url.tls, secrets=self._url.secrets)
        kept = [each.append_only for each in found]
        return StoreFacts(
            server=found[0].server,
            version=min((each.version for each in found), key=_numbers),
            append_only=None if None in kept else all(kept),
            append_fsync=_odd([each.append_fsync for each in found], "always"),
            eviction=_odd([each.eviction for each in found], "noeviction"),
            replicas=min(each.replicas for each in found),
            clock_skew_s=max((each.clock_skew_s for each in found), key=abs),
            primaries=len(found),
            stamp_region=region.decode() if region is not None else None,
            stamp_problem=problem,
            stamp_unread=unread,
            used_share=max(each.used_share for each in found),
            disk_works=all(each.disk_works for each in found),
        )

    @asynccontextmanager
    async def _servers(self) -> AsyncIterator[list[Any]]:
        """Each primary."""
        if self._url.kind != "cluster":
            yield [self._redis]
            return
        await self._redis.initialize()
        places = [(node.host, node.port) for node in self._redis.get_primaries()]
        servers = [Redis(**self._url.of_server(*place), **_options()) for place in places]
        try:
            yield servers
        finally:
            await asyncio.gather(*(server.aclose() for server in servers))

    async def _choose_keys(self) -> None:
        """By the region's time: which key seals, and which are still to come."""
        now_ms = await self.now_ms()
        self._sealer.active = self._keyring.active_at(now_ms)
        self._stamp.adopt(self._keyring, self._keyring.coming_at(now_ms))

    async def _check_stamp(self, *, may_begin: bool = False) -> None:
        if not self._stamped:
            await self._choose_keys()
            await self._stamp.check(self._redis.execute_command, may_begin=may_begin)
            self._stamped = True

    async def _existing(self, app_id: str) -> App:
        app = await self.get_app(app_id)
        if app is None:
            raise AppNotFound(app_id)
        return app

    async def _change(self, app_id: str, change: Callable[[App], App], now_ms: int) -> App:
        app = change(await self._existing(app_id))
        await self._put(app, now_ms)
        await self._tell(app_id)
        return app

    async def _put(self, app: App, now_ms: int) -> None:
        await self._check_stamp()
        record = seal_app(self._sealer, app, now_ms)
        await self._redis.eval(_PUT.text, 1, self._keys.app(app.id), record)

    async def _tell(self, app_id: str) -> None:
        await self._publish(self._keys.apps_channel, app_id.encode())

    async def _publish(self, channel: str, payload: bytes) -> Any:
        return await self._redis.execute_command("SPUBLISH", channel, payload)

    async def _make_due(self, app_id: str, of: Callable[[int], str] | None = None) -> None:
        """Have the sweeper look at every inbox and log of the app in its next round."""
        for bucket in range(BUCKETS):
            due = (of or self._keys.due)(bucket)
            found = self._redis.zscan_iter(due, match=f"{app_id}:*", count=1000)
            members = [member async for member, _ in found]
            for start in range(0, len(members), _BATCH):
                await self._redis.eval(_DUE_NOW.text, 1, due, *members[start : start + _BATCH])


async def _server_facts(redis: Any, now_s: float) -> ServerFacts:
    info = await _info(redis, "server")
    replication = await _info(redis, "replication")
    seconds, micros = await redis.time()
    found = await _info(redis, "memory") | await _info(redis, "persistence")
    try:
        append_fsync = (await redis.config_get("appendfsync")).get("appendfsync")
    except RedisError:  # an ACL user need not have CONFIG
        append_fsync = None
    condition = condition_of({name: str(value) for name, value in found.items()}, append_fsync)
    return ServerFacts(
        server="Valkey" if info.get("server_name") == "valkey" else "Redis",
        version=str(info.get("valkey_version", info.get("redis_version", ""))),
        append_only=condition.append_only,
        append_fsync=condition.append_fsync,
        eviction=condition.eviction,
        used_share=condition.used_share,
        disk_works=condition.log_written is not False and condition.saved is not False,
        replicas=int(replication.get("connected_slaves", 0)),
        clock_skew_s=seconds + micros / 1e6 - now_s,
    )


async def _info(redis: Any, section: str) -> dict[str, Any]:
    """A section of INFO; empty where the ACL user may not read it."""
    try:
        return dict(await redis.info(section))
    except NoPermissionError:
        return {}


def _options() -> dict[str, Any]:
    return {
        "protocol": 2,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": 30,
        # redis-py repeats ten times by default: a person had rather be told.
        "retry": Retry(NoBackoff(), 0),
    }


def _cluster(url: RedisUrl) -> RedisCluster:
    (host, port), *others = url.hosts
    nodes = [ClusterNode(*other) for other in others]
    options = url.of_server(host, port)
    del options["db"]  # a cluster has one
    return RedisCluster(startup_nodes=nodes, **options, **_options() | {"retry": _CLUSTER_RETRY})


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]


def _odd(values: list[str | None], good: str) -> str | None:
    """The first of `values` that is not `good`."""
    return next((value for value in values if value != good), good)
