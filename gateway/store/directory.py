"""The apps of the region as a gateway knows them: read once, kept, renewed when they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from gateway.apps.app import App, from_bytes, to_bytes
from gateway.apps.errors import AppError
from gateway.redis.errors import OperationFailed, Unavailable
from gateway.redis.link import Link
from gateway.security.sealing import Kind, Owner, Sealer, SealError
from gateway.store.errors import AppNotFound
from gateway.store.keys import STAMP, Keys
from gateway.tasks import Tasks, nothing_to_undo

REFRESH_S: Final = 60.0
"""Seconds between reading every known app again, for the change that pub/sub did not bring."""

_log = structlog.get_logger()


def seal_app(sealer: Sealer, app: App, now_ms: int) -> bytes:
    """The record of an app, as Redis keeps it."""
    return sealer.seal(Owner(app.id), Kind.APP, "", b"", to_bytes(app), now_ms)


def open_app(sealer: Sealer, app_id: str, record: bytes) -> App:
    """Read a record.

    Raises:
        SealError: it is not this app's, or not this region's.
        AppError: a newer Homeport wrote it.
    """
    return from_bytes(sealer.open(Owner(app_id), Kind.APP, "", b"", record))


class AppDirectory:
    """Apps by id. `on_gone` is called with the id of an app that was deleted, `on_change` with an
    app that is not what it was."""

    def __init__(
        self,
        link: Link,
        keys: Keys,
        sealer: Sealer,
        tasks: Tasks,
        on_gone: Callable[[str], None],
        on_change: Callable[[App], None] = lambda _: None,
    ) -> None:
        self._link = link
        self._keys = keys
        self._sealer = sealer
        self._tasks = tasks
        self._on_gone = on_gone
        self._on_change = on_change
        self._apps: dict[str, App] = {}
        self._loading: dict[str, asyncio.Task[App]] = {}

    async def get(self, app_id: str) -> App:
        """The app, from memory where it is known.

        Raises:
            AppNotFound: there is none in this region.
            Unavailable: Redis is away and the app is not known yet.
        """
        app = self._apps.get(app_id)
        if app is not None:
            return app
        # A storm of connects to one app is one read.
        loading = self._loading.get(app_id)
        return await (self._load(app_id) if loading is None else asyncio.shield(loading))

    def known(self, app_id: str) -> App:
        """The app of a live session, which has been read before.

        Raises:
            AppNotFound: it was deleted since.
        """
        try:
            return self._apps[app_id]
        except KeyError:
            raise AppNotFound(app_id) from None

    def heard(self, _: bytes, app_id: bytes) -> None:
        """Take from the subscriber that an app was changed or deleted."""
        self._tasks.spawn(self.reload(app_id.decode()), nothing_to_undo)

    async def renewed(self, app_id: str) -> App:
        """The app as Redis has it now, which is also what is known from now on.

        Raises: as `get`; `SealError`, `AppError` too.
        """
        try:
            return await self._load(app_id)
        except AppNotFound:
            if self._apps.pop(app_id, None) is not None:
                self._on_gone(app_id)
            raise

    async def reload(self, app_id: str) -> None:
        """Read one app again, if it is known here. If Redis is away, `REFRESH_S` makes up."""
        if app_id not in self._apps and app_id not in self._loading:
            return
        try:
            await self.renewed(app_id)
        except AppNotFound:
            pass  # whoever has to do with it was told
        except (OperationFailed, SealError, AppError) as error:
            name = self._sealer.names.app(app_id)
            _log.warning("app_reload_failed", app=name, reason=type(error).__name__)

    async def reload_all(self) -> None:
        """Read every known app again."""
        for app_id in list(self._apps):
            await self.reload(app_id)

    async def run(self) -> None:
        """Do so every `REFRESH_S`. Never returns."""
        while True:
            await asyncio.sleep(REFRESH_S)
            await self.reload_all()

    async def _load(self, app_id: str) -> App:
        # Always a read of its own: one that began before a change was told may not see it. Reads
        # end in the order they began, so the last of them stays.
        task = asyncio.create_task(self.read(app_id))
        self._loading[app_id] = task
        task.add_done_callback(lambda done: self._loaded(app_id, done))
        return await asyncio.shield(task)

    def _loaded(self, app_id: str, task: asyncio.Task[App]) -> None:
        if self._loading.get(app_id) is task:
            del self._loading[app_id]
        if not task.cancelled() and task.exception() is None:
            before, app = self._apps.get(app_id), task.result()
            self._apps[app_id] = app
            if before is not None and before != app:
                self._on_change(app)

    async def read(self, app_id: str) -> App:
        """The app as Redis has it now.

        Raises:
            AppNotFound: the app was deleted, or never existed.
            Unavailable: Redis is away, or has lost apps, of which this may be one.
            SealError, AppError: the record can't be opened, or is no app.
        """
        keys = self._keys
        record = await self._link.call("GET", keys.app(app_id))
        if record is None:
            await self._see_that_it_is_gone(app_id)
            raise AppNotFound(app_id)
        try:
            return open_app(self._sealer, app_id, record)
        except (SealError, AppError) as error:
            name = self._sealer.names.app(app_id)
            _log.error("app_unreadable", app=name, reason=type(error).__name__)
            raise

    async def _see_that_it_is_gone(self, app_id: str) -> None:
        """Make sure that an app is gone: a client that gets `unknown_app` never comes back.

        An app was deleted where that is noted. Otherwise it never was, if Redis is the region's,
        has a list of apps without this one, and this process has not known it.
        """
        keys = self._keys
        deleted, listed, apps, stamp = await asyncio.gather(
            self._link.call("HEXISTS", keys.deleted_apps, app_id),
            self._link.call("SISMEMBER", keys.apps, app_id),
            self._link.call("EXISTS", keys.apps),
            self._link.call("EXISTS", STAMP),
        )
        if deleted or (stamp and apps and not listed and app_id not in self._apps):
            return
        name = self._sealer.names.app(app_id)
        _log.error("app_lost", app=name, note="Redis has lost it: restore it from a backup")
        raise Unavailable("app_lost", retry_after=5.0)
