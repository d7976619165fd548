"""A session keeps up with who blocks its user."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gateway.chat.blockers import BlockerCache
from gateway.chat.principal import SessionUser
from gateway.hub.presence import PresenceHub
from gateway.redis.errors import Unavailable
from gateway.store.events import BlockChanged
from gateway.tasks import Tasks


class BlockerWatch:
    """Keeps the blockers of `user` as the store has them, and tells `presence` of each change.

    Made while the session connects, because it hears of changes from then on. `fault` ends the
    session.
    """

    __slots__ = ("_cache", "_fault", "_presence", "_tasks", "_user")

    def __init__(
        self,
        cache: BlockerCache,
        presence: PresenceHub,
        tasks: Tasks,
        user: SessionUser,
        fault: Callable[[], None],
    ) -> None:
        self._cache = cache
        self._presence = presence
        self._tasks = tasks
        self._user = user
        self._fault = fault
        user.blockers.told[user.session] = partial(presence.blocks_changed, user.session)

    def __contains__(self, user: str) -> bool:
        """True where `user` blocks this user, as far as is known."""
        return user in self._user.blockers

    async def attached(self, change: int) -> None:
        """Attaching said that `change` is the number of the last change in the store.

        Raises:
            Unavailable, CommandFault: the blockers could not be read.
        """
        await self._cache.attached(self._user.blockers, change)

    def hear(self, event: BlockChanged, live: bool) -> None:
        """Somebody blocks the user, or no longer. `live` is false while attaching still reads."""
        if self._user.blockers.hear(event) and live:
            self._read()
        self._presence.blocks_changed(self._user.session)

    def compare(self, change: int) -> None:
        """Compare with the number of the last change of the user's blockers in the store."""
        if self._user.blockers.differs(change):
            self._read()

    def _read(self) -> None:
        if self._user.blockers.reading is None:
            self._tasks.spawn(self._read_now(), self._fault)

    async def _read_now(self) -> None:
        try:
            await self._cache.read(self._user.blockers)
        except Unavailable:
            return  # the check after the reconnect reads them again
