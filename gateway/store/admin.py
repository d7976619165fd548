"""What the command line does to a region, over the link that gateways have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

from gateway.redis.errors import CommandFault, RedisRefused
from gateway.redis.guard import Call
from gateway.redis.link import Link
from gateway.redis.opening import open_link
from gateway.redis.promises import Promises
from gateway.redis.rights import WAIT, Needed
from gateway.redis.servers import TLSFiles
from gateway.redis.url import RedisUrl, place_of
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store import audit
from gateway.store.access import AccessStore
from gateway.store.audit import AuditStore
from gateway.store.durable import DurableWrites
from gateway.store.keys import STAMP, Keys
from gateway.store.region import RegionStore
from gateway.store.registry import AppStore
from gateway.tasks import Tasks


class OpenGuard:
    """Lets a link to any server: `RegionStore.check` looks at the stamp before anything that
    depends on it, and other commands look at a Redis whosever it is."""

    key = STAMP
    question = ("HGET", STAMP, "region")

    def needed(self, *, replicas: bool, cluster: bool) -> Sequence[Needed]:
        """Only WAIT, if replicas are waited for: it must be allowed before anything is written. Any
        other missing right is named by the command that needs it."""
        return [WAIT] if replicas else []

    def holds(self, answer: Any) -> bool:
        """True: any Redis may be looked at."""
        return True

    async def admit(self, call: Call) -> None:
        """Admit every server."""


@dataclass(frozen=True)
class Admin:
    """Use as ``async with Admin.open(redis_url, region, keyring) as admin``.

    Whatever is asked of Redis raises `Unavailable` when it is away.
    """

    link: Link
    keys: Keys
    region: RegionStore
    apps: AppStore
    access: AccessStore
    writes: DurableWrites

    @classmethod
    @asynccontextmanager
    async def open(
        cls, redis_url: str, region: str, keyring: Keyring, *, replicas: int = 0
    ) -> AsyncIterator[Self]:
        """Connect, and close the connections at the end.

        `replicas` replicas must have each change of an app, and each revocation, before it counts
        as kept (`DurableWrites`).

        Raises:
            OSError: a file that TLS needs can't be used.
            Unavailable, RedisRefused: Redis can't be used, and why.
        """
        url = RedisUrl.parse(redis_url)
        await TLSFiles(url).check()
        # What an operator does must work on a Redis that gateways refuse for its settings, too.
        promises = Promises(replicas=replicas, allow_eviction=True)
        link = open_link(url, OpenGuard(), Tasks(), promises)
        sealer, keys, writes = Sealer(keyring), Keys(region), DurableWrites(link)
        file = None if keyring.path is None else audit.file_of(keyring.path)
        notes = AuditStore(link, keys, sealer, file)
        home = RegionStore(link, keys, keyring, sealer, notes)
        apps = AppStore(link, keys, sealer, home, notes, writes)
        try:
            await link.connect()
            yield cls(
                link=link,
                keys=keys,
                region=home,
                apps=apps,
                access=AccessStore(link, keys, apps, notes, writes),
                writes=writes,
            )
        except CommandFault as fault:
            place = url.path or ",".join(place_of(*host) for host in url.hosts)
            raise RedisRefused(place, fault.detail or fault.reply) from fault
        finally:
            await link.aclose()
