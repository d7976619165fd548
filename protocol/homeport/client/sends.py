"""The sends that wait for their answer. Does no I/O; times are seconds of any monotonic clock."""

from __future__ import annotations

from math import inf
from typing import Any, Final

from homeport import codes
from homeport.client.backoff import Backoff
from homeport.client.errors import RateLimited, RequestRefused, may_repeat, refusal_of
from homeport.codec import encode
from homeport.frames import Error, Request
from homeport.limits import MAX_FRAME_BYTES

LAST_ID: Final = 2**32 - 1

REPEAT_SHARE: Final = 0.9
"""Share of the dedupe window in which a send is repeated; the rest is for the way to the server."""


class PendingSend:
    """One send: its encoded frame, the same for every repetition, and its times.

    ``write_at`` is when to write it, None while it waits for an answer on the present connection.
    """

    __slots__ = (
        "client_id",
        "deadline",
        "doubtful",
        "failures",
        "first_write",
        "frame",
        "id",
        "refusal",
        "write_at",
    )

    def __init__(self, id: int, client_id: str, frame: bytes, now: float, deadline: float) -> None:
        self.id = id
        self.client_id = client_id
        self.frame = frame
        self.deadline = deadline
        self.write_at: float | None = now
        self.first_write: float | None = None
        self.failures = 0
        self.refusal: RequestRefused | None = None
        self.doubtful = False  # some copy of it may have been accepted, and the answer is lost

    def written(self, now: float) -> None:
        """The frame went out."""
        self.write_at = None
        if self.first_write is None:
            self.first_write = now

    def undone(self) -> RateLimited | None:
        """What refused every copy of it before anything was stored (HP-17.1-1), if that is so."""
        answered = self.write_at is not None and not self.doubtful
        return self.refusal if answered and isinstance(self.refusal, RateLimited) else None


class PendingSends:
    """All pending sends, in the order in which they were made. The owner discards finished ones.

    ``dedupe_s`` is the server's dedupe window; the owner sets it on connecting.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._sends: dict[int, PendingSend] = {}
        self._last_id = 0
        self.dedupe_s = 0.0

    def __len__(self) -> int:
        return len(self._sends)

    def next_id(self) -> int:
        """A request id that no pending send uses."""
        while True:
            self._last_id = self._last_id % LAST_ID + 1
            if self._last_id not in self._sends:
                return self._last_id

    def add(
        self,
        request: type[Request[Any]],
        fields: tuple[Any, ...],
        client_id: str,
        now: float,
        timeout: float | None,
    ) -> PendingSend:
        """Put a request in, with the `fields` after its id, to be written at once.

        Raises:
            TooLarge: the server would end the connection at a frame of this size.
        """
        id = self.next_id()
        frame = encode(request(id, *fields))
        if len(frame) > MAX_FRAME_BYTES:
            raise refusal_of(Error(id, codes.BODY_TOO_LARGE.number, codes.BODY_TOO_LARGE.meaning))
        deadline = inf if timeout is None else now + timeout
        send = self._sends[id] = PendingSend(id, client_id, frame, now, deadline)
        return send

    def discard(self, id: int) -> None:
        """Forget a send, if it is here."""
        self._sends.pop(id, None)

    def disconnected(self, now: float) -> None:
        """No answer will come any more: everything is to be written again."""
        for send in self._sends.values():
            if send.write_at is None:
                send.write_at = now
                send.doubtful = True

    def refused(self, error: Error, now: float) -> RequestRefused | None:
        """Take in an error frame; returns the sender's exception, None if it is repeated."""
        refusal = refusal_of(error)
        send = self._sends.get(error.id)
        if send is None or not may_repeat(error):
            return refusal
        send.refusal = refusal
        send.doubtful = send.doubtful or not isinstance(refusal, RateLimited)
        send.failures += 1
        send.write_at = now + (error.retry_after or 0) + self._backoff.delay(send.failures)
        return None

    def due(self, now: float) -> list[PendingSend]:
        """What is to be written now, in order. Ask for `overdue` first."""
        return [
            send
            for send in self._sends.values()
            if send.write_at is not None and send.write_at <= now
        ]

    def overdue(self, now: float) -> list[PendingSend]:
        """What has had its time, or may not be repeated any more.

        After the dedupe window a repetition could become a second message. The window begins when
        the server accepts, which can't be before the first write.
        """
        window = self.dedupe_s * REPEAT_SHARE
        return [
            send
            for send in self._sends.values()
            if send.deadline <= now
            or (
                send.write_at is not None
                and send.first_write is not None
                and max(now, send.write_at) - send.first_write >= window
            )
        ]

    def wake_at(self, *, connected: bool) -> float:
        """When `overdue` or, on a connection, `due` has something next; infinity for never."""
        wake = inf
        for send in self._sends.values():
            wake = min(wake, send.deadline)
            if connected and send.write_at is not None:
                wake = min(wake, send.write_at)
        return wake
