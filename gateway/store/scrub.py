"""The scrub: what nobody would find any more, because Redis has lost the key that led to it.

A conversation's messages are named by its head, and the sweeper finds what it sweeps in the due
lists. Where one of these keys is lost, alone, its messages would stay for ever. So the sweeper's
gateway walks through all names, some of them each round: a chunk that no head names goes, what
stands in no due list is made due, and so is what a gateway wrote for an app after it was deleted.
On the way it is counted what each app has (`gateway.store.census`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from gateway.redis.link import Link
from gateway.store.census import Census
from gateway.store.keys import FoundKey, Keys
from gateway.store.scripts import script

LOOKED_AT: Final = 1000
"""Keys that one round looks at on each primary, which takes it about 1 ms: a million keys are
walked through in three hours."""

_SCAN: Final = script("scan")
_SCRUB: Final = script("scrub", "stored", "head")

_log = structlog.get_logger()


class Scrub:
    """Walks through the keys of a region. `app` tells of an app, and None of one that was deleted;
    `clock_ms` gives milliseconds since 1970."""

    def __init__(
        self,
        link: Link,
        keys: Keys,
        app: Callable[[str], Awaitable[Any]],
        clock_ms: Callable[[], int],
    ) -> None:
        self._link = link
        self._keys = keys
        self._app = app
        self._clock_ms = clock_ms
        self._places: dict[tuple[str, int], bytes] = {}
        self._ended: set[tuple[str, int]] = set()
        self._census = Census(link, keys)
        self.lost_keys = 0
        """How many keys were found that only a lost one led to."""

    async def round(self, count: int = LOOKED_AT) -> bool:
        """Look at about `count` keys on each primary; True where all of them have been through.

        Raises:
            Unavailable: Redis, or a server of a cluster, is away.
        """
        # With a primary that comes, or was started anew, the walk begins anew.
        at = {(self._link.run_of(bucket), bucket): b"0" for bucket in self._link.places()}
        if self._places.keys() != at.keys():
            self._begin(at)
        going = [place for place in self._places if place not in self._ended]
        for place, ended in zip(
            going, await asyncio.gather(*(self._some(each, count) for each in going)), strict=True
        ):
            if ended:
                self._ended.add(place)
        if len(self._ended) < len(self._places):
            return False
        await self._census.end(self._clock_ms())
        self._begin(at)
        return True

    def _begin(self, at: dict[tuple[str, int], bytes]) -> None:
        self._places = at
        self._ended.clear()
        self._census.begin()

    async def _some(self, place: tuple[str, int], count: int) -> bool:
        following, names = await self._link.run(
            _SCAN,
            (self._keys.clock(place[1]),),
            self._places[place],
            self._keys.pattern,
            count,
        )
        buckets: dict[str, list[FoundKey]] = {}
        for name in names:
            found = self._keys.found(name.decode(errors="replace"))
            if found is not None:
                buckets.setdefault(found.due, []).append(found)
        apps = {found.app_id for each in buckets.values() for found in each}
        gone = {app_id for app_id in apps if await self._app(app_id) is None}
        for due, each in buckets.items():
            await self._scrub(due, each, gone)
            await self._census.look([key for key in each if key.app_id not in gone])
        self._places[place] = following
        return bool(following == b"0")

    async def _scrub(self, due: str, found: list[FoundKey], gone: set[str]) -> None:
        names, said = [due], list[str | bytes]()
        for each in found:
            if not each.swept and each.app_id not in gone:
                continue
            names += (each.name, each.head or each.name)
            if each.head:
                said += ("chunk", each.birth.to_bytes(4, "big"), str(each.number))
            else:
                said += ("gone" if each.app_id in gone else "due", each.member, "")
        removed, added = await self._link.run(_SCRUB, tuple(names), self._clock_ms(), *said)
        self.lost_keys += removed + added
        if removed or added:
            _log.error("redis_lost_keys", keys=removed + added)
