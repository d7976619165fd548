"""What users made: groups and rooms, of which each user has so many at most.

They lie in other buckets than the user, so this list may name one that is gone, or was never made
because a gateway died. So a full list is held against what there is before anything is refused
(`gateway.chat.owning`); a group or a room that goes costs nothing here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from homeport.ids import GROUP

from gateway.apps.app import App
from gateway.redis.link import Link
from gateway.store.keys import Keys
from gateway.store.scripts import script

_OWN: Final = script("own")


class OwnedStore:
    """What the users of a region made. Every method may raise `Unavailable` or `CommandFault`.

    `kind` is `GROUP` or `ROOM`; a name is a group's or a room's id.
    """

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    async def add(self, app: App, user: str, kind: str, name: str, now_ms: int) -> bool:
        """Note that `user` makes `name`, before it is made; False where they made too many. To
        repeat it does no harm."""
        named = self._keys.user(app.id, user)
        most = app.tier.own_groups if kind == GROUP else app.tier.own_rooms
        added = await self._link.run(
            _OWN,
            (self._key(app, user, kind), named.due),
            name,
            most,
            now_ms + app.tier.retention_ms,
            named.member,
        )
        return bool(added)

    async def names(self, app: App, user: str, kind: str) -> list[str]:
        """All that is noted."""
        found = await self._link.call("SMEMBERS", self._key(app, user, kind))
        return sorted(each.decode() for each in found)

    async def gone(self, app: App, user: str, kind: str, names: list[str]) -> list[str]:
        """Those of `names` that are not there, or not the user's."""
        there = await asyncio.gather(*(self._exists(app, user, kind, each) for each in names))
        return [each for each, exists in zip(names, there, strict=True) if not exists]

    async def forget(self, app: App, user: str, kind: str, names: Iterable[str]) -> None:
        """Note them no more."""
        await self._link.call("SREM", self._key(app, user, kind), *names)

    def _key(self, app: App, user: str, kind: str) -> str:
        named = self._keys.user(app.id, user)
        return named.groups if kind == GROUP else named.rooms

    async def _exists(self, app: App, user: str, kind: str, name: str) -> bool:
        if kind == GROUP:
            state = self._keys.group(app.id, name).state
            version, gone = await self._link.call("HMGET", state, "v", "gone")
            return version is not None and gone is None
        creator = await self._link.call("HGET", self._keys.room(app.id, name).meta, "o")
        return bool(creator == user.encode())
