"""What the client of a live session asks for, and the one answer that each request gets."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final, Protocol

import structlog
from msgspec import Struct

from gateway.apps.app import App
from gateway.bucket import TokenBucket
from gateway.chat.blockers import Blockers
from gateway.chat.refused import Refused, refusal
from gateway.chat.requests import Caller, Handler
from gateway.redis.errors import OperationFailed, Unavailable
from gateway.security.sealing import SealError
from gateway.session.services import Services
from gateway.store.blocks import BlockedBy
from gateway.store.errors import AppNotFound
from gateway.store.events import BlockChanged
from gateway.store.readers import Reader
from protocol import codes, frames
from protocol.limits import SIGNAL_BURST, SIGNAL_RATE

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
    """The requests of `reader`, within its limits and past those who block it.

    Made while the session connects, because from then on it hears who blocks it; `end` it with the
    session.
    """

    __slots__ = ("_allowance", "_asker", "_blockers", "_reader", "_services", "_signals", "open")

    def __init__(self, services: Services, asker: Asker, reader: Reader, app: App) -> None:
        self._services = services
        self._asker = asker
        self._reader = reader
        self._allowance = services.limits.open(app, reader.user)
        self._blockers = Blockers()
        self._signals: TokenBucket | None = None  # made at the first signal
        self.open = 0
        """How many wait for their answer."""

    @property
    def too_many(self) -> bool:
        """True while the client is not to be read, because of these."""
        return self.open >= MAX_UNANSWERED

    def end(self) -> None:
        """The session has ended; what is under way is done, and answered to nobody."""
        self._allowance.close()

    def handle(self, frame: Any) -> None:
        """Do what a request asks, and answer it."""
        if isinstance(frame, frames.Send | frames.RoomSend):
            self._send(frame)
        elif isinstance(frame, frames.Signal):
            self._signal(frame)
        else:
            self._asked()
            handler = self._services.handlers[type(frame)]
            self._services.tasks.spawn(self._answer(handler, frame), self._fault)

    # -- sends: no task, no await ----------------------------------------------------------------

    def _send(self, frame: frames.Send | frames.RoomSend) -> None:
        try:
            app = self._app()
            self._allowance.send(app.tier)
            if isinstance(frame, frames.Send):
                self._blockers.admit(frame.to)
            mid, stored = self._services.sending.send(app, self._reader.user, frame)
        except Refused as refused:
            self._asker.refuse(frame.id, refused)
            return
        except AppNotFound as error:
            self._asker.refuse(frame.id, refusal(error))
            return
        self._asked()
        stored.add_done_callback(partial(self._sent, frame.id, mid))

    def _sent(self, request_id: int, mid: bytes, stored: asyncio.Future[int]) -> None:
        self._answered()
        error = stored.exception()
        if error is None:
            self._services.counts.accepted += 1
            self._asker.answer(request_id, frames.Accepted(mid, stored.result()))
        elif isinstance(error, OperationFailed):
            self._asker.refuse(request_id, refusal(error))
        elif isinstance(error, Refused):
            self._asker.refuse(request_id, error)
        else:
            _log.error("send_failed", session=self._reader.session, exc_info=error)
            self._asker.refuse(request_id, Refused(codes.INTERNAL))

    # -- other requests, in tasks of their own ---------------------------------------------------

    async def _answer(self, handler: Handler, frame: Any) -> None:
        reader = self._reader
        try:
            caller = Caller(self._app(), reader.user, reader.device, reader.session)
            self._allowance.request(caller.app.tier)
            self._admit(frame)
            answer = await handler(caller, frame)
        except Refused as refused:
            self._asker.refuse(frame.id, refused)
        except (OperationFailed, SealError) as error:
            self._asker.refuse(frame.id, refusal(error))
        else:
            self._asker.answer(frame.id, answer)
        finally:
            self._answered()

    def _admit(self, frame: Any) -> None:
        if isinstance(frame, frames.Edit):  # which says something new
            self._blockers.admit(frame.peer)
        elif isinstance(frame, frames.PresenceSet) and self._reader.ephemeral:
            raise Refused(codes.INVALID_FIELD, "An ephemeral session has no presence.")

    def _signal(self, frame: frames.Signal) -> None:
        now = self._services.clock.steady()
        if self._signals is None:
            self._signals = TokenBucket(SIGNAL_RATE, SIGNAL_BURST, now)
        wait = self._signals.wait(now)
        if wait:
            refused = Refused(codes.RATE_LIMITED, retry_after=wait)
            self._asker.refuse(frames.NO_REQUEST, refused)
            return
        self._signals.take(now)
        self._asked()
        self._services.tasks.spawn(self._pass_on(frame), self._fault)

    async def _pass_on(self, frame: frames.Signal) -> None:
        try:
            self._blockers.admit(frame.to)
            await self._services.signals.signal(self._app(), self._reader.user, frame)
        except Refused as refused:
            self._asker.refuse(frames.NO_REQUEST, refused)
        except OperationFailed as error:
            self._asker.refuse(frames.NO_REQUEST, refusal(error))
        finally:
            self._answered()

    # -- who blocks the user ---------------------------------------------------------------------

    def attached(self, blocked_by: BlockedBy) -> None:
        """What attaching read; the first thing that is known of it."""
        if self._blockers.read(blocked_by):
            self._read_blocks()
        self._services.presence.blocks_changed(self._reader.session)

    def hear(self, event: BlockChanged, live: bool) -> None:
        """Somebody blocks the user, or no longer. `live` is false while attaching still reads."""
        if self._blockers.hear(event) and live:
            self._read_blocks()
        self._services.presence.blocks_changed(self._reader.session)

    def blocked_by(self, user: str) -> bool:
        """True where `user` blocks this user, as far as is known."""
        return user in self._blockers

    def compare_blocks(self, change: int) -> None:
        """The store is at this change of who blocks the user."""
        if self._blockers.differs(change):
            self._read_blocks()

    def _read_blocks(self) -> None:
        if self._blockers.begin():
            self._services.tasks.spawn(self._read_blocks_now(), self._fault)

    async def _read_blocks_now(self) -> None:
        reader = self._reader
        try:
            state = await self._services.blocks.blocked_by(reader.app_id, reader.user)
        except Unavailable:
            self._blockers.failed()  # the check after the reconnect reads them again
            return
        self.attached(state)

    # --------------------------------------------------------------------------------------------

    def _asked(self) -> None:
        self.open += 1
        if self.open == MAX_UNANSWERED:
            self._asker.throttle()

    def _answered(self) -> None:
        self.open -= 1
        if self.open == MAX_UNANSWERED // 2:
            self._asker.throttle()

    def _app(self) -> App:
        return self._services.directory.known(self._reader.app_id)

    def _fault(self) -> None:
        self._asker.close(codes.INTERNAL_ERROR)
