"""What the frames of presence mean: set, subscribe, unsubscribe, get."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog

from gateway.apps.app import App
from gateway.chat.refused import Refused
from gateway.chat.requests import Caller, Handlers
from gateway.security.sealing import Kind, Sealer, SealError
from gateway.store.presence import PresenceStore
from protocol import codes
from protocol.frames import (
    PresenceGet,
    PresenceList,
    PresenceSet,
    PresenceSubscribe,
    PresenceUnsubscribe,
    UserPresence,
)
from protocol.ids import is_user_id

_log = structlog.get_logger("chat")


class Statuses:
    """Seals status texts and opens them, with one region's keys (G7)."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def seal(self, app: App, user: str, text: str, now_ms: int) -> bytes:
        """A text as the store holds it; empty where there is none."""
        if not text:
            return b""
        return self._sealer.seal(app.id, app.salt, Kind.STATUS, user, b"", text.encode(), now_ms)

    def open(self, app: App, user: str, sealed: bytes) -> str:
        """The text; empty where there is none, or where it can't be opened, which the log says."""
        if not sealed:
            return ""
        try:
            return self._sealer.open(app.id, app.salt, Kind.STATUS, user, b"", sealed).decode()
        except SealError as error:
            name = self._sealer.names.app(app.id)
            _log.error("status_unreadable", app=name, reason=type(error).__name__)
            return ""


class Watch(Protocol):
    """Who of this process watches whom: `gateway.hub.presence.PresenceHub`."""

    async def watch(
        self, app_id: str, user: str, session_id: str, users: Iterable[str], expires_s: float
    ) -> list[UserPresence]: ...
    def unwatch(self, app_id: str, session_id: str, users: Iterable[str]) -> None: ...
    async def look(
        self, app_id: str, user: str, session_id: str, users: Sequence[str]
    ) -> list[UserPresence]: ...


class PresenceChat:
    """Answers requests about presence. `clock_ms` gives milliseconds since 1970."""

    def __init__(
        self, store: PresenceStore, statuses: Statuses, hub: Watch, clock_ms: Callable[[], int]
    ) -> None:
        self._store = store
        self._statuses = statuses
        self._hub = hub
        self._clock_ms = clock_ms

    def handlers(self) -> Handlers:
        """By the type of the frame."""
        return {
            PresenceSet: self._set,
            PresenceSubscribe: self._subscribe,
            PresenceUnsubscribe: self._unsubscribe,
            PresenceGet: self._get,
        }

    async def _set(self, caller: Caller, frame: PresenceSet) -> None:
        app, user, sealed = caller.app, caller.user, None
        if frame.status is not None:
            sealed = self._statuses.seal(app, user, frame.status, self._clock_ms())
        await self._store.set(app.id, user, caller.device, frame.state, sealed)

    async def _subscribe(self, caller: Caller, frame: PresenceSubscribe) -> PresenceList:
        """Raises Refused: invalid_field, too_many_subscriptions."""
        _check(frame.users)
        states = await self._hub.watch(
            caller.app.id, caller.user, caller.session, frame.users, frame.expires
        )
        return PresenceList(tuple(states))

    async def _unsubscribe(self, caller: Caller, frame: PresenceUnsubscribe) -> None:
        """Raises Refused: invalid_field."""
        _check(frame.users)
        self._hub.unwatch(caller.app.id, caller.session, frame.users)

    async def _get(self, caller: Caller, frame: PresenceGet) -> PresenceList:
        """Raises Refused: invalid_field."""
        _check(frame.users)
        users = tuple(dict.fromkeys(frame.users))
        states = await self._hub.look(caller.app.id, caller.user, caller.session, users)
        return PresenceList(tuple(states))


def _check(users: Sequence[str]) -> None:
    if not all(map(is_user_id, users)):
        raise Refused(codes.INVALID_FIELD, "`users` must be user ids.")
