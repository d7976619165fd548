"""One app's share of a process: who floods waits, and the others do not.

All apps of a process ask one Redis, in one line. So an app goes on only as long as what it has
under way is within its share. Further requests of its sessions wait unread, each session's in
order, and none is refused. What is answered makes room at once, so Redis never rests meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

LIMIT: Final = 128
"""Tokens (`gateway.chat.prices`) that one app has under way: some 15 ms of gateway and Redis, for
which everybody else waits."""


class Share:
    """What one app has under way."""

    __slots__ = ("__weakref__", "_going_on", "_waiting", "open")

    def __init__(self) -> None:
        self._waiting: dict[Callable[[], None], None] = {}  # in the order of coming
        self._going_on = False
        self.open = 0
        """Tokens that were paid for requests which are not answered."""

    @property
    def used_up(self) -> bool:
        """True while nothing more of the app is to be begun."""
        return self.open >= LIMIT

    def begin(self, tokens: int) -> None:
        """A request for which so much was paid is under way."""
        self.open += tokens

    def end(self, tokens: int) -> None:
        """It was answered."""
        self.open -= tokens
        if self._waiting and not self._going_on and not self.used_up:
            self._going_on = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` once something may be begun again, after those who wait already. To wait
        twice is to wait once."""
        self._waiting[go_on] = None

    def _go_on(self) -> None:
        self._going_on = False
        for go_on in list(self._waiting):  # some may wait again
            if self.used_up:
                break
            del self._waiting[go_on]
            go_on()


class Shares:
    """The shares of a process' apps, each kept while somebody holds it."""

    def __init__(self) -> None:
        self._shares: WeakValueDictionary[str, Share] = WeakValueDictionary()

    def of(self, app_id: str) -> Share:
        """The share of an app."""
        share = self._shares.get(app_id)
        if share is None:
            share = self._shares[app_id] = Share()
        return share
