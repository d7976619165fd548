"""What a region's Redis servers say of themselves, for `homeport doctor`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.redis import rights
from gateway.redis.errors import CommandFault, OperationFailed, Unavailable
from gateway.redis.link import Link
from gateway.redis.promises import condition_of
from gateway.store.errors import RegionMissing, StampError, WrongKeys
from gateway.store.keys import STAMP
from gateway.store.region import RegionStore
from gateway.store.rights import rights_of
from gateway.store.stamp import different


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What one server tells of itself.

    `used_share` is how much of its maxmemory it uses, 0 where it has none. `disk_works` is False
    where it could not write its last snapshot or append-only file. `append_only` and the two after
    it are None where it does not let us look.
    """

    server: str
    version: str
    append_only: bool | None
    append_fsync: str | None
    eviction: str | None
    replicas: int
    is_replica: bool
    used_share: float
    disk_works: bool


@dataclass(frozen=True, slots=True)
class StoreFacts(ServerFacts):
    """What `homeport doctor` reports of a Redis.

    `stamp_problem` is None where the stamp is ours, or there is none and the region has not begun;
    `stamp_unread` is why it could not be compared, or "". Of a cluster's primaries each fact is
    that of the one that keeps the least. `lacks` names what the user of `redis_url` may not run of
    what a gateway needs. `wall_off_s` and `redis_off_s` are those of `RegionClock`; None where no
    primary tells the time.
    """

    primaries: int
    stamp_region: str | None
    stamp_problem: StampError | None
    wall_off_s: float | None
    redis_off_s: float | None
    stamp_unread: str = ""
    lacks: tuple[str, ...] = ()


async def store_facts(
    link: Link, region: RegionStore, *, replicas: bool = False, cluster: bool = False
) -> StoreFacts:
    """Ask every primary.

    `replicas` says that gateways wait for replicas, and `cluster` that it is a cluster: both need
    rights of their own.

    Raises:
        Unavailable: a primary is away.
    """
    code = region.stamp.identity.region
    needed = rights_of(code).needed(replicas=replicas, cluster=cluster)
    refused = await asyncio.gather(*_check(link, [each.words for each in needed]))
    lacks = [name for each in refused for name in rights.missing(needed, each)]
    found = await _servers(link)
    if not any(each.is_replica for each in found):  # to be asked, a server writes
        await region.compare_clocks()
    clock = region.clock
    offs = (clock.wall_off_s, clock.redis_off_s) if clock.known else (None, None)
    stamped = await link.call("HGET", STAMP, "region")
    problem: StampError | None = None
    unread = ""
    if stamped is None:
        problem = RegionMissing(code) if region.begun else None
    else:
        try:
            await region.check()
            for version in await different(link.call, region.stamp.identity):
                problem = WrongKeys(version, missing=False)
        except StampError as error:
            problem = error
        except OperationFailed as error:  # a key that is new is noted there, and that is a write
            unread = _why(error)
    kept = [each.append_only for each in found]
    return StoreFacts(
        server=found[0].server,
        version=min((each.version for each in found), key=_numbers),
        append_only=None if None in kept else all(kept),
        append_fsync=_odd([each.append_fsync for each in found], "always"),
        eviction=_odd([each.eviction for each in found], "noeviction"),
        replicas=min(each.replicas for each in found),
        is_replica=any(each.is_replica for each in found),
        primaries=len(found),
        stamp_region=stamped.decode() if stamped is not None else None,
        stamp_problem=problem,
        wall_off_s=offs[0],
        redis_off_s=offs[1],
        stamp_unread=unread,
        used_share=max(each.used_share for each in found),
        disk_works=all(each.disk_works for each in found),
        lacks=tuple(dict.fromkeys(lacks)),
    )


_ASKED: Final = (
    ("INFO", "server"),
    ("INFO", "replication"),
    ("INFO", "memory"),
    ("INFO", "persistence"),
    ("CONFIG", "GET", "appendfsync"),
)
"""What servers are asked, as far as they let us."""


async def _servers(link: Link) -> list[ServerFacts]:
    places = await asyncio.gather(*_check(link, _ASKED))
    refused = {int(place) - 1 for each in places for place in each}
    answers = [
        [None] * len(places)
        if number in refused
        else await asyncio.gather(*link.everywhere(*command))
        for number, command in enumerate(_ASKED)
    ]
    return [_facts(_fields(infos), setting) for *infos, setting in zip(*answers, strict=True)]


def _check(link: Link, commands: Sequence[Sequence[str]]) -> list[asyncio.Future[Any]]:
    """Ask each primary which of `commands` its user may not run."""
    return link.everywhere("EVALSHA", rights.RIGHTS.sha, 0, *rights.arguments(commands))


def _fields(sections: Sequence[bytes | None]) -> dict[str, str]:
    """What some sections of INFO say."""
    lines = b"".join(section or b"" for section in sections).decode().splitlines()
    pairs = (line.partition(":") for line in lines)
    return {name: value for name, colon, value in pairs if colon}


def _facts(info: dict[str, str], setting: list[bytes] | None) -> ServerFacts:
    condition = condition_of(info, setting[1].decode() if setting else None)
    return ServerFacts(
        server="Valkey" if info.get("server_name") == "valkey" else "Redis",
        version=info.get("valkey_version", info.get("redis_version", "")),
        append_only=condition.append_only,
        append_fsync=condition.append_fsync,
        eviction=condition.eviction,
        used_share=condition.used_share,
        disk_works=condition.log_written is not False and condition.saved is not False,
        is_replica=info.get("role") == "slave",
        replicas=int(info.get("connected_slaves", 0)),
    )


def _why(error: OperationFailed) -> str:
    """In the server's words, without its place."""
    if isinstance(error, Unavailable):
        return error.detail.partition(": ")[2] or error.reason
    return (error.detail or error.reply) if isinstance(error, CommandFault) else str(error)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]


def _odd(values: list[str | None], good: str) -> str | None:
    """The first of `values` that is not `good`."""
    return next((value for value in values if value != good), good)
