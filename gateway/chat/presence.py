"""Presence: users' states, and the sessions that watch them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from homeport import codes
from homeport.frames import UserPresence
from homeport.ids import is_user_id

from gateway.apps.app import App
from gateway.chat import prices
from gateway.chat.principal import Principal, SessionUser, User
from gateway.chat.refused import Refused
from gateway.chat.requests import request
from gateway.hub.presence import PresenceHub
from gateway.hub.watchers import hidden
from gateway.security.sealing import Kind, Sealer, SealError
from gateway.store.presence import PresenceStore

_log = structlog.get_logger()


class Statuses:
    """Seals status texts and opens them, with one region's keys (G7)."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def seal(self, app: App, user: str, text: str, now_ms: int) -> bytes:
        """A text as the store holds it; empty where there is none."""
        if not text:
            return b""
        return self._sealer.seal(app, Kind.STATUS, user, b"", text.encode(), now_ms)

    def open(self, app: App, user: str, sealed: bytes) -> str:
        """The text; empty where there is none, or where it can't be opened, which the log says."""
        if not sealed:
            return ""
        try:
            return self._sealer.open(app, Kind.STATUS, user, b"", sealed).decode()
        except SealError as error:
            name = self._sealer.names.app(app.id)
            _log.error("status_unreadable", app=name, reason=type(error).__name__)
            return ""


class PresenceChat:
    """Answers requests about presence. `clock_ms` gives milliseconds since 1970."""

    def __init__(
        self,
        store: PresenceStore,
        statuses: Statuses,
        hub: PresenceHub,
        clock_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._statuses = statuses
        self._hub = hub
        self._clock_ms = clock_ms

    @request(prices.CHANGE)
    async def set(self, user: SessionUser, state: str, status: str | None) -> None:
        """Say how the user's device is; `status` None leaves the text as it is.

        Raises:
            Refused: invalid_field, unavailable.
        """
        if user.ephemeral:
            raise Refused(codes.INVALID_FIELD, "An ephemeral session has no presence.")
        sealed = None
        if status is not None:
            sealed = self._statuses.seal(user.app, user.id, status, self._clock_ms())
        await self._store.set(user.app_id, user.id, user.device, state, sealed)

    @request(prices.users)
    async def watch(
        self, user: SessionUser, users: Sequence[str], expires_s: float
    ) -> tuple[UserPresence, ...]:
        """Tell the session of `users` for `expires_s` from now; returns how they are.

        Raises:
            Refused: invalid_field, too_many_subscriptions, unavailable.
        """
        _check(users)
        states = await self._hub.watch(user.app_id, user.id, user.session, users, expires_s)
        return tuple(states)

    @request(prices.users)
    async def unwatch(self, user: SessionUser, users: Sequence[str]) -> None:
        """Tell the session of `users` no more.

        Raises:
            Refused: invalid_field.
        """
        _check(users)
        self._hub.unwatch(user.app_id, user.session, users)

    @request(prices.users)
    async def get(self, principal: Principal, users: Sequence[str]) -> tuple[UserPresence, ...]:
        """The states of `users` in this moment; users who block the asking user seem to be offline.

        Raises:
            Refused: invalid_field: one is not a user id. unavailable: Redis is away.
        """
        _check(users)
        states = await self._hub.look(principal.app_id, tuple(dict.fromkeys(users)))
        if isinstance(principal, User):
            return tuple(
                hidden(each.user) if each.user in principal.blockers else each for each in states
            )
        return tuple(states)


def _check(users: Sequence[str]) -> None:
    if not all(map(is_user_id, users)):
        raise Refused(codes.INVALID_FIELD, "`users` must be user ids.")
