"""The frames of protocol v1 as msgspec Structs.

A frame is a MessagePack array whose first element is its type, a small integer (the Struct's tag).
Fields follow in the order they are declared. Fields are only ever appended, with a default, so an
older peer skips what it does not know and a newer peer fills in what is missing (SPEC.md HP-4.3).

Type numbers come in blocks, so that what is to come has its place:

====== =====================================
0-15   the connection itself
16-31  messages and the inbox
32-47  groups
48-63  rooms
64-79  signals and presence
80-95  receipts
96-111 history, recall, edit
====== =====================================
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from protocol.limits import MAX_ID_CHARS, MAX_INTEGER, MAX_KIND_CHARS

RequestId = Annotated[int, Meta(ge=1, le=2**32 - 1)]
Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Seconds = Annotated[float, Meta(ge=0, le=MAX_INTEGER)]  # also keeps out NaN and infinity
ShortText = Annotated[str, Meta(max_length=128)]

NO_REQUEST: Final = 0
"""The ``id`` of an error frame that answers no request."""


class Cursor(Struct, array_like=True, frozen=True):
    """How far a device has got in its user's inbox: ``[epoch, ms, seq]``.

    ``seq`` is the number of the last message it has dealt with (0 before the first) and ``ms`` that
    message's time in milliseconds since 1970. ``epoch`` names the inbox's numbering; when it has
    changed, the numbers started again and an old cursor means nothing.
    """

    epoch: Annotated[str, Meta(max_length=32)]
    ms: Count
    seq: Count


class Limits(Struct, array_like=True, frozen=True):
    """What this session is held to: ``[max_body, window, dedupe_ms]``.

    ``max_body`` in bytes, ``window`` in pushes, ``dedupe_ms`` in milliseconds.
    """

    max_body: Count
    window: Count
    dedupe_ms: Count


# --- the connection ------------------------------------------------------------------------------


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
    """What an `Ok` tells, a map. For a send: ``id`` and ``time``. For a renewal: ``expires``."""

    id: bytes | None = None
    time: Count | None = None
    expires: Count | None = None


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


# --- messages and the inbox ----------------------------------------------------------------------


class Send(Struct, array_like=True, frozen=True, tag=16):
    """Client to server: deliver ``body`` to ``to``. The answer is `Ok` with ``id`` and ``time``.

    ``client_id`` names this message among the sender's own; repeating the send with the same one
    within the dedupe window adds nothing. ``kind`` says what the body is (``text`` is UTF-8); the
    gateway reads neither.
    """

    id: RequestId
    client_id: Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
    to: Annotated[str, Meta(min_length=1, max_length=128)]
    kind: Annotated[str, Meta(min_length=1, max_length=MAX_KIND_CHARS)]
    body: bytes


class Message(Struct, array_like=True, frozen=True):
    """The inner array of a push: what the sender's gateway encoded, once, and everyone reads.

    ``id`` is 16 bytes (`protocol.ids.message_id`), ``time`` is when the gateway accepted the
    message, in milliseconds since 1970.
    """

    id: bytes
    sender: str
    to: str
    time: Count
    kind: str
    body: bytes


class Push(Struct, array_like=True, frozen=True, tag=17):
    """Server to client: number ``seq`` of the user's inbox, stored at ``ms``."""

    seq: Count
    ms: Count
    message: Message


class Ack(Struct, array_like=True, frozen=True, tag=18):
    """Client to server: this device has dealt with everything up to ``seq``. Never answered ok."""

    seq: Count


class Lost(Struct, array_like=True, frozen=True, tag=19):
    """Server to client: numbers ``first`` to ``last`` are gone and will not be pushed.

    The next push is number ``last + 1``.
    """

    first: Count
    last: Count


ClientFrame = Connect | Send | Ack | Renew | Ping | Pong
ServerFrame = Connected | Ok | Error | Ping | Pong | Expiring | Goaway | Push | Lost
