"""A session keeps up with who blocks its user."""

from __future__ import annotations

from collections.abc import Callable

from gateway.chat.principal import Principals, SessionUser
from gateway.hub.presence import PresenceHub
from gateway.redis.errors import Unavailable
from gateway.store.blocks import BlockedBy
from gateway.store.events import BlockChanged
from gateway.tasks import Tasks


class BlockerWatch:
    """Keeps the blockers of `user` as the store has them, and tells `presence` of each change.

    Made while the session connects, because it hears of changes from then on. `fault` ends the
    session.
    """

    __slots__ = ("_fault", "_presence", "_principals", "_tasks", "_user")

    def __init__(
        self,
        principals: Principals,
        presence: PresenceHub,
        tasks: Tasks,
        user: SessionUser,
        fault: Callable[[], None],
    ) -> None:
        self._principals = principals
        self._presence = presence
        self._tasks = tasks
        self._user = user
        self._fault = fault

    def __contains__(self, user: str) -> bool:
        """True where `user` blocks this user, as far as is known."""
        return user in self._user.blockers

    def attached(self, blocked_by: BlockedBy) -> None:
        """What attaching read; the first thing that is known of it."""
        self._were_read(again=self._user.blockers.read(blocked_by))

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
        if self._user.blockers.begin():
            self._tasks.spawn(self._read_now(), self._fault)

    async def _read_now(self) -> None:
        try:
            again = await self._principals.read_blockers(self._user)
        except Unavailable:
            return  # the check after the reconnect reads them again
        self._were_read(again)

    def _were_read(self, again: bool) -> None:
        if again:
            self._read()
        self._presence.blocks_changed(self._user.session)
