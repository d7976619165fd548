"""How many groups and rooms a user may make: so many as the app's tier says, that still exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from homeport import codes
from homeport.ids import GROUP, ROOM

from gateway.chat import prices
from gateway.chat.principal import User
from gateway.chat.refused import Refused
from gateway.store.owned import OwnedStore

_FULL: Final = {GROUP: codes.TOO_MANY_GROUPS, ROOM: codes.TOO_MANY_OWN_ROOMS}


class Owning:
    """Counts what users make. `clock_ms` is milliseconds since 1970.

    What a group's owner hands over still counts for the user who made it: nobody can fill another's
    count. The app itself makes as many as it likes.
    """

    def __init__(self, owned: OwnedStore, clock_ms: Callable[[], int]) -> None:
        self._owned = owned
        self._clock_ms = clock_ms

    async def make(self, user: User, kind: str, name: str) -> None:
        """`user` is about to make `name`, of `kind` `GROUP` or `ROOM`.

        Raises:
            Refused: too_many_groups, too_many_own_rooms; rate_limited: to look which of so many
                are gone costs as much as to read them.
            Unavailable, CommandFault: try again.
        """
        app, now_ms = user.app, self._clock_ms()
        if await self._owned.add(app, user.id, kind, name, now_ms):
            return
        names = await self._owned.names(app, user.id, kind)
        user.allowance.pay(app.tier, prices.fan_out(len(names)))
        gone = await self._owned.gone(app, user.id, kind, names)
        if gone:
            await self._owned.forget(app, user.id, kind, gone)
        if not gone or not await self._owned.add(app, user.id, kind, name, now_ms):
            raise Refused(_FULL[kind])

    async def forget(self, user: User, kind: str, name: str) -> None:
        """The user did not make it, or has deleted it."""
        await self._owned.forget(user.app, user.id, kind, (name,))
