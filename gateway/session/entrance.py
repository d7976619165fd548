"""The way in and out of a gateway: every place that a session enters, and leaves again."""

from __future__ import annotations

from typing import Protocol

from homeport.frames import Connect

from gateway.apps.app import App
from gateway.chat.limits import Limits
from gateway.chat.refused import refusal
from gateway.hub.hub import HubSession
from gateway.hub.hubs import Hubs
from gateway.hub.presence import PresenceHub
from gateway.security.tokens import Identity
from gateway.session.app_limit import AppLimit
from gateway.session.handshake import BadToken, Handshake
from gateway.session.tracing import Traced, Tracer
from gateway.store.errors import AppNotFound


class Entrant(HubSession, Traced, Protocol):
    """A session, as far as this needs it."""

    def is_closed(self) -> bool:
        """True once the session has ended."""


class Entrance:
    """One per process."""

    def __init__(
        self,
        handshake: Handshake,
        limits: Limits,
        app_limit: AppLimit,
        tracer: Tracer,
        hubs: Hubs,
    ) -> None:
        self._handshake = handshake
        self._limits = limits
        self._app_limit = app_limit
        self._tracer = tracer
        self._hubs = hubs

    @property
    def presence(self) -> PresenceHub:
        """The hub that hides a user from those whom the user blocks."""
        return self._hubs.presence

    def app(self, app_id: str) -> App:
        """The app of a session that entered, as it is now.

        Raises:
            AppNotFound: it was deleted.
        """
        return self._handshake.directory.known(app_id)

    async def authenticate(
        self, session_id: str, token: str | None, now_s: float
    ) -> tuple[App, Identity]:
        """The app and the user that a session's token speaks for; see `Handshake.authenticate`.

        An operator who traces the user is told of a token that the app did sign and that lets
        nobody in.
        """
        try:
            return await self._handshake.authenticate(token, now_s)
        except BadToken as bad:
            if bad.app_id is not None and bad.user is not None:
                self._tracer.refused(bad.app_id, bad.user, session_id, bad.code.number)
            raise

    def renew(self, token: str, app_id: str, old: Identity, now_s: float) -> Identity:
        """What `token` changes the session of `old` to; see `Handshake.renew`.

        Raises:
            Refused: with the code that says what is wrong with the token, or `unknown_app`.
        """
        try:
            return self._handshake.renew(token, self.app(app_id), old, now_s)
        except AppNotFound as error:
            raise refusal(error) from error

    async def enter(self, session: Entrant, app: App, frame: Connect) -> bool:
        """Count the session, whose `reader` is known. False where it ended meanwhile.

        `join` comes next, and `leave` at the end.

        Raises:
            Refused: it connects too often, or its app has too many connections.
        """
        tap = self._tracer.joined(session)
        if tap is not None:
            tap.asked(frame)
        self._limits.connect(app.id, session.user)
        await self._app_limit.enter(app)
        if session.is_closed():
            self._app_limit.leave(app)
            return False
        if tap is None:
            self._tracer.joined(session)  # it may have begun while the app's limit was asked for
        return True

    async def join(self, session: Entrant) -> bool:
        """Have the session hear what happens to its user. False where it ended meanwhile."""
        await self._hubs.users.join(session)
        return not session.is_closed()

    def leave(self, session: Entrant, entered: App | None) -> None:
        """The session, whose `reader` is known, has ended. `entered` is the app that it was counted
        for, if it was."""
        self._tracer.gone(session)
        if entered is not None:
            self._app_limit.leave(entered)
        self._hubs.leave(session)
