"""Principals: the authors of requests to `chat`, with their rate limits and their blockers.

A door (a session, or another way in) passes a principal with each request, and gets principals from
`Principals` only, which nothing else can make. Limits and blocks therefore hold at every door,
without the door's doing. A principal's app is the app as it is at each moment.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import InitVar, dataclass, field
from types import UnionType
from typing import Final

from homeport import codes

from gateway.apps.app import App
from gateway.chat.blockers import BlockerCache, Blockers, HeardBlockers
from gateway.chat.limits import Allowance, Limits
from gateway.chat.refused import FAULTS, Refused, refusal
from gateway.store.blocks import BlockStore
from gateway.store.directory import AppDirectory
from gateway.store.readers import Reader

_BY_PRINCIPALS: Final = object()


@dataclass(frozen=True, slots=True)
class _Author:
    app_id: str
    allowance: Allowance = field(repr=False)
    _directory: AppDirectory = field(repr=False)
    _made: InitVar[object]

    def __post_init__(self, _made: object) -> None:
        if _made is not _BY_PRINCIPALS:
            raise TypeError("principals are made by Principals")

    @property
    def app(self) -> App:
        """The app, as it is now.

        Raises:
            AppNotFound: it was deleted.
        """
        return self._directory.known(self.app_id)


@dataclass(frozen=True, slots=True)
class User(_Author):
    """The user `id` of an app."""

    id: str
    blockers: Blockers = field(repr=False)


@dataclass(frozen=True, slots=True)
class SessionUser(User):
    """A user through a live session, which is of `device`.

    An `ephemeral` session is no device's: nothing of it is kept.
    """

    blockers: HeardBlockers = field(repr=False)
    device: str
    session: str
    ephemeral: bool
    _cache: BlockerCache = field(repr=False)

    def close(self) -> None:
        """The session has ended, and nothing that it asked for is under way."""
        self.allowance.close()
        self._cache.release(self.blockers, self.session)


@dataclass(frozen=True, slots=True)
class AppItself(_Author):
    """The app, and none of its users. It is in every conversation of its users, as an owner is in a
    group and a creator in a room; it is nobody's peer, so nobody blocks it and nothing is sent in
    its name."""


Principal = User | AppItself


def of_kind(principal: Principal, kind: type[User] | UnionType) -> None:
    """Hold a principal against what a request is for: `kind`, a type of principals.

    Raises:
        Refused: not_allowed.
    """
    if not isinstance(principal, kind):
        only = "the user of a session" if kind is SessionUser else "a user"
        raise Refused(codes.NOT_ALLOWED, f"Only {only} may ask for this.")


class Principals:
    """Makes principals."""

    def __init__(self, limits: Limits, blocks: BlockStore, directory: AppDirectory) -> None:
        self._limits = limits
        self._blocks = blocks
        self._directory = directory
        self.blockers = BlockerCache(blocks)

    def connecting(self, app: App, reader: Reader) -> SessionUser:
        """The user of a session that connects; `SessionUser.close` it with the session.

        Unless another session of the user is here, the blockers are not known yet, and until they
        are nothing is let through: after attaching they are read (`BlockerCache.attached`), and
        from then on the session passes on what it hears.
        """
        return SessionUser(
            app.id,
            self._limits.open(app, reader.user, session=True),
            self._directory,
            _BY_PRINCIPALS,
            reader.user,
            self.blockers.hold(app.id, reader.user, reader.session),
            reader.device,
            reader.session,
            reader.ephemeral,
            self.blockers,
        )

    @asynccontextmanager
    async def user(self, app_id: str, user: str) -> AsyncIterator[User]:
        """A user at a door without sessions, for one request: with the blockers that the store has
        as it begins.

        Raises:
            Refused: unknown_app, unavailable, internal.
        """
        async with self._allowed(app_id, user) as allowance:
            request = f"{id(allowance)}"
            blockers = self.blockers.hold(app_id, user, request)
            try:
                try:
                    change = await self._blocks.last_change(app_id, user)
                    await self.blockers.attached(blockers, change)
                except FAULTS as error:
                    raise refusal(error) from error
                await allowance.learnt()
                yield User(app_id, allowance, self._directory, _BY_PRINCIPALS, user, blockers)
            finally:
                self.blockers.release(blockers, request)

    @asynccontextmanager
    async def app(self, app_id: str) -> AsyncIterator[AppItself]:
        """The app itself, for as long as its door likes.

        Raises:
            Refused: unknown_app, unavailable, internal.
        """
        async with self._allowed(app_id) as allowance:
            await allowance.learnt()
            yield AppItself(app_id, allowance, self._directory, _BY_PRINCIPALS)

    @asynccontextmanager
    async def _allowed(self, app_id: str, user: str = "") -> AsyncIterator[Allowance]:
        try:
            app = await self._directory.get(app_id)
        except FAULTS as error:
            raise refusal(error) from error
        allowance = self._limits.open(app, user)
        try:
            yield allowance
        finally:
            allowance.close()


def name_of(principal: Principal) -> str:
    """The author's name in messages and notices: the user's id, and "" for the app itself."""
    return principal.id if isinstance(principal, User) else ""
