"""`homeport doctor`: is everything as a gateway needs it?"""

from __future__ import annotations

import asyncio
import contextlib
import math
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from gateway.cli.environment import Config, Data, Environment, Json
from gateway.cli.errors import CommandError, ExitCode
from gateway.cli.output import now_ms, show, utc
from gateway.config import Settings
from gateway.dev.embedded import OLDEST_SERVER
from gateway.net import tls
from gateway.net.tls import TLSError
from gateway.redis.errors import OperationFailed, rights_text
from gateway.redis.rights import LISTENING
from gateway.redis.url import RedisUrl
from gateway.runtime import control
from gateway.security.keyring import Keyring, KeyringError
from gateway.store.region_clock import LIMIT_S

if TYPE_CHECKING:
    from gateway.store.server_facts import StoreFacts

OPEN_FILES: Final = 65_536
"""What a gateway should be allowed; each connection takes one."""

OPEN_FILES_DEV: Final = 1_024
KERNEL: Final = {
    "net.core.somaxconn": 1_024,
    "net.netfilter.nf_conntrack_max": 2 * OPEN_FILES,
}
"""The least that a kernel should have: connections that wait to be accepted, and those that its
firewall remembers, where it does, which are also the ones that have just ended."""

EXPIRY_WARNING: Final = timedelta(days=14)
KEY_AGE: Final = timedelta(days=365)
"""How long a key should seal: about a year where others are derived from it, says NIST SP 800-57
part 1 revision 5 in section 5.3.6, table 1."""
MEMORY_WARNING: Final = 0.8


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, and how it is or what to do about it."""

    name: str
    ok: bool
    text: str


def doctor(config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """Check what a gateway needs.

    That is the key file and the age of its key, Redis, its user's rights, its region stamp and
    durability, the TLS files, the open-file limit of the running gateway, and the kernel. Each line
    is ok, or says what to do. Changes nothing.
    """
    environment = Environment.find(config, data)
    findings = list(_examine(environment, config))
    for finding in findings:
        if as_json:
            show({"check": finding.name, "ok": finding.ok, "text": finding.text}, as_json)
        else:
            typer.echo(f"{'ok  ' if finding.ok else 'BAD '}  {finding.name:<16}  {finding.text}")
    bad = sum(not finding.ok for finding in findings)
    if bad:
        raise CommandError(f"{bad} of {len(findings)} checks need attention", ExitCode.REFUSED)


def _examine(environment: Environment, config: Path | None) -> Iterator[Finding]:
    settings = environment.settings
    yield examine_access(RedisUrl.parse(settings.redis_url))
    try:
        keyring = Keyring.load(settings.key_file, settings.region)
    except KeyringError as error:
        yield Finding("key file", False, str(error))
        yield Finding("Redis", False, "can't be examined without the key file; see above")
    else:
        try:
            facts = asyncio.run(_facts(environment))
        except (OperationFailed, CommandError) as error:
            yield examine_keyring(keyring, now_ms())
            yield Finding("Redis", False, str(error))
        else:
            off_ms = round((facts.wall_off_s or 0) * 1000)
            yield examine_keyring(keyring, now_ms() - off_ms)
            yield from examine_store(facts, settings)
    if settings.wss_listen is not None and settings.tls_cert and settings.tls_key:
        yield examine_tls(settings.tls_cert, settings.tls_key, datetime.now(UTC))
    limits = _open_files(control.name_of(settings, config))
    yield examine_open_files(limits, OPEN_FILES if environment.dev is None else OPEN_FILES_DEV)
    if environment.dev is None:
        yield examine_kernel(_kernel())


def _open_files(name: str) -> dict[int, int]:
    """How many files each running gateway of this name may have open, by process id; the limit of
    this very command, under 0, where none runs or can be looked at."""
    limits = {}
    for gateway in control.running(name):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            limits[gateway.pid], _ = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    return limits or {0: resource.getrlimit(resource.RLIMIT_NOFILE)[0]}


def _kernel() -> dict[str, int]:
    """What this machine's kernel says of each setting in `KERNEL`, as far as it does."""
    found = {}
    for name in KERNEL:
        with contextlib.suppress(OSError, ValueError):  # a container may hide it
            found[name] = int(Path("/proc/sys", *name.split(".")).read_text())
    return found


