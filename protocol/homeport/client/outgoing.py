"""The sending half of the client: writes sends, repeats them, gives each its one outcome."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any, Final

from homeport import frames
from homeport.client import checks
from homeport.client.backoff import Backoff
from homeport.client.connection import Connection
from homeport.client.errors import ProtocolError, SendTimeout
from homeport.client.loop import OwnLoop
from homeport.client.sends import PendingSend, PendingSends
from homeport.codec import FrameError, decode_answer, encode
from homeport.frames import Answer, Request
from homeport.limits import MAX_SIGNAL_BYTES

TICK_S: Final = 0.02
"""A look goes through all sends, so there are at most 50 looks per second."""


class Outgoing:
    """`PendingSends` with a connection, a timer and the futures that callers wait on."""

    def __init__(self, own_loop: OwnLoop, backoff: Backoff) -> None:
        self._own_loop = own_loop
        self._sends = PendingSends(backoff)
        self._outcomes: dict[int, asyncio.Future[frames.Ok]] = {}
        self._connection: Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._end: BaseException | None = None
        self.next_id = self._sends.next_id

    @property
    def is_connected(self) -> bool:
        """What is asked now is written at once."""
        return self._connection is not None

    def check_open(self) -> None:
        """Check that the client takes requests, here and now.

        Raises:
            RuntimeError: it was not entered, or the caller runs in another event loop.
            ClientClosed, CursorFileError: the client has ended by this error.
        """
        self._own_loop.check()
        if self._end is not None:
            raise self._end

    async def request(
        self,
        request: type[Request[Answer]],
        *fields: Any,
        timeout: float | None,
        client_id: str = "",
    ) -> Answer:
        """Ask, and wait for the answer; repeats and raises as `Client.send` does.

        `fields` are those that follow the id. Every request of the protocol may be repeated.
        """
        checks.seconds("timeout", timeout)
        self.check_open()
        loop = asyncio.get_running_loop()
        now = loop.time()
        send = self._sends.add(request, fields, client_id, now, timeout)
        outcome: asyncio.Future[frames.Ok] = loop.create_future()
        self._outcomes[send.id] = outcome
        self._wake_by(send.deadline)
        self._write(send, now)
        try:
            ok = await outcome
        finally:
            self._sends.discard(send.id)
            del self._outcomes[send.id]
        try:
            return decode_answer(request, ok)
        except FrameError as error:
            raise ProtocolError(request.__name__.lower(), str(error)) from None

    def signal(self, to: str, kind: str, body: str | bytes) -> bool:
        """Write a signal, or drop it, as `Conversation.signal` says."""
        checks.text("kind", kind)
        data = checks.message_body(body)
        if len(data) > MAX_SIGNAL_BYTES:
            raise ValueError(f"the body of a signal is {MAX_SIGNAL_BYTES} bytes at most")
        self._own_loop.check()
        if self._connection is None or self._connection.congested:
            return False
        self._connection.write(encode(frames.Signal(to, kind, data)))
        return True

    def connected(self, connection: Connection, dedupe_ms: int) -> None:
        """Write on `connection` from now on, first everything that has no answer yet."""
        self._connection = connection
        self._sends.dedupe_s = dedupe_ms / 1000
        self._work()

    def disconnected(self) -> None:
        """Keep everything for the next connection."""
        self._connection = None
        self._sends.disconnected(_now())

    def accepted(self, ok: frames.Ok) -> None:
        """An ok came; one for a request whose caller has gone is dropped."""
        outcome = self._outcomes.get(ok.id)
        if outcome is not None and not outcome.done():
            outcome.set_result(ok)

    def refused(self, error: frames.Error) -> bool:
        """An error came; false when it is for none of these sends."""
        outcome = self._outcomes.get(error.id)
        if outcome is None:
            return False
        now = _now()
        refusal = self._sends.refused(error, now)
        if refusal is None:
            self._wake_by(now + max(error.retry_after or 0.0, TICK_S))
        elif not outcome.done():
            outcome.set_exception(refusal)
        return True

    def close(self, end: BaseException) -> None:
        """End every send, also later ones, by `end`; the first end counts."""
        self._end = self._end or end
        self._connection = None
        if self._timer is not None:
            self._timer.cancel()
        for outcome in self._outcomes.values():
            if not outcome.done():
                outcome.set_exception(end)

    def _write(self, send: PendingSend, now: float) -> None:
        if self._connection is not None:
            self._connection.write(send.frame)
            send.written(now)

    def _work(self) -> None:
        """Fail what is overdue, write what is due, and plan the next look."""
        now = _now()
        for send in self._sends.overdue(now):
            outcome = self._outcomes[send.id]
            if not outcome.done():
                timeout = SendTimeout(send.client_id)
                timeout.__cause__ = send.refusal
                outcome.set_exception(send.undone() or timeout)
            self._sends.discard(send.id)
        for send in self._sends.due(now):
            self._write(send, now)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake_by(
            max(self._sends.wake_at(connected=self._connection is not None), now + TICK_S)
        )

    def _wake_by(self, when: float) -> None:
        if when == inf or (self._timer is not None and self._timer.when() <= when):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._work)


def _now() -> float:
    return asyncio.get_running_loop().time()


class Requests:
    """The base of the parts of `Client` that ask the server."""

    _outgoing: Outgoing
