"""What the processes of a region are built on: its keys, and the ways to its Redis.

The worker and the command line both begin here. A command needs nothing of chat, which would take
it a tenth longer to start: that is built by `gateway.runtime.chat`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from gateway.config import Settings
from gateway.redis.link import Link
from gateway.redis.opening import open_redis
from gateway.redis.promises import Promises
from gateway.redis.subscriber import Subscriber
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store.keys import Keys
from gateway.store.stamp import Stamp
from gateway.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Core:
    """What `settings` say of a region: the keys it is sealed with, the names of what is in its
    Redis, the stamp that Redis has to bear, and what its servers have to keep."""

    settings: Settings
    keyring: Keyring
    sealer: Sealer
    keys: Keys
    stamp: Stamp
    promises: Promises

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Read the key file.

        Raises:
            KeyringError, OSError: it can't be used.
        """
        keyring = Keyring.load(settings.key_file, settings.region)
        promises = Promises(
            replicas=settings.replicas if settings.durability == "replica" else 0,
            fsync=settings.durability == "fsync",
            allow_eviction=settings.allow_eviction,
        )
        return cls(
            settings=settings,
            keyring=keyring,
            sealer=Sealer(keyring),
            keys=Keys(settings.region),
            stamp=Stamp.of(keyring),
            promises=promises,
        )

    def open_redis(self, tasks: Tasks) -> tuple[Link, Subscriber]:
        """The two ways into the region's Redis; see `gateway.redis.opening.open_redis`."""
        return open_redis(self.settings.redis_url, self.stamp, tasks, self.promises)
