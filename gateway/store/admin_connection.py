"""The command line's connection to a region's Redis: what all parts of `Admin` write and read by.

Not for the hot path: one await a command.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import (
    AskError,
    ClusterDownError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)

from gateway.redis.errors import RedisRefused, Unavailable
from gateway.redis.node_link import BARRIER_TIMEOUT_MS
from gateway.redis.reasons import is_refusal, reason_of
from gateway.redis.servers import CONNECT_TIMEOUT_S, TLSFiles, primary_of
from gateway.redis.url import RedisUrl, place_of
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store import audit
from gateway.store.keys import Keys
from gateway.store.region_clock import TIME
from gateway.store.scripts import script
from gateway.store.stamp import Stamp

AUDIT: Final = script("audit")
_CLUSTER_RETRY: Final = Retry(ExponentialWithJitterBackoff(cap=1, base=0.1), 3)
"""redis-py asks for the slots anew between two attempts, so a failover needs them."""
_MOVING_S: Final = (0.1, 0.3, 1.0, 0.0)
"""Pauses, in seconds, between attempts at a slot that is just moving."""


class AdminConnection:
    """Opened by `Admin.open`."""

    def __init__(
        self, url: RedisUrl, redis: Any, region: str, keyring: Keyring, replicas: int
    ) -> None:
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
        self._replicas = replicas
        self.short: int | None = None
        """How many replicas have what was written, where that is fewer than there must be."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, redis_url: str, region: str, keyring: Keyring, *, replicas: int = 0
    ) -> AsyncIterator[Self]:
        """Connect; let go at the end.

        `replicas` must have each change of an app, and each revocation, before it counts as kept:
        a failover would bring a token that was revoked back. See `short`.

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
            yield cls(url, redis, region, keyring, replicas)
        except (RedisError, RedisClusterException) as error:
            reason = reason_of(error, tls=url.tls, secrets=url.secrets)
            if is_refusal(error):
                raise RedisRefused(",".join(place), reason) from error
            raise Unavailable(
                type(error).__name__, detail=f"{','.join(place)}: {reason}"
            ) from error
        finally:
            await redis.aclose()

    async def now_ms(self) -> int:
        """The region's time: Redis' clock, in milliseconds since 1970."""
        return int(await self._redis.eval(TIME.text, 1, self._keys.clock(0), "leave nothing"))

    async def _note(self, action: str, app_id: str = "", about: str = "") -> None:
        """Say who did it. The file first: it is what is left when Redis comes from a backup."""
        note = audit.note(await self.now_ms(), action, app_id, about)
        sealed = audit.seal(self._sealer, note)
        if self._notes is not None:
            with contextlib.suppress(OSError):  # read-only, as in Kubernetes: then Redis has it
                audit.keep(self._notes, sealed)
        await self._redis.eval(AUDIT.text, 1, self._keys.audit, sealed, audit.KEPT)

    async def _write(self, key: str, *command: str | bytes | int) -> None:
        """Run `command`, which writes `key`, and see that enough replicas have it.

        It may run more than once, where its slot of a cluster moves.
        """
        if not self._replicas or self.short is not None:  # the first short count says it for all
            await self._redis.execute_command(*command)
            return
        for pause_s in _MOVING_S:
            async with self._owner(key) as server:
                await server.execute_command("WAIT", 0, 1)  # refused? Then before it is half done
                # In one pipeline, because WAIT is about what its own connection wrote.
                pipe = server.pipeline(transaction=False)
                pipe.execute_command(*command)
                pipe.execute_command("WAIT", self._replicas, BARRIER_TIMEOUT_MS)
                written, count = await pipe.execute(raise_on_error=False)
            if not isinstance(written, AskError | TryAgainError | ClusterDownError):
                break
            await asyncio.sleep(pause_s)
            await self._redis.aclose()
            await self._redis.initialize()
        for answer in (written, count):
            if isinstance(answer, Exception):
                raise answer
        if count < self._replicas:
            self.short = count

    @asynccontextmanager
    async def _owner(self, key: str) -> AsyncIterator[Any]:
        """The primary that has `key`."""
        if self._url.kind != "cluster":
            yield self._redis
            return
        await self._redis.initialize()
        node = self._redis.get_node_from_key(key)
        async with Redis(**self._url.of_server(node.host, node.port), **_options()) as server:
            yield server

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

    async def _publish(self, channel: str, payload: bytes) -> Any:
        return await self._redis.execute_command("SPUBLISH", channel, payload)


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
