"""Types of fields that several frames share."""

from __future__ import annotations

from typing import Annotated, Final, Generic, TypeVar

from msgspec import Meta, Struct

from homeport.limits import MAX_ID_CHARS, MAX_INTEGER

RequestId = Annotated[int, Meta(ge=1, le=2**32 - 1)]
Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Seq = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
"""The number of a message in its conversation."""
Seconds = Annotated[float, Meta(ge=0, le=MAX_INTEGER)]  # also keeps out NaN and infinity
UserId = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
Peer = Annotated[str, Meta(min_length=1, max_length=128)]
"""The other end of a conversation: a user's id, or a group's or room's behind ``g:`` or ``r:``."""
ShortText = Annotated[str, Meta(max_length=128)]

NO_REQUEST: Final = 0
"""The ``id`` of an error frame that answers no request."""

Answer = TypeVar("Answer")
"""What a request is answered with."""


class Request(Struct, Generic[Answer], array_like=True, frozen=True):
    """What every request begins with. It is answered by `Ok` with an ``Answer``, or by `Error`.

    An answer is an array without a type, because the client knows what it asked. ``Answer`` is None
    where `Ok` says all there is to say. `homeport.frames.ANSWERS` is the table of all of them.
    """

    id: RequestId


class Cursor(Struct, array_like=True, frozen=True):
    """How far a device has got in its user's inbox: ``[epoch, ms, number]``.

    ``number`` is that of the last push it has dealt with (0 before the first) and ``ms`` that
    push's time in milliseconds since 1970. ``epoch`` names the inbox's numbering; when it has
    changed, the numbers started again and an old cursor means nothing.
    """

    epoch: Annotated[str, Meta(max_length=32)]
    ms: Count
    number: Count


class Limits(Struct, array_like=True, frozen=True):
    """What this session is held to: ``[max_body, window, dedupe_ms]``.

    ``max_body`` in bytes, ``window`` in pushes, ``dedupe_ms`` in milliseconds.
    """

    max_body: Count
    window: Count
    dedupe_ms: Count
