"""What the processes of a region are built on: its keys, and the ways to its Redis.

The worker and the command line both begin here. A command needs nothing of chat, which would take
it a tenth longer to start: that is built by `gateway.runtime.chat`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from gateway.config import Settings
from gateway.redis.errors import CommandFault, RedisRefused
from gateway.redis.link import Link
from gateway.redis.opening import open_link, open_redis
from gateway.redis.promises import Promises
from gateway.redis.servers import TLSFiles
from gateway.redis.subscriber import Subscriber
from gateway.redis.url import RedisUrl, place_of
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store.admin import Admin, OpenGuard
from gateway.store.keys import Keys
from gateway.store.stamp import Stamp
from gateway.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Core:
    """A region: where its Redis is and what its servers have to keep, the keys that everything is
    sealed with, the names of what is in Redis, and the stamp that Redis has to bear."""

    redis_url: str
    promises: Promises
    keyring: Keyring
    sealer: Sealer
    keys: Keys
    stamp: Stamp

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The region of `settings`, whose key file is read.

        Raises:
            KeyringError, OSError: it can't be used.
        """
        promises = Promises(
            replicas=settings.replicas if settings.durability == "replica" else 0,
            fsync=settings.durability == "fsync",
            allow_eviction=settings.allow_eviction,
        )
        keyring = Keyring.load(settings.key_file, settings.region)
        return cls.at(settings.redis_url, keyring, promises)

    @classmethod
    def at(
        cls,
        redis_url: str,
        keyring: Keyring,
        promises: Promises = Promises(),  # noqa: B008 - it is frozen
    ) -> Self:
        """The region of `keyring`, in the Redis of `redis_url`."""
        return cls(
            redis_url=redis_url,
            promises=promises,
            keyring=keyring,
            sealer=Sealer(keyring),
            keys=Keys(keyring.region),
            stamp=Stamp.of(keyring),
        )

    def open_redis(self, tasks: Tasks) -> tuple[Link, Subscriber]:
        """The two ways into the region's Redis; see `gateway.redis.opening.open_redis`."""
        return open_redis(self.redis_url, self.stamp, tasks, self.promises)

    @asynccontextmanager
    async def admin(self, *, writes: bool = True) -> AsyncIterator[Admin]:
        """What a command does to the region: connects, and closes the connection at the end.

        As many replicas as `promises` say must have each change of an app, and each revocation,
        before it counts as kept (`DurableWrites`). A command that `writes` nothing needs no right
        to wait for them.

        Raises:
            OSError: a file that TLS needs can't be used.
            Unavailable, RedisRefused: Redis can't be used, and why.
        """
        url = RedisUrl.parse(self.redis_url)
        await TLSFiles(url).check()
        # What an operator does must work on a Redis that gateways refuse for its settings, too.
        promises = Promises(replicas=self.promises.replicas if writes else 0, allow_eviction=True)
        link = open_link(url, OpenGuard(), Tasks(), promises)
        try:
            await link.connect()
            yield Admin.over(link, self.keys, self.keyring, self.sealer)
        except CommandFault as fault:
            place = url.path or ",".join(place_of(*host) for host in url.hosts)
            raise RedisRefused(place, fault.detail or fault.reply) from fault
        finally:
            await link.aclose()
