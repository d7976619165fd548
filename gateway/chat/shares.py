"""One app's share of a process while Redis is busy: who floods waits, and the others do not.

All apps of a process ask one Redis, in one line. While that line is short, everybody goes on. Where
it is long, an app goes on only as long as what it has under way is within its share; further
requests of its sessions wait unread, each session's in order, and none is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

LIMIT: Final = 512
"""Tokens (`gateway.chat.prices`) that one app has under way while others wait: about 30 ms of
Redis."""

BUSY: Final = 1_000
"""Unanswered commands of this process from which Redis counts as busy."""

LOOK_S: Final = 0.005
"""While sessions wait, the line is looked at this often: that it became short tells nobody."""


class Share:
    """What one app has under way. `queued` tells how many commands wait for Redis."""

    __slots__ = ("__weakref__", "_looking", "_queued", "_waiting", "open")

    def __init__(self, queued: Callable[[], int]) -> None:
        self._queued = queued
        self._waiting: dict[Callable[[], None], None] = {}  # in the order of coming
        self._looking = False
        self.open = 0
        """Tokens that were paid for requests which are not answered."""

    @property
    def used_up(self) -> bool:
        """True while nothing more of the app is to be begun."""
        return self.open >= LIMIT and self._queued() >= BUSY

    def begin(self, tokens: int) -> None:
        """A request for which so much was paid is under way."""
        self.open += tokens

    def end(self, tokens: int) -> None:
        """It was answered."""
        self.open -= tokens

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` once something may be begun again, after those who wait already. To wait
        twice is to wait once."""
        self._waiting[go_on] = None
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        for go_on in list(self._waiting):
            if self.used_up:
                break
            del self._waiting[go_on]
            go_on()
        self._looking = bool(self._waiting)
        if self._looking:
            asyncio.get_running_loop().call_later(LOOK_S, self._look)


class Shares:
    """The shares of a process' apps, each kept while somebody holds it."""

    def __init__(self, queued: Callable[[], int]) -> None:
        self._queued = queued
        self._shares: WeakValueDictionary[str, Share] = WeakValueDictionary()

    def of(self, app_id: str) -> Share:
        """The share of an app."""
        share = self._shares.get(app_id)
        if share is None:
            share = self._shares[app_id] = Share(self._queued)
        return share
