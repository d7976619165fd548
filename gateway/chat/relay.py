"""Relayed frames: told to whoever is connected now, and stored nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.apps.app import App
from gateway.chat.records import Records
from gateway.redis.link import Link
from gateway.store import events
from gateway.store.inbox import InboxStore
from protocol.frames import ServerFrame


class Relay:
    """Tells frames to users' sessions on every gateway of the region, sealed on the way."""

    def __init__(
        self, link: Link, inboxes: InboxStore, records: Records, clock_ms: Callable[[], int]
    ) -> None:
        self._link = link
        self._inboxes = inboxes
        self._records = records
        self._clock_ms = clock_ms

    def to_user(self, app: App, user: str, frame: ServerFrame) -> asyncio.Future[Any]:
        """Tell every session of `user`; a session that is not there, or does not read, misses it.

        The future raises `Unavailable` where Redis is away.
        """
        channel = self._inboxes.channel(app.id, user)
        record = self._records.relay(app, channel, frame, self._clock_ms())
        return self._link.publish(channel, events.relayed(record))
