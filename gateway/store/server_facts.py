"""What a region's Redis servers say of themselves, for `homeport doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoPermissionError, RedisError

from gateway.redis import rights
from gateway.redis.promises import condition_of
from gateway.redis.rights import Needed
from gateway.store.errors import StampError


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What one server tells of itself.

    `clock_skew_s` is its clock minus ours. `used_share` is how much of its maxmemory it uses, 0
    where it has none. `disk_works` is False where it could not write its last snapshot or
    append-only file. `append_only` and the two after it are None where it does not let us look,
    and so is `clock_skew_s`.
    """

    server: str
    version: str
    append_only: bool | None
    append_fsync: str | None
    eviction: str | None
    replicas: int
    clock_skew_s: float | None
    is_replica: bool
    used_share: float
    disk_works: bool


@dataclass(frozen=True, slots=True)
class StoreFacts(ServerFacts):
    """What `homeport doctor` reports of a Redis.

    `stamp_problem` is None where the stamp is ours, or there is none and the region has not begun;
    `stamp_unread` is why it could not be compared, or "". Of a cluster's primaries each fact is
    that of the one that keeps the least. `lacks` names what the user of `redis_url` may not run of
    what a gateway needs.
    """

    primaries: int
    stamp_region: str | None
    stamp_problem: StampError | None
    stamp_unread: str = ""
    lacks: tuple[str, ...] = ()


async def server_facts(redis: Any, now_s: float) -> ServerFacts:
    """Ask one server. `now_s` is our clock, seconds since 1970."""
    info = await _info(redis, "server")
    replication = await _info(redis, "replication")
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
        is_replica=replication.get("role") == "slave",
        replicas=int(replication.get("connected_slaves", 0)),
        clock_skew_s=await _skew_s(redis, now_s),
    )


async def lacking(redis: Any, needed: Sequence[Needed]) -> list[str]:
    """Names those of `needed` that this user may not run at one server."""
    try:
        words = rights.arguments([each.words for each in needed])
        refused = await redis.eval(rights.RIGHTS.text, 0, *words)
    except NoPermissionError:
        return ["EVAL"]
    return rights.missing(needed, refused)


async def _skew_s(redis: Any, now_s: float) -> float | None:
    try:
        seconds, micros = await redis.time()
    except NoPermissionError:
        return None
    return float(seconds + micros / 1e6 - now_s)


async def _info(redis: Any, section: str) -> dict[str, Any]:
    """A section of INFO; empty where the ACL user may not read it."""
    try:
        return dict(await redis.info(section))
    except NoPermissionError:
        return {}
