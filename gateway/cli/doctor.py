"""`homeport doctor`: is everything as a gateway needs it?"""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from gateway.cli.errors import CommandError, ExitCode
from gateway.cli.output import now_ms, show, utc
from gateway.cli.place import Config, Data, Json, Place
from gateway.config import Settings
from gateway.net import tls
from gateway.net.tls import TLSError
from gateway.runtime.embedded import OLDEST_SERVER
from gateway.security.keyring import Keyring, KeyringError
from gateway.store.errors import StoreError

if TYPE_CHECKING:
    from gateway.store.admin import StoreFacts

OPEN_FILES: Final = 65_536
"""What a gateway should be allowed; each connection takes one."""

OPEN_FILES_DEV: Final = 1_024
EXPIRY_WARNING: Final = timedelta(days=14)
KEY_AGE: Final = timedelta(days=365)
"""How long a key should seal: about a year where others are derived from it, says NIST SP 800-57
part 1 revision 5 in section 5.3.6, table 1."""
MAX_CLOCK_SKEW_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, and how it is or what to do about it."""

    name: str
    ok: bool
    text: str


def doctor(config: Config = None, data: Data = None, as_json: Json = False) -> None:
    """Check what a gateway needs.

    That is the key file and the age of its key, Redis, its region stamp and durability, the TLS
    files and the open-file limit. Each line is ok, or says what to do. Changes nothing.
    """
    place = Place.find(config, data)
    findings = list(_examine(place))
    for finding in findings:
        if as_json:
            show({"check": finding.name, "ok": finding.ok, "text": finding.text}, as_json)
        else:
            typer.echo(f"{'ok  ' if finding.ok else 'BAD '}  {finding.name:<16}  {finding.text}")
    bad = sum(not finding.ok for finding in findings)
    if bad:
        raise CommandError(f"{bad} of {len(findings)} checks need attention", ExitCode.REFUSED)


def _examine(place: Place) -> Iterator[Finding]:
    settings = place.settings
    try:
        keyring = Keyring.load(settings.key_file, settings.region)
    except KeyringError as error:
        yield Finding("key file", False, str(error))
        yield Finding("Redis", False, "can't be examined without the key file; see above")
    else:
        yield examine_keyring(keyring, now_ms())
        try:
            facts = asyncio.run(_facts(place))
        except (StoreError, CommandError) as error:
            yield Finding("Redis", False, str(error))
        else:
            yield from examine_store(facts, settings)
    if settings.wss_listen is not None and settings.tls_cert and settings.tls_key:
        yield examine_tls(settings.tls_cert, settings.tls_key, datetime.now(UTC))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield examine_open_files(soft, OPEN_FILES if place.dev is None else OPEN_FILES_DEV)


async def _facts(place: Place) -> StoreFacts:
    async with place.admin() as admin:
        return await admin.facts(time.time())


def examine_store(facts: StoreFacts, settings: Settings) -> Iterator[Finding]:
    """What there is to say of a Redis that answers."""
    version = tuple(int(part) for part in facts.version.split(".")[:2])
    if version >= OLDEST_SERVER:
        many = f", a cluster of {facts.primaries} primaries" if facts.primaries > 1 else ""
        yield Finding("Redis", True, f"{facts.server} {facts.version}{many}")
    else:
        yield Finding(
            "Redis", False, f"{facts.server} {facts.version} is too old: use 7.0 or later"
        )
    if facts.stamp_problem is not None:
        yield Finding("region stamp", False, str(facts.stamp_problem))
    elif facts.stamp_region is None:
        yield Finding("region stamp", True, "none yet; it is set as the region begins")
    else:
        yield Finding("region stamp", True, facts.stamp_region)
    yield _durability(facts, settings)
    if facts.eviction in (None, "noeviction"):
        yield Finding("eviction", True, facts.eviction or "not told by this server")
    else:
        yield Finding(
            "eviction",
            False,
            f"maxmemory-policy {facts.eviction} may throw messages away: set it to noeviction",
        )
    skew = facts.clock_skew_s
    if abs(skew) <= MAX_CLOCK_SKEW_S:
        yield Finding("clock", True, "agrees with Redis'")
    else:
        yield Finding("clock", False, f"{skew:+.1f} s from Redis': run NTP on both machines")


def _durability(facts: StoreFacts, settings: Settings) -> Finding:
    """Whether this Redis can keep what `durability` promises (G1)."""
    wanted = settings.durability
    if facts.append_only is None:
        return Finding("durability", True, f"{wanted}; the server does not tell its own settings")
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


def examine_open_files(limit: int, needed: int) -> Finding:
    """Each connection takes one open file."""
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return Finding("open files", True, f"{limit}")
    return Finding(
        "open files",
        False,
        f"the limit is {limit}, and each connection takes one: run ulimit -n {needed}, "
        f"or set LimitNOFILE={needed} in the systemd unit",
    )
