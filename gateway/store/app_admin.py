"""The registry of a region's apps: made, changed, deleted, and told to gateways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.apps.app import App, change, with_new_certificate
from gateway.apps.settings import Value
from gateway.redis.slots import BUCKETS
from gateway.store.admin_connection import AdminConnection
from gateway.store.directory import open_app, seal_app
from gateway.store.errors import AppNotFound
from gateway.store.scripts import script

_PUT: Final = script("put")
_DELETED: Final = script("deleted")
_DUE_NOW: Final = script("due_now")
_BATCH: Final = 1000


class AppAdmin(AdminConnection):
    """The part of `Admin` that is about apps. Times are milliseconds since 1970."""

    async def create_app(self, app: App, now_ms: int) -> None:
        """Register `app` in this region. With the first one the region begins, if it has not yet.

        `now_ms` is milliseconds since 1970.

        Raises:
            RegionMissing: it has begun, and not in this Redis.
        """
        await self._check_stamp(may_begin=True)
        # First, because a full Redis refuses it, and a name without a record is no app.
        await self._write(self._keys.apps, "SADD", self._keys.apps, app.id)
        await self._put(app, now_ms)
        await self._note("app create", app.id)

    async def get_app(self, app_id: str) -> App | None:
        """The app, or None."""
        await self._check_stamp()
        record = await self._redis.get(self._keys.app(app_id))
        return None if record is None else open_app(self._sealer, app_id, record)

    async def list_apps(self) -> list[App]:
        """All apps of the region, the oldest first."""
        await self._check_stamp()
        ids = await self._redis.smembers(self._keys.apps)
        found = [await self.get_app(app_id.decode()) for app_id in ids]
        return sorted((app for app in found if app), key=lambda app: app.created_ms)

    async def change_app(self, app_id: str, name: str, value: Value, now_ms: int) -> App:
        """Set one of an app's settings; `now_ms` is milliseconds since 1970.

        Gateways take it up at once. A tier's time counts at once for reading, and within a minute
        for the bytes.

        Raises:
            AppNotFound.
            SettingError: as `gateway.apps.app.change`.
        """
        app = await self._change(app_id, lambda app: change(app, name, value), now_ms)
        await self._note("app set", app_id, f"{name} {value}")
        if name == "tier":
            await self._make_due(app_id)
        return app

    async def rotate_certificate(self, app_id: str, now_ms: int) -> App:
        """Give an app a new primary certificate; the old one stays valid as the secondary.

        Raises:
            AppNotFound.
        """
        app = await self._change(app_id, with_new_certificate, now_ms)
        await self._note("app rotate-certificate", app_id)
        return app

    async def delete_app(self, app_id: str) -> None:
        """Forget an app. With its record goes its salt, without which nothing it stored opens.

        The sweeper removes the bytes. Copies of both stay in the append-only file until it is
        rewritten, and in backups: who has one of those and the key file can read it.

        Raises:
            AppNotFound.
        """
        await self._existing(app_id)
        # First, so that no gateway takes a record that is missing for one that was lost.
        deleted, record, apps = self._keys.deleted_apps, self._keys.app(app_id), self._keys.apps
        now_ms = await self.now_ms()
        await self._write(deleted, "EVAL", _DELETED.text, 1, deleted, app_id, now_ms)
        await self._write(record, "DEL", record)
        await self._write(apps, "SREM", apps, app_id)
        await self._tell(app_id)
        await self._note("app delete", app_id)
        await self._make_due(app_id)
        await self._make_due(app_id, self._keys.ttl)

    async def _existing(self, app_id: str) -> App:
        app = await self.get_app(app_id)
        if app is None:
            raise AppNotFound(app_id)
        return app

    async def _change(self, app_id: str, change: Callable[[App], App], now_ms: int) -> App:
        app = change(await self._existing(app_id))
        await self._put(app, now_ms)
        await self._tell(app_id)
        return app

    async def _put(self, app: App, now_ms: int) -> None:
        await self._check_stamp()
        key, record = self._keys.app(app.id), seal_app(self._sealer, app, now_ms)
        await self._write(key, "EVAL", _PUT.text, 1, key, record)

    async def _tell(self, app_id: str) -> None:
        await self._publish(self._keys.apps_channel, app_id.encode())

    async def _make_due(self, app_id: str, of: Callable[[int], str] | None = None) -> None:
        """Have the sweeper look at every inbox and log of the app in its next round."""
        for bucket in range(BUCKETS):
            due = (of or self._keys.due)(bucket)
            found = self._redis.zscan_iter(due, match=f"{app_id}:*", count=1000)
            members = [member async for member, _ in found]
            for start in range(0, len(members), _BATCH):
                await self._redis.eval(_DUE_NOW.text, 1, due, *members[start : start + _BATCH])
