"""The promises of a gateway that depend on Redis' settings, and whether a server keeps them.

Operators can change Redis' settings at any time (CONFIG SET), and managed services come with a
policy that evicts keys when memory is full. Each server's settings are therefore read when a
gateway connects, and every `LOOK_EVERY_S` after that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.redis.errors import CommandFault
from gateway.redis.guard import Call

LOOK_EVERY_S: Final = 10.0
"""For so long a gateway may answer `ok` by a setting that Redis has no longer."""

NOEVICTION: Final = "noeviction"
ALWAYS: Final = "always"

KEPT: Final = 0
UNKNOWN: Final = 1
BROKEN: Final = 2
"""How a setting stands: as it should be, not to be seen, or not."""

RUN_CHARS: Final = 8
"""How much of a run's id is used, which is random."""

EVICTION: Final = "eviction"
DURABILITY: Final = "durability"
"""Why nothing durable is written to a server: it may throw it away, or it answers before the disk
has it."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What a server says of itself. None: it does not let us look.

    `limit_bytes` is 0 where there is no maxmemory. `log_written` and `saved` say whether its last
    write of the append-only file, and its last snapshot, worked. `run` names this run of the
    server,
    which another start or another server has not; "" where it does not say.
    """

    append_only: bool | None = None
    append_fsync: str | None = None
    eviction: str | None = None
    used_bytes: int = 0
    limit_bytes: int = 0
    log_written: bool | None = None
    saved: bool | None = None
    run: str = ""

    @property
    def used_share(self) -> float:
        """How full it is, from 0 to 1 and somewhat more; 0 where it has no limit."""
        return self.used_bytes / self.limit_bytes if self.limit_bytes else 0.0


async def look(ask: Call, may: Collection[str]) -> Condition:
    """The condition of the server that answers `ask`, by what it `may` be asked: INFO, CONFIG.

    INFO tells all but `appendfsync` (https://redis.io/docs/latest/commands/info/).
    """
    found: dict[str, str] = {}
    append_fsync: str | None = None
    try:
        if "CONFIG" in may:
            setting = await ask("CONFIG", "GET", "appendfsync")
            append_fsync = setting[1].decode() if setting else None
        if "INFO" in may:
            for section in ("server", "memory", "persistence"):
                for line in (await ask("INFO", section)).decode().splitlines():
                    name, _, value = line.partition(":")
                    found[name] = value
    except CommandFault:
        found.clear()  # a right was taken away meanwhile
    return condition_of(found, append_fsync)


def condition_of(found: Mapping[str, str], append_fsync: str | None) -> Condition:
    """The condition by what INFO says, and by the setting that it does not say."""
    return Condition(
        append_only=_is(found.get("aof_enabled"), "1"),
        append_fsync=append_fsync,
        eviction=found.get("maxmemory_policy"),
        used_bytes=int(found.get("used_memory", 0)),
        limit_bytes=int(found.get("maxmemory", 0)),
        log_written=_is(found.get("aof_last_write_status"), "ok"),
        saved=_is(found.get("rdb_last_bgsave_status"), "ok"),
        run=found.get("run_id", "")[:RUN_CHARS],
    )


def _is(value: str | None, wanted: str) -> bool | None:
    return None if value is None else value == wanted


@dataclass(frozen=True, slots=True)
class Promises:
    """What a server has to keep: `replicas` that have what is durable before it counts, `fsync`
    where the disk has it, and unless `allow_eviction`, that it throws nothing away."""

    replicas: int = 0
    fsync: bool = False
    allow_eviction: bool = False

    def broken(self, condition: Condition) -> str:
        """`EVICTION`, `DURABILITY`, or "" where a server in this condition keeps them.

        What can't be seen is held against `fsync`, which is asked for by name, and not against a
        policy.
        """
        settings = self.settings(condition)
        if self.fsync and (settings["appendonly"], settings["appendfsync"]) != (KEPT, KEPT):
            return DURABILITY
        return EVICTION if settings["maxmemory-policy"] == BROKEN else ""

    def settings(self, condition: Condition) -> dict[str, int]:
        """How each setting stands: `KEPT`, `UNKNOWN` or `BROKEN`."""
        fsync, policy = condition.append_fsync, condition.eviction
        return {
            "appendonly": _stands(condition.append_only),
            "appendfsync": _stands(
                not self.fsync or (None if fsync is None else fsync == ALWAYS),
            ),
            "maxmemory-policy": _stands(
                self.allow_eviction or (None if policy is None else policy == NOEVICTION)
            ),
        }


def _stands(kept: bool | None) -> int:
    return UNKNOWN if kept is None else KEPT if kept else BROKEN


def problem(broken: str, condition: Condition) -> str:
    """What is wrong and what to do."""
    if broken == EVICTION:
        return (
            f"maxmemory-policy is {condition.eviction}, so this Redis evicts messages that were "
            "accepted: set it to noeviction, or allow_eviction to true here"
        )
    return (
        f"durability is fsync, and this Redis has appendonly {_shown(condition.append_only)} and "
        f"appendfsync {condition.append_fsync or 'that it does not show (allow CONFIG GET)'}: set "
        "'appendonly yes' and 'appendfsync always' there"
    )


def _shown(append_only: bool | None) -> str:
    return "that it does not show" if append_only is None else "yes" if append_only else "no"
