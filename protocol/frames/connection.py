"""Frames of the connection itself: types 0 to 15."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocol.frames.types import Count, Cursor, Limits, RequestId, Seconds, ShortText
from protocol.limits import MAX_ID_CHARS


class Connect(Struct, array_like=True, frozen=True, tag=1):
    """Client to server, first of all. The answer is `Connected`, or `Error` and a close."""

    id: RequestId
    device: Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
    token: str | None = None
    cursor: Cursor | None = None
    client: ShortText = ""


class Connected(Struct, array_like=True, frozen=True, tag=2):
    """Server to client: the session is live.

    ``heartbeat`` is in seconds, ``expires`` is the token's end in seconds since 1970. Pushes follow
    from the one after ``cursor``. ``resumed`` is true when they follow the client's own cursor
    without a hole. ``lost`` is the first and the last number dropped from the inbox that this
    device had not acknowledged.
    """

    id: RequestId
    session: str
    region: str
    user: str
    heartbeat: Seconds
    expires: Count
    cursor: Cursor
    resumed: bool
    lost: tuple[Count, Count] | None
    limits: Limits


class Result(Struct, frozen=True, omit_defaults=True):
    """What an `Ok` tells, a map. For a send: ``id`` and ``time``. For a renewal: ``expires``.

    For receipts: ``receipts``, an array of ``[user, delivered, read]``, and ``reached``, which is
    ``[people, delivered, read]`` as numbers of people. For unread: ``unread``, an array of
    ``[peer, count]``, and ``more``, true where it does not hold every conversation.
    """

    id: bytes | None = None
    time: Count | None = None
    expires: Count | None = None
    receipts: list[tuple[str, Count, Count]] | None = None
    reached: tuple[Count, Count, Count] | None = None
    unread: list[tuple[str, Count]] | None = None
    more: bool | None = None


class Ok(Struct, array_like=True, frozen=True, tag=3):
    """Server to client: the request with this id was done."""

    id: RequestId
    result: Result = Result()


class Error(Struct, array_like=True, frozen=True, tag=4):
    """Server to client: the request with this id was not done; ``id`` 0 answers no request.

    ``code`` is one of `protocol.codes.ERRORS`; ``retry_after`` is in seconds.
    """

    id: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    code: Count
    text: str
    retry_after: Seconds | None = None
    details: dict[str, str] | None = None


class Ping(Struct, array_like=True, frozen=True, tag=5):
    """Either way: are you there? The answer is `Pong`."""


class Pong(Struct, array_like=True, frozen=True, tag=6):
    """Either way: the answer to `Ping`."""


class Renew(Struct, array_like=True, frozen=True, tag=7):
    """Client to server: go on with this token. The answer is `Ok` with ``expires``, or `Error`."""

    id: RequestId
    token: str


class Expiring(Struct, array_like=True, frozen=True, tag=8):
    """Server to client: the session ends at ``expires`` (seconds since 1970) unless renewed."""

    expires: Count


class Goaway(Struct, array_like=True, frozen=True, tag=9):
    """Server to client: this gateway is leaving; reconnect after ``reconnect_in`` seconds."""

    reconnect_in: Seconds
