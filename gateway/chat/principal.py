"""Principals: the authors of requests to `chat`, with their rate limits and their blockers.

A door (a session, or another way in) passes a principal with each request, and gets principals from
`Principals` only. Limits and blocks therefore hold at every door, without the door's doing.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.apps.app import App
from gateway.chat.blockers import Blockers
from gateway.chat.limits import Allowance, Limits
from gateway.store.blocks import BlockStore
from gateway.store.readers import Reader


@dataclass(frozen=True, slots=True)
class User:
    """The user `id` of `app`."""

    app: App
    allowance: Allowance
    id: str
    blockers: Blockers


@dataclass(frozen=True, slots=True)
class SessionUser(User):
    """A user through a live session, which is of `device`.

    An `ephemeral` session is no device's: nothing of it is kept.
    """

    device: str
    session: str
    ephemeral: bool


@dataclass(frozen=True, slots=True)
class AppItself:
    """The app, and none of its users. It is in every conversation of its users, as an owner is in a
    group; it is nobody's peer, so nobody blocks it and nothing is sent in its name."""

    app: App
    allowance: Allowance


Principal = User | AppItself


class Principals:
    """Makes principals. Close the `allowance` of each once its door asks no more."""

    def __init__(self, limits: Limits, blocks: BlockStore) -> None:
        self._limits = limits
        self._blocks = blocks

    def connecting(self, app: App, reader: Reader) -> SessionUser:
        """The user of a session that connects.

        The user's blockers are not known yet: attaching reads them (`Blockers.read`), and from then
        on the session passes on what it hears (`Blockers.hear`).
        """
        return SessionUser(
            app,
            self._limits.open(app, reader.user, session=True),
            reader.user,
            Blockers(),
            reader.device,
            reader.session,
            reader.ephemeral,
        )

    async def user(self, app: App, user: str) -> User:
        """A user at a door without sessions, with the blockers that the store has now.

        Raises:
            Unavailable, CommandFault: the blockers could not be read.
        """
        asking = User(app, self._limits.open(app, user), user, Blockers())
        try:
            await self.read_blockers(asking)
        except BaseException:
            asking.allowance.close()
            raise
        return asking

    def app(self, app: App) -> AppItself:
        """The app itself."""
        return AppItself(app, self._limits.open(app))

    async def read_blockers(self, user: User) -> bool:
        """Read the blockers of `user` again, after `Blockers.begin`; returns what `Blockers.read`
        does.

        Raises:
            Unavailable, CommandFault: they could not be read; the caller must try again.
        """
        try:
            state = await self._blocks.blocked_by(user.app.id, user.id)
        except BaseException:
            user.blockers.failed()
            raise
        return user.blockers.read(state)


def name_of(principal: Principal) -> str:
    """The author's name in messages and notices: the user's id, and "" for the app itself."""
    return principal.id if isinstance(principal, User) else ""
