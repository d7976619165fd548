"""Inboxes, as the sessions of their users use them: by the app and the time as they are now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from homeport.frames import Connect, Cursor

from gateway.apps.app import App
from gateway.chat.records import Records
from gateway.clock import Clock
from gateway.store.directory import AppDirectory
from gateway.store.entries import Entry
from gateway.store.inbox import InboxStore
from gateway.store.readers import Arrival, Checked, DeviceState, Progress, Reader


class SessionInboxes:
    """One per process. `records` make a push of what `store` holds.

    Each method but `attach`, `check` and `now_ms` may raise as `AppDirectory.known`; those that ask
    the store, as its method of the same name.
    """

    def __init__(
        self, store: InboxStore, records: Records, directory: AppDirectory, clock: Clock
    ) -> None:
        self._store = store
        self._records = records
        self._directory = directory
        self._clock = clock

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._clock.wall_ms()

    def attach(
        self, reader: Reader, app: App, issued_s: int, frame: Connect
    ) -> Awaitable[DeviceState]:
        """Have `reader` take the device, as its connect `frame` asks; the token is of `issued_s`,
        in seconds since 1970."""
        arrival = Arrival(issued_s * 1000, frame.cursor, frame.platform)
        now_ms = self._clock.wall_ms()
        return self._store.attach(reader, app.tier, arrival, now_ms, app.device_policy)

    def page(self, reader: Reader, after: Cursor, most: int) -> Awaitable[list[Entry]]:
        """Read up to `most` entries behind `after`."""
        tier = self._directory.known(reader.app_id).tier
        now_ms = self._clock.wall_ms()
        return self._store.page(reader.app_id, tier, reader.user, after, now_ms, most)

    def check(self, reader: Reader, cursor: Cursor, since_ms: int) -> Awaitable[Checked]:
        """Compare what `reader`, connected since `since_ms`, believes with the store."""
        return self._store.check(reader, cursor, since_ms, self._clock.wall_ms())

    def ack(self, saved: Callable[[Any], None], reader: Reader, progress: Progress) -> None:
        """Save what `reader` acknowledged; `saved` is called with the store's answer."""
        tier = self._directory.known(reader.app_id).tier
        self._store.ack(saved, reader, tier, progress, self._clock.wall_ms())

    def pushes(self, reader: Reader) -> Callable[[int, int, bytes], bytes]:
        """What makes (number, milliseconds, sealed record) of an entry into the reader's push.

        It may raise UnknownKeyVersion.
        """
        app = self._directory.known(reader.app_id)
        return partial(self._records.push, app, reader.user)