async def _facts(environment: Environment) -> StoreFacts:
    from gateway.store.server_facts import store_facts  # see `Environment.admin`

    async with environment.admin(writes=False) as admin:
        return await store_facts(
            admin.link,
            admin.region,
            replicas=environment.settings.durability == "replica",
            cluster=RedisUrl.parse(environment.settings.redis_url).kind == "cluster",
        )


def examine_access(url: RedisUrl) -> Finding:
    """Whether others can read or write this Redis on the way, or just log in."""
    name = "access to Redis"
    if url.is_loopback:
        return Finding(name, True, "it does not leave this machine")
    lacks = [] if url.tls else ["TLS (rediss://)"]
    lacks += [] if url.login.password else ["a password (user:password@)"]
    if lacks:
        return Finding(
            name,
            False,
            f"redis_url leaves this machine without {' and without '.join(lacks)}: "
            "see Redis' users in deploy/RUNBOOK.md",
        )
    return Finding(name, True, "TLS and a password")


def examine_store(facts: StoreFacts, settings: Settings) -> Iterator[Finding]:
    """What there is to say of a Redis that answers."""
    version = tuple(int(part) for part in facts.version.split(".")[:2] if part)
    if not version:
        text = "it answers; its user may not use INFO, so version, memory and disk are unknown"
        yield Finding("Redis", True, text)
    elif facts.is_replica:
        text = "is a replica and takes no writes: point redis_url at its primary (redis-cli role)"
        yield Finding("Redis", False, f"{facts.server} {facts.version} {text}")
    elif version >= OLDEST_SERVER:
        many = f", a cluster of {facts.primaries} primaries" if facts.primaries > 1 else ""
        yield Finding("Redis", True, f"{facts.server} {facts.version}{many}")
    else:
        yield Finding(
            "Redis", False, f"{facts.server} {facts.version} is too old: use 7.0 or later"
        )
    if facts.stamp_problem is not None:
        yield Finding("region stamp", False, str(facts.stamp_problem))
    elif facts.stamp_unread:
        text = f"could not be compared: {facts.stamp_unread}; see the lines below"
        yield Finding("region stamp", False, text)
    elif facts.stamp_region is None:
        yield Finding("region stamp", True, "none yet; it is set as the region begins")
    else:
        yield Finding("region stamp", True, facts.stamp_region)
    yield _rights(facts, settings)
    yield _durability(facts, settings)
    if facts.eviction in (None, "noeviction"):
        yield Finding("eviction", True, facts.eviction or "unknown: this server does not show it")
    else:
        yield Finding(
            "eviction",
            False,
            f"maxmemory-policy {facts.eviction} may throw messages away: set it to noeviction",
        )
    yield _memory(facts.used_share)
    if facts.disk_works:
        yield Finding("disk", True, "Redis' last snapshot and append-only file were written")
    else:
        yield Finding(
            "disk",
            False,
            "Redis could not write its last snapshot or its append-only file, and may refuse all "
            "writes (MISCONF): make room on its disk, then redis-cli bgsave and bgrewriteaof",
        )
    yield _clock(facts)


def _clock(facts: StoreFacts) -> Finding:
    """Whether the clocks of this machine and of Redis' agree, as gateways want it."""
    wall, redis = facts.wall_off_s, facts.redis_off_s
    if wall is None or redis is None:
        return Finding("clock", True, "Redis does not tell the time, so clocks are not compared")
    if abs(wall) > LIMIT_S:
        text = f"clock_wrong: {wall:+.1f} s from Redis': run NTP on both machines"
        return Finding("clock", False, text)
    if abs(redis) > LIMIT_S:
        text = f"clock_wrong: a primary's is {redis:+.1f} s from the others': run NTP there"
        return Finding("clock", False, text)
    return Finding("clock", True, "agrees with Redis'")


def _rights(facts: StoreFacts, settings: Settings) -> Finding:
    """Whether the user of `redis_url` may do what a gateway does with Redis."""
    name, lacks = "rights", facts.lacks
    if not lacks:
        return Finding(name, True, "Redis' user may do all that a gateway needs")
    if LISTENING.issuperset(lacks):
        text = "Redis' user may not listen: it can be an operator's, and not a gateway's"
        return Finding(name, True, text)
    user = RedisUrl.parse(settings.redis_url).login.user or "default"
    return Finding(name, False, rights_text(user, ", ".join(lacks)))


