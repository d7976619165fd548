"""What the client of a live session asks for, and the one answer that each request gets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol

import structlog
from msgspec import Struct

from gateway.apps.app import App
from gateway.chat.principal import SessionUser
from gateway.chat.refused import Refused, refusal
from gateway.redis.errors import OperationFailed, Unavailable
from gateway.session.routes import ROUTES, Route
from gateway.session.services import Services
from gateway.store.blocks import BlockedBy
from gateway.store.events import BlockChanged
from gateway.store.readers import Reader
from protocol import codes, frames

MAX_UNANSWERED: Final = 256
"""Requests in flight; past it the client is not read until some are answered."""

_log = structlog.get_logger("session")


class Asker(Protocol):
    """The session that the requests are of."""

    def answer(self, request_id: int, answer: Struct | None) -> None:
        """Answer with ok; says nothing once the session has ended."""

    def refuse(self, request_id: int, refused: Refused) -> None:
        """Answer with an error."""

    def throttle(self) -> None:
        """Look again whether the client is to be read."""

    def close(self, code: codes.CloseCode, reason: str = "") -> None:
        """End the session."""


class Requests:
    """The requests of the session of `reader`.

    Made while the session connects, because from then on it hears of its user's blockers; `end` it
    with the session.
    """

    __slots__ = ("_asker", "_services", "_user", "open")

    def __init__(self, services: Services, asker: Asker, reader: Reader, app: App) -> None:
        self._services = services
        self._asker = asker
        self._user = services.chat.principals.connecting(app, reader)
        self.open = 0
        """How many wait for their answer."""

    @property
    def too_many(self) -> bool:
        """True while the client is not to be read, because of these."""
        return self.open >= MAX_UNANSWERED

    def end(self) -> None:
        """The session has ended; what is under way is done, and answered to nobody."""
        self._user.allowance.close()

    def handle(self, frame: Any) -> None:
        """Do what a request asks, and answer it."""
        _TABLE[type(frame)](self, frame)

    # -- sends: no task, no await ----------------------------------------------------------------

    def _send(self, frame: frames.Send) -> None:
        try:
            mid, stored = self._services.chat.messages.send(
                self._me(),
                frame.client_id,
                frame.to,
                frame.kind,
                frame.body,
                options=frame.options,
            )
        except (Refused, OperationFailed) as error:
            self._asker.refuse(frame.id, refusal(error))
        else:
            self._sending(frame.id, mid, stored)

    def _send_to_room(self, frame: frames.RoomSend) -> None:
        try:
            mid, stored = self._services.chat.messages.send(
                self._me(),
                frame.client_id,
                frame.to,
                frame.kind,
                frame.body,
                priority=frame.priority,
            )
        except (Refused, OperationFailed) as error:
            self._asker.refuse(frame.id, refusal(error))
        else:
            self._sending(frame.id, mid, stored)

    def _sending(self, request_id: int, mid: bytes, stored: asyncio.Future[int]) -> None:
        self._asked()
        stored.add_done_callback(partial(self._sent, request_id, mid))

    def _sent(self, request_id: int, mid: bytes, stored: asyncio.Future[int]) -> None:
        self._answered()
        error = stored.exception()
        if error is None:
            self._services.counts.accepted += 1
            self._asker.answer(request_id, frames.Accepted(mid, stored.result()))
            return
        if not isinstance(error, Refused | OperationFailed):
            _log.error("send_failed", session=self._user.session, exc_info=error)
        self._asker.refuse(request_id, refusal(error))

    # -- other requests, in tasks of their own ---------------------------------------------------

    def _ask(self, frame: Any) -> None:
        self._asked()
        self._services.tasks.spawn(self._answer(ROUTES[type(frame)], frame), self._fault)

    async def _answer(self, route: Route, frame: Any) -> None:
        try:
            answer = await route(self._services.chat, self._me(), frame)
        except (Refused, OperationFailed) as error:
            self._asker.refuse(frame.id, refusal(error))
        else:
            self._asker.answer(frame.id, answer)
        finally:
            self._answered()

    def _signal(self, frame: frames.Signal) -> None:
        try:
            telling = self._services.chat.signals.signal(
                self._me(), frame.to, frame.kind, frame.body
            )
        except (Refused, OperationFailed) as error:
            self._asker.refuse(frames.NO_REQUEST, refusal(error))
            return
        self._asked()
        self._services.tasks.spawn(self._pass_on(telling), self._fault)

    async def _pass_on(self, telling: Awaitable[None]) -> None:
        try:
            await telling
        except Refused as refused:
            self._asker.refuse(frames.NO_REQUEST, refused)
        finally:
            self._answered()

    # -- who blocks the user ---------------------------------------------------------------------

    def attached(self, blocked_by: BlockedBy) -> None:
        """What attaching read; the first thing that is known of it."""
        self._were_read(again=self._user.blockers.read(blocked_by))

    def hear(self, event: BlockChanged, live: bool) -> None:
        """Somebody blocks the user, or no longer. `live` is false while attaching still reads."""
        if self._user.blockers.hear(event) and live:
            self._read_blocks()
        self._services.presence.blocks_changed(self._user.session)

    def blocked_by(self, user: str) -> bool:
        """True where `user` blocks this user, as far as is known."""
        return user in self._user.blockers

    def compare_blocks(self, change: int) -> None:
        """Compare with the number of the last change of the user's blockers in the store."""
        if self._user.blockers.differs(change):
            self._read_blocks()

    def _read_blocks(self) -> None:
        if self._user.blockers.begin():
            self._services.tasks.spawn(self._read_blocks_now(), self._fault)

    async def _read_blocks_now(self) -> None:
        try:
            again = await self._services.chat.principals.read_blockers(self._user)
        except Unavailable:
            return  # the check after the reconnect reads them again
        self._were_read(again)

    def _were_read(self, again: bool) -> None:
        if again:
            self._read_blocks()
        self._services.presence.blocks_changed(self._user.session)

    # --------------------------------------------------------------------------------------------

    def _asked(self) -> None:
        self.open += 1
        if self.open == MAX_UNANSWERED:
            self._asker.throttle()

    def _answered(self) -> None:
        self.open -= 1
        if self.open == MAX_UNANSWERED // 2:
            self._asker.throttle()

    def _me(self) -> SessionUser:
        """The principal, with its app as it is now.

        Raises:
            AppNotFound: the app was deleted.
        """
        user = self._user
        app = self._services.directory.known(user.app.id)
        if app is not user.app:
            user = self._user = replace(user, app=app)
        return user

    def _fault(self) -> None:
        self._asker.close(codes.INTERNAL_ERROR)


_TABLE: Final[dict[type, Callable[[Requests, Any], None]]] = {
    frames.Send: Requests._send,
    frames.RoomSend: Requests._send_to_room,
    frames.Signal: Requests._signal,
    **dict.fromkeys(ROUTES, Requests._ask),
}
