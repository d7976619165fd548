"""Which users have never connected, where that must be known before something is stored for them.

Nobody asks that while there is room for what such users are sent: the scripts that refer them to a
message say so then. Once an app or a sender has used up what may be kept for them, `Strangers` asks
Redis, and remembers: who has connected stays one who has.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final

from gateway.redis.link import Link
from gateway.store.keys import Keys

NUMBERING: Final = 16
"""Bytes of the numbering of an inbox whose user has never connected (lua/row.lua)."""

REMEMBERED: Final = 20_000
"""Users that are remembered."""

ASK_AGAIN_S: Final = 5.0
"""Who has never connected may have since."""


class Strangers:
    """Of the users of a region. `steady` is a monotonic clock, in seconds."""

    def __init__(
        self, link: Link, keys: Keys, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._link = link
        self._keys = keys
        self._steady = steady
        # When who has never connected is to be looked at again; 0 for those who have.
        self._known: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._asking: set[tuple[str, str]] = set()

    def among(self, app_id: str, users: Collection[str]) -> bool | None:
        """Whether one of `users` has never connected. None: Redis is asked, so ask again."""
        now, found, asked = self._steady(), False, list[str]()
        for user in users:
            look_at = self._known.get((app_id, user))
            if look_at is None or 0 < look_at <= now:
                asked.append(user)
            elif look_at:
                found = True
        if found:
            return True
        self._ask(app_id, asked)
        return None if asked else False

    def _ask(self, app_id: str, users: Collection[str]) -> None:
        for user in users:
            if (app_id, user) not in self._asking:
                self._asking.add((app_id, user))
                call = self._link.call("HGET", self._keys.inbox(app_id, user).rows, "#")
                call.add_done_callback(partial(self._learn, (app_id, user)))

    def _learn(self, who: tuple[str, str], call: asyncio.Future[Any]) -> None:
        self._asking.discard(who)
        if call.exception() is not None:
            return
        met = len(call.result() or b"") > NUMBERING
        self._known[who] = 0.0 if met else self._steady() + ASK_AGAIN_S
        self._known.move_to_end(who)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
