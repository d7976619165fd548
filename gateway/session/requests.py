"""What the client of a live session asks for, and the one answer that each request gets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Protocol

from homeport import frames
from msgspec import Struct

from gateway.chat.chat import Chat
from gateway.chat.principal import SessionUser
from gateway.chat.refused import Refused, refusal
from gateway.session.counts import Counts
from gateway.session.routes import ROUTES, Route
from gateway.store.conversations import Stored
from gateway.tasks import Tasks

MAX_UNANSWERED: Final = 256
"""Requests in flight; with so many, nothing more of the client is begun until half are answered."""


class Asker(Protocol):
    """The session that the requests are of."""

    def answer(self, request_id: int, answer: Struct | None) -> None:
        """Answer with ok; says nothing once the session has ended."""

    def refuse(self, request_id: int, refused: Refused) -> None:
        """Answer with an error."""

    def throttle(self) -> None:
        """Look again whether the client is to be read."""

    def fault(self) -> None:
        """End the session, because of a fault of ours."""


class Requests:
    """The requests of the session of `user`; `end` them with the session."""

    __slots__ = ("_asker", "_chat", "_counts", "_ended", "_tasks", "_user", "open")

    def __init__(
        self,
        chat: Chat,
        tasks: Tasks,
        counts: Counts,
        asker: Asker,
        user: SessionUser,
    ) -> None:
        self._chat = chat
        self._tasks = tasks
        self._counts = counts
        self._asker = asker
        self._user = user
        self._ended = False
        self.open = 0
        """How many wait for their answer."""

    @property
    def too_many(self) -> bool:
        """True while the client is not to be read, because of these."""
        return self.open >= MAX_UNANSWERED

    def end(self) -> None:
        """The session has ended; what is under way is done, and answered to nobody."""
        self._ended = True
        if not self.open:
            self._user.allowance.close()

    def handle(self, frame: Any) -> None:
        """Do what a request asks, and answer it."""
        _TABLE[type(frame)](self, frame)

    # -- sends: no task, no await ----------------------------------------------------------------

    def _send(self, frame: frames.Send) -> None:
        self._say(frame, frame.options, None)

    def _send_to_room(self, frame: frames.RoomSend) -> None:
        self._say(frame, None, frame.priority)

    def _say(
        self,
        frame: frames.Send | frames.RoomSend,
        options: frames.Options | None,
        priority: int | None,
    ) -> None:
        try:
            mid, stored = self._chat.messages.send(
                self._user,
                frame.client_id,
                frame.to,
                frame.kind,
                frame.body,
                options=options,
                priority=priority,
            )
        except Refused as refused:
            self._asker.refuse(frame.id, refused)
        else:
            self._asked()
            stored.add_done_callback(partial(self._sent, frame.id, mid))

    def _sent(self, request_id: int, mid: bytes, stored: asyncio.Future[Stored]) -> None:
        self._answered()
        error = stored.exception()
        if error is None:
            self._counts.accepted += 1
            seq, time_ms, _ = stored.result()
            self._asker.answer(request_id, frames.Accepted(mid, time_ms, seq))
            return
        self._asker.refuse(request_id, refusal(error))

    # -- other requests, in tasks of their own ---------------------------------------------------

    def _ask(self, frame: Any) -> None:
        self._asked()
        self._tasks.spawn(self._answer(ROUTES[type(frame)], frame), self._asker.fault)

    async def _answer(self, route: Route, frame: Any) -> None:
        try:
            answer = await route(self._chat, self._user, frame)
        except Refused as refused:
            self._asker.refuse(frame.id, refused)
        else:
            self._asker.answer(frame.id, answer)
        finally:
            self._answered()

    def _signal(self, frame: frames.Signal) -> None:
        try:
            telling = self._chat.signals.signal(self._user, frame.to, frame.kind, frame.body)
        except Refused as refused:
            self._asker.refuse(frames.NO_REQUEST, refused)
            return
        self._asked()
        self._tasks.spawn(self._pass_on(telling), self._asker.fault)

    async def _pass_on(self, telling: Awaitable[None]) -> None:
        try:
            await telling
        except Refused as refused:
            self._asker.refuse(frames.NO_REQUEST, refused)
        finally:
            self._answered()

    # --------------------------------------------------------------------------------------------

    def _asked(self) -> None:
        self.open += 1
        if self.open == MAX_UNANSWERED:
            self._asker.throttle()

    def _answered(self) -> None:
        self.open -= 1
        if self.open == MAX_UNANSWERED // 2:
            self._asker.throttle()
        elif self._ended and not self.open:
            self._user.allowance.close()


_TABLE: Final[dict[type, Callable[[Requests, Any], None]]] = {
    frames.Send: Requests._send,
    frames.RoomSend: Requests._send_to_room,
    frames.Signal: Requests._signal,
    **dict.fromkeys(ROUTES, Requests._ask),
}
