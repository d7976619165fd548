"""Principals: whoever asks `chat` for something, with what they may spend and who blocks them.

A door (a session, or another way in) asks for its client with a principal, and gets principals from
`Principals` only. So limits and blocks hold at every door, without the door knowing of them.
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

        Who blocks the user is not known yet: attaching reads it (`Blockers.read`), and from then on
        the session tells what it hears (`Blockers.hear`).
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
        """A user at a door without sessions; who blocks the user is as the store has it now.

        Raises:
            Unavailable, CommandFault.
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
        """Read again who blocks `user`, after `Blockers.begin`; returns as `Blockers.read`.

        Raises:
            Unavailable, CommandFault: whatever comes next, it is to be read again.
        """
        try:
            state = await self._blocks.blocked_by(user.app.id, user.id)
        except BaseException:
            user.blockers.failed()
            raise
        return user.blockers.read(state)


def name_of(principal: Principal) -> str:
    """Who did it, where others are told: the user's id, and "" of the app itself."""
    return principal.id if isinstance(principal, User) else ""
