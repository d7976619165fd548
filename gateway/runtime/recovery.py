"""What a worker does when a connection to Redis has been away: it looks for what it missed."""

from __future__ import annotations

from collections.abc import Collection

from gateway.hub.hubs import Hubs
from gateway.store.directory import AppDirectory
from gateway.store.keys import Keys
from gateway.tasks import Tasks, nothing_to_undo


class Recovery:
    """One per worker.

    Attributes:
        reconnects: how often pub/sub came back after something may have been missed; the start
            counts.
    """

    def __init__(self, hubs: Hubs, directory: AppDirectory, keys: Keys, tasks: Tasks) -> None:
        self._hubs = hubs
        self._directory = directory
        self._apps_channel = keys.apps_channel.encode()
        self._tasks = tasks
        self.reconnects = 0

    def pubsub_is_back(self) -> None:
        """Pub/sub was away: anything may have been missed."""
        self.reconnects += 1
        self._hubs.heal()
        self._tasks.spawn(self._directory.reload_all(), nothing_to_undo)

    def channels_are_back(self, channels: Collection[bytes]) -> None:
        """A part of a cluster was away, or slots moved: on `channels` something may be missed."""
        self._hubs.heal(channels)
        if self._apps_channel in channels:
            self._tasks.spawn(self._directory.reload_all(), nothing_to_undo)

    def link_is_back(self) -> None:
        """Redis was away: writes may be lost, and this gateway's lease may have ended."""
        self._hubs.users.heal()
        self._tasks.spawn(self._hubs.presence.lease.renew(), nothing_to_undo)
        self._tasks.spawn(self._hubs.rooms.keep(), nothing_to_undo)  # it may have come back older
