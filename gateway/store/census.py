"""How many users, groups and rooms each app has, and what these take, found by walking all keys.

`gateway.store.scrub` walks through all names, a thousand a round, and hands them on. At the end of
a walk it is written down what each app has (`gateway.store.storage`): so what had no certain time
and has gone is given back, and what a killed gateway had not told is counted after all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from homeport.ids import ROOM

from gateway.redis.link import Link
from gateway.store.keys import FoundKey, Keys
from gateway.store.scripts import script
from gateway.store.storage import UNUSED_MS

_MEASURE: Final = script("measure")
_COUNTED: Final = script("storage_counted")

_BY_TIME: Final = frozenset({"refs", "stored", "closes", "rev"})
"""Kinds of keys that are counted by their time, or bounded: not here."""


@dataclass(slots=True)
class _Found:
    """What the walk has found of an app so far."""

    bytes: int = 0
    users: int = 0
    groups: int = 0
    rooms: int = 0


class Census:
    """Of the walk that goes on."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys
        self._apps: dict[str, _Found] = {}

    def begin(self) -> None:
        """Another walk begins."""
        self._apps = {}

    async def look(self, found: Sequence[FoundKey]) -> None:
        """Count keys of one bucket.

        Raises:
            Unavailable, CommandFault: they could not be measured.
        """
        measured = [each for each in found if not each.head and each.kind not in _BY_TIME]
        if not measured:
            return
        names = tuple(each.name for each in measured)
        for each, size in zip(measured, await self._link.run(_MEASURE, names), strict=True):
            app = self._apps.setdefault(each.app_id, _Found())
            is_room = each.member.partition(":")[2].startswith(ROOM)
            app.bytes += size
            app.users += each.kind == "rows"
            app.groups += each.kind == "grp"
            app.rooms += each.kind == "dev" and is_room

    async def end(self, now_ms: int) -> None:
        """All keys have been looked at: write down what was found.

        Raises:
            Unavailable, CommandFault: it could not be written; the next walk does.
        """
        apps, self._apps = self._apps, {}
        calls = (
            self._link.run(
                _COUNTED,
                (self._keys.stored(app_id, ""),),
                found.bytes,
                found.users,
                found.groups,
                found.rooms,
                now_ms,
                UNUSED_MS,
            )
            for app_id, found in apps.items()
        )
        await asyncio.gather(*calls)
