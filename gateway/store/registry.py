"""The registry of a region's apps: made, changed, deleted, and told to gateways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.apps.api_keys import ApiKey
from gateway.apps.app import (
    App,
    change,
    with_api_key,
    with_key,
    with_new_certificate,
    without_api_key,
    without_key,
)
from gateway.apps.public_keys import PublicKey
from gateway.apps.settings import Value
from gateway.redis.errors import Unavailable
from gateway.redis.link import Link
from gateway.redis.slots import BUCKETS
from gateway.security.sealing import Sealer
from gateway.store.audit import AuditStore
from gateway.store.directory import open_app, seal_app
from gateway.store.durable import DurableWrites
from gateway.store.errors import AppExists, AppNotFound
from gateway.store.keys import Keys
from gateway.store.region import RegionStore
from gateway.store.region_clock import time_of
from gateway.store.scripts import script

_PUT: Final = script("put")
_DELETED: Final = script("deleted")
_DUE_NOW: Final = script("due_now")
_BATCH: Final = 1000

ATTEMPTS: Final = 20
"""How often an app is changed anew, where another operator was faster."""


class AppStore:
    """The apps of a region, as the command line keeps them. Times are milliseconds since 1970.

    Each method holds the Redis against the key file first, and raises `StampError` where it is not
    this region's.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        sealer: Sealer,
        region: RegionStore,
        audit: AuditStore,
        writes: DurableWrites,
    ) -> None:
        self._link = link
        self._keys = keys
        self._sealer = sealer
        self._region = region
        self._audit = audit
        self._writes = writes

    async def create(self, app: App, now_ms: int) -> None:
        """Register `app` in this region. With the first one the region begins, if it has not yet.

        `now_ms` is milliseconds since 1970.

        Raises:
            RegionMissing: it has begun, and not in this Redis.
            AppExists: there is one with this id.
        """
        await self._region.check(may_begin=True)
        # First, because a full Redis refuses it, and a name without a record is no app.
        await self._writes.call("SADD", self._keys.apps, app.id)
        if not await self._put(app, b"", now_ms):
            raise AppExists(app.id)
        await self._audit.note("app create", app.id)

    async def get(self, app_id: str) -> App | None:
        """The app, or None."""
        record = await self._record(app_id)
        return None if record is None else open_app(self._sealer, app_id, record)

    async def all(self) -> list[App]:
        """All apps of the region, the oldest first."""
        await self._region.check()
        ids = await self._link.call("SMEMBERS", self._keys.apps)
        found = [await self.get(app_id.decode()) for app_id in ids]
        return sorted((app for app in found if app), key=lambda app: app.created_ms)

    async def change(self, app_id: str, name: str, value: Value, now_ms: int) -> App:
        """Set one of an app's settings; `now_ms` is milliseconds since 1970.

        Gateways take it up at once. A tier's time applies at once to reading, and within a minute
        to the stored bytes.

        Raises:
            AppNotFound: there is no such app.
            SettingError: there is no such setting, or it does not take this value.
        """
        app = await self.replace(app_id, lambda app: change(app, name, value), now_ms)
        await self._audit.note("app set", app_id, f"{name} {value}")
        if name == "tier":
            await self._make_due(app_id)
        return app

    async def rotate_certificate(self, app_id: str, now_ms: int) -> App:
        """Give an app a new primary certificate; the old one stays valid as the secondary.

        Raises:
            AppNotFound.
        """
        app = await self.replace(app_id, with_new_certificate, now_ms)
        await self._audit.note("app rotate-certificate", app_id)
        return app

    async def add_key(self, app_id: str, key: PublicKey, now_ms: int) -> App:
        """Have tokens that `key` verifies let users in.

        Raises:
            AppNotFound.
            InvalidKey: the app has two already, or one like it.
        """
        app = await self.replace(app_id, lambda app: with_key(app, key), now_ms)
        await self._audit.note("app add-key", app_id, key.id)
        return app

    async def remove_key(self, app_id: str, name: str, now_ms: int) -> App:
        """Have the public key whose `kid` or thumbprint is `name` let nobody in any more. Sessions
        that it let in are closed.

        Raises:
            AppNotFound.
            UnknownKey: the app has no such key.
        """
        app = await self.replace(app_id, lambda app: without_key(app, name), now_ms)
        await self._audit.note("app remove-key", app_id, name)
        return app

    async def add_api_key(self, app_id: str, key: ApiKey, now_ms: int) -> App:
        """Give an app one more API key.

        Raises:
            AppNotFound. TooManyApiKeys: it has two.
        """
        app = await self.replace(app_id, lambda app: with_api_key(app, key), now_ms)
        await self._audit.note("key create", app_id, f"{key.id} {' '.join(key.scopes)}")
        return app

    async def delete_api_key(self, app_id: str, key_id: str, now_ms: int) -> App:
        """Take an API key away: within a second it opens nothing at any gateway.

        Raises:
            AppNotFound. UnknownApiKey: the app has none with this id.
        """
        app = await self.replace(app_id, lambda app: without_api_key(app, key_id), now_ms)
        await self._audit.note("key delete", app_id, key_id)
        return app

    async def delete(self, app_id: str) -> None:
        """Forget an app. With its record goes its salt, without which nothing it stored opens.

        The sweeper removes the bytes. Copies of both stay in the append-only file until it is
        rewritten, and in backups: who has one of those and the key file can read it.

        Raises:
            AppNotFound.
        """
        await self.existing(app_id)
        # First, so that no gateway takes a record that is missing for one that was lost.
        deleted, record, apps = self._keys.deleted_apps, self._keys.app(app_id), self._keys.apps
        now_ms = await time_of(self._link, self._keys)
        await self._writes.run(_DELETED, (deleted,), app_id, now_ms)
        await self._writes.call("DEL", record)
        await self._writes.call("SREM", apps, app_id)
        await self._writes.call("SREM", self._keys.hook_apps, app_id)
        await self._tell(app_id)
        await self._audit.note("app delete", app_id)
        await self._make_due(app_id)
        await self._make_due(app_id, self._keys.ttl)
        # Like the counts of its users, which go with these, it goes again if a gateway writes it
        # once more: the scrub finds it.
        await self._link.call("DEL", self._keys.stored(app_id, ""))

    async def existing(self, app_id: str) -> App:
        """The app.

        Raises:
            AppNotFound.
        """
        app = await self.get(app_id)
        if app is None:
            raise AppNotFound(app_id)
        return app

    async def replace(self, app_id: str, made_of: Callable[[App], App], now_ms: int) -> App:
        """Store what `made_of` makes of an app, and notify gateways. The caller notes it in the
        audit.

        Where another changes the app meanwhile, it is read again, and `made_of` asked again.

        Raises:
            AppNotFound.
            Unavailable: others went on changing it; or the connection was lost, and it may be done.
        """
        for _ in range(ATTEMPTS):
            record = await self._record(app_id)
            if record is None:
                raise AppNotFound(app_id)
            app = made_of(open_app(self._sealer, app_id, record))
            try:
                kept = await self._put(app, record, now_ms)
            except Unavailable as error:
                if error.reason != "connection_lost":
                    raise
                detail = (
                    f"{error.detail}; the change may be made all the same, and to repeat it may "
                    f"not be what you want: see `homeport app show {app_id}` first"
                )
                raise Unavailable("outcome_unknown", detail=detail) from error
            if kept:
                await self._tell(app_id)
                return app
        raise Unavailable("app_contention")

    async def _record(self, app_id: str) -> bytes | None:
        await self._region.check()
        record: bytes | None = await self._link.call("GET", self._keys.app(app_id))
        return record

    async def _put(self, app: App, before: bytes, now_ms: int) -> bool:
        """Whether it is kept: it is not where the record is no longer as it was `before`."""
        key, record = self._keys.app(app.id), seal_app(self._sealer, app, now_ms)
        return bool(await self._writes.run(_PUT, (key,), record, before))

    async def _tell(self, app_id: str) -> None:
        await self._link.publish(self._keys.apps_channel, app_id.encode())

    async def _make_due(self, app_id: str, of: Callable[[int], str] | None = None) -> None:
        """Have the sweeper look at every inbox and log of the app in its next round."""
        listing = of or self._keys.due
        await asyncio.gather(*(self._due_now(app_id, listing(n)) for n in range(BUCKETS)))

    async def _due_now(self, app_id: str, due: str) -> None:
        place = b"0"
        while True:
            place, found = await self._link.call(
                "ZSCAN", due, place, "MATCH", f"{app_id}:*", "COUNT", _BATCH
            )
            if found:
                await self._link.run(_DUE_NOW, (due,), *found[::2])
            if place == b"0":
                return
