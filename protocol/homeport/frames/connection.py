"""Frames of the connection itself: types 0 to 15."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Raw, Struct

from homeport.frames.types import Count, Cursor, Limits, Request, RequestId, Seconds, ShortText
from homeport.limits import MAX_ID_CHARS, MAX_PLATFORM_CHARS


class Connect(Struct, array_like=True, frozen=True, tag=1):
    """Client to server, first of all. The answer is `Connected`, or `Error` and a close.

    ``platform`` is what the device runs on (``ios``, ``web`` …): any text, compared exactly.
    An ``ephemeral`` session is no device: the server keeps nothing of it.
    """

    id: RequestId
    device: Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
    token: str | None = None
    cursor: Cursor | None = None
    client: ShortText = ""
    platform: Annotated[str, Meta(max_length=MAX_PLATFORM_CHARS)] = ""
    ephemeral: bool = False


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


class Ok(Struct, array_like=True, frozen=True, tag=3):
    """Server to client: the request with this id was done.

    ``result`` is its answer, still encoded, because only the request's author knows the type.
    `homeport.codec.decode_answer` decodes it, `homeport.codec.encode_ok` makes such a frame.
    """

    id: RequestId
    result: Raw = Raw(b"\xc0")


class Error(Struct, array_like=True, frozen=True, tag=4):
    """Server to client: the request with this id was not done; ``id`` 0 answers no request.

    ``code`` is one of `homeport.codes.ERRORS`; ``retry_after`` is in seconds.
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


class Renewed(Struct, array_like=True, frozen=True):
    """The answer to `Renew`: the session's new end, in seconds since 1970."""

    expires: Count


class Renew(Request[Renewed], array_like=True, frozen=True, tag=7):
    """Client to server: go on with this token."""

    token: str


class Expiring(Struct, array_like=True, frozen=True, tag=8):
    """Server to client: the session ends at ``expires`` (seconds since 1970) unless renewed."""

    expires: Count


class Goaway(Struct, array_like=True, frozen=True, tag=9):
    """Server to client: this gateway is leaving; reconnect after ``reconnect_in`` seconds."""

    reconnect_in: Seconds