def _memory(used: float) -> Finding:
    """Whether Redis has room for messages."""
    text = f"{used:.0%} of Redis' maxmemory is used" if used else "Redis has no maxmemory"
    if used >= 1:
        text += ": it is full and accepts no message; raise maxmemory (RUNBOOK, HomeportRedisFull)"
    elif used >= MEMORY_WARNING:
        text += ": raise it, or keep less"
    return Finding("memory", used < MEMORY_WARNING, text)


def _durability(facts: StoreFacts, settings: Settings) -> Finding:
    """Whether this Redis can keep what `durability` promises (G1)."""
    wanted = settings.durability
    if facts.append_only is None:
        return Finding("durability", True, f"{wanted}; the server does not show its settings")
    if not facts.append_only:
        return Finding(
            "durability", False, "a restart of Redis loses everything: set appendonly to yes"
        )
    if wanted == "fsync" and facts.append_fsync != "always":
        return Finding(
            "durability",
            False,
            f"appendfsync is {facts.append_fsync}, so an answer does not mean on disk: "
            "set it to always, or durability to memory",
        )
    if wanted == "replica" and facts.replicas < settings.replicas:
        return Finding(
            "durability",
            False,
            f"{facts.replicas} replicas are connected, and replicas is {settings.replicas}: "
            "no send can be accepted; add replicas",
        )
    return Finding("durability", True, f"{wanted}; append only, fsync {facts.append_fsync}")


def examine_tls(cert: Path, key: Path, now: datetime) -> Finding:
    """Whether the WSS listener can show this certificate, and for how long."""
    try:
        material = tls.read(cert, key)
    except TLSError as error:
        return Finding("TLS files", False, str(error))
    if problems := material.problems(now):
        return Finding("TLS files", False, "; ".join(problems))
    ends = material.ends
    if ends - now <= EXPIRY_WARNING:
        return Finding("TLS files", False, f"{cert} expires on {ends:%Y-%m-%d}: renew it now")
    return Finding("TLS files", True, f"good until {ends:%Y-%m-%d}")


def examine_keyring(keyring: Keyring, now_ms: int) -> Finding:
    """Which keys there are, and whether the one that seals is older than it should be."""
    active = keyring.active_at(now_ms)
    versions = ", ".join(map(str, sorted(keyring.keys)))
    text = f"versions {versions}; {active} is active"
    coming = keyring.coming_at(now_ms)
    for version in sorted(coming):
        text += f"; {version} takes over at {utc(keyring.active_from[version] / 1000)}"
    age = timedelta(milliseconds=now_ms - (keyring.active_from.get(active) or now_ms))
    if age > KEY_AGE and not coming:
        text += f", for {age.days} days: run homeport keys rotate"
        return Finding("key file", False, text)
    return Finding("key file", True, text)


def examine_open_files(limits: dict[int, int], needed: int) -> Finding:
    """Each connection takes one open file. `limits` are those of gateways by process id; under 0,
    that of this command."""
    pid, limit = min(limits.items(), key=lambda one: math.inf if one[1] < 0 else one[1])
    enough = limit == resource.RLIM_INFINITY or limit >= needed
    shown = "no limit" if limit == resource.RLIM_INFINITY else str(limit)
    whose = f"the gateway's, process {pid}" if pid else "this command's: no gateway runs to look at"
    if enough:
        return Finding("open files", True, f"{shown}, {whose}")
    how = (
        f"set LimitNOFILE={needed} in its systemd unit, or ulimit -n {needed} where it is started"
        if pid
        else f"one that is started here has it too, unless ulimit -n {needed} comes first; in a "
        f"systemd unit LimitNOFILE={needed} counts: start it, and look as its user or as root"
    )
    return Finding("open files", False, f"{shown}, {whose}; each connection takes one: {how}")


def examine_kernel(found: dict[str, int]) -> Finding:
    """Whether this machine's kernel has room for the connections that `OPEN_FILES` allows."""
    low = [
        f"{name} is {found[name]}: run sysctl -w {name}={least}"
        for name, least in KERNEL.items()
        if name in found and found[name] < least
    ]
    told = ", ".join(f"{name} {value}" for name, value in found.items())
    return Finding("kernel", not low, "; ".join(low) or told or "its settings cannot be read here")
