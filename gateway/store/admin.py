"""What the command line does to a region, over the link that gateways have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from gateway.redis.guard import Call
from gateway.redis.link import Link
from gateway.redis.rights import WAIT, Needed
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store import audit
from gateway.store.access import AccessStore
from gateway.store.audit import AuditStore
from gateway.store.durable import DurableWrites
from gateway.store.keys import STAMP, Keys
from gateway.store.region import RegionStore
from gateway.store.region_clock import RegionClock
from gateway.store.registry import AppStore
from gateway.store.webhooks import WebhookStore


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
    """The stores that commands use. `gateway.runtime.core` opens one for the time of a command.

    Whatever is asked of Redis raises `Unavailable` when it is away.
    """

    link: Link
    keys: Keys
    region: RegionStore
    apps: AppStore
    access: AccessStore
    webhooks: WebhookStore
    writes: DurableWrites

    @classmethod
    def over(cls, link: Link, keys: Keys, keyring: Keyring, sealer: Sealer) -> Self:
        """Those behind `link`. What is done is noted beside the file of `keyring`, too."""
        writes = DurableWrites(link)
        file = None if keyring.path is None else audit.file_of(keyring.path)
        notes = AuditStore(link, keys, sealer, file)
        region = RegionStore(link, keys, keyring, sealer, notes, RegionClock())
        apps = AppStore(link, keys, sealer, region, notes, writes)
        return cls(
            link=link,
            keys=keys,
            region=region,
            apps=apps,
            access=AccessStore(link, keys, apps, notes, writes),
            webhooks=WebhookStore(link, keys, sealer, apps, notes, writes),
            writes=writes,
        )
