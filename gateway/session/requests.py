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
from gateway.session.routes import ROUTES
from gateway.store.entries import Stored
from gateway.tasks import Tasks

MAX_UNANSWERED: Final = 256
"""Requests in flight; with so many, nothing more of the client is begun until half are answered."""

MAX_PAGES: Final = 8
"""Pages, each up to a whole frame, that are made for one session at once: so what it may have to
wait for is bounded in bytes, too (G9)."""

_PAGES: Final = frozenset({frames.History, frames.Conversations})


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

    __slots__ = (
        "_asker",
        "_chat",
        "_counts",
        "_ended",
        "_held",
        "_pages",
        "_share",
        "_tasks",
        "_user",
        "open",
    )

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
        self._share = user.allowance.share
        self._ended = False
        self._held: Any = None  # the frame that waits until something else is done
        self._pages = 0
        self.open = 0
        """How many wait for their answer."""

    @property
    def too_many(self) -> bool:
        """True while the client is not to be read, because of these."""
        return self.open >= MAX_UNANSWERED or self._held is not None

    @property
    def idle(self) -> bool:
        """True while none is under way, and none waits to be."""
        return not self.open and self._held is None

    def end(self) -> None:
        """The session has ended; what is under way is done, and answered to nobody."""
        self._ended = True
        self._held = None
        if not self.open:
            self._user.close()

    def handle(self, frame: Any) -> None:
        """Do what a request asks, and answer it; while it must wait, the client is not read."""
        if self._must_wait(frame):
            self._held = frame
            self._asker.throttle()
        else:
            _TABLE[type(frame)](self, frame)

    def _must_wait(self, frame: Any) -> bool:
        if self._share.used_up:
            self._share.wait(self._go_on)
            return True
        return self._pages >= MAX_PAGES and type(frame) in _PAGES

    def _go_on(self) -> None:
        """What the frame waits for may be over."""
        frame = self._held
        if frame is not None and not self._must_wait(frame):
            self._held = None
            _TABLE[type(frame)](self, frame)
            self._asker.throttle()

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
        before = self._user.allowance.paid
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
            tokens = self._asked(before)
            stored.add_done_callback(partial(self._sent, frame.id, mid, tokens))

    def _sent(
        self, request_id: int, mid: bytes, tokens: int, stored: asyncio.Future[Stored]
    ) -> None:
        self._answered(tokens)
        error = stored.exception()
        if error is None:
            self._counts.accepted += 1
            seq, time_ms, _ = stored.result()
            self._asker.answer(request_id, frames.Accepted(mid, time_ms, seq))
            return
        self._asker.refuse(request_id, refusal(error))

    # -- other requests, in tasks of their own ---------------------------------------------------

    def _ask(self, frame: Any) -> None:
        before = self._user.allowance.paid
        try:
            answering = ROUTES[type(frame)](self._chat, self._user, frame)
        except Refused as refused:  # so that what is not paid for costs no task
            self._asker.refuse(frame.id, refused)
            return
        self._pages += type(frame) in _PAGES
        self._tasks.spawn(self._answer(answering, frame, self._asked(before)), self._asker.fault)

    async def _answer(self, answering: Awaitable[Struct | None], frame: Any, tokens: int) -> None:
        try:
            answer = await answering
        except Refused as refused:
            self._asker.refuse(frame.id, refused)
        else:
            self._asker.answer(frame.id, answer)
        finally:
            self._pages -= type(frame) in _PAGES
            self._answered(tokens)

    def _signal(self, frame: frames.Signal) -> None:
        before = self._user.allowance.paid
        try:
            telling = self._chat.signals.signal(self._user, frame.to, frame.kind, frame.body)
        except Refused as refused:
            self._asker.refuse(frames.NO_REQUEST, refused)
            return
        tokens = self._asked(before)
        self._tasks.spawn(self._pass_on(telling, tokens), self._asker.fault)

    async def _pass_on(self, telling: Awaitable[None], tokens: int) -> None:
        try:
            await telling
        except Refused as refused:
            self._asker.refuse(frames.NO_REQUEST, refused)
        finally:
            self._answered(tokens)

    # --------------------------------------------------------------------------------------------

    def _asked(self, before: int) -> int:
        """A request is under way; returns what was paid for it, where `before` was paid before."""
        tokens = self._user.allowance.paid - before
        self._share.begin(tokens)
        self.open += 1
        if self.open == MAX_UNANSWERED:
            self._asker.throttle()
        return tokens

    def _answered(self, tokens: int) -> None:
        self._share.end(tokens)
        self.open -= 1
        if self._held is not None:
            self._go_on()
        if self.open == MAX_UNANSWERED // 2:
            self._asker.throttle()
        elif self._ended and not self.open:
            self._user.close()


_TABLE: Final[dict[type, Callable[[Requests, Any], None]]] = {
    frames.Send: Requests._send,
    frames.RoomSend: Requests._send_to_room,
    frames.Signal: Requests._signal,
    **dict.fromkeys(ROUTES, Requests._ask),
}
