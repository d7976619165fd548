"""Frames of rooms: types 48 to 63."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from msgspec import Meta, Struct

from homeport.frames.messages import Accepted, Message
from homeport.frames.types import Count, Peer, Request, UserId
from homeport.limits import MAX_ID_CHARS, MAX_KIND_CHARS, MAX_LAST, MAX_ROOM_ADMINS

RoomId = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
# Not a Literal: the decoder's text for one repeats what the client wrote.
Writers = Annotated[str, Meta(pattern=r"^(everyone|admins)\Z")]


class Priority(IntEnum):
    """The priority of a room message: a slow client misses LOW first, and HIGH last."""

    LOW = 0
    NORMAL = 1
    HIGH = 2


PriorityField = Annotated[int, Meta(ge=0, le=2)]


class RoomJoined(Struct, array_like=True, frozen=True):
    """The answer to `RoomJoin`: pushes follow from number ``seq`` + 1 of the numbering ``epoch``.

    The room has ``members`` users. Where ``epoch`` is not the join's, numbers of the join's up to
    ``kept`` mean the same messages in it; None: nobody knows.
    """

    epoch: str
    seq: Count
    members: Count
    kept: Count | None = None


class RoomJoin(Request[RoomJoined], array_like=True, frozen=True, tag=48):
    """Client to server: take a seat.

    Pushes follow: first the last ``last`` messages that are kept, then what comes. A client that
    was here gives the ``epoch`` and the number ``after`` which it has missed messages; of those up
    to ``after`` none is pushed again.
    """

    room: RoomId
    last: Annotated[int, Meta(ge=0, le=MAX_LAST)] = 10
    epoch: Annotated[str, Meta(max_length=32)] = ""
    after: Count = 0


class RoomLeave(Request[None], array_like=True, frozen=True, tag=49):
    """Client to server: give the seat up; also where there was none, it is done."""

    room: RoomId


class RoomSet(Request[None], array_like=True, frozen=True, tag=50):
    """Client to server: create a room, or change its write policy.

    The creator may always write; ``admins`` are user ids.
    """

    room: RoomId
    write: Writers
    admins: Annotated[tuple[UserId, ...], Meta(max_length=MAX_ROOM_ADMINS)] = ()


class RoomSend(Request[Accepted], array_like=True, frozen=True, tag=51):
    """Client to server: a `Send` to a room with a priority."""

    client_id: Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
    to: Peer
    kind: Annotated[str, Meta(min_length=1, max_length=MAX_KIND_CHARS)]
    body: bytes
    priority: PriorityField = 1


class RoomPush(Struct, array_like=True, frozen=True, tag=52):
    """Server to client: number ``seq`` of the room that ``message.to`` names."""

    seq: Count
    priority: PriorityField
    message: Message


class RoomState(Struct, array_like=True, frozen=True, tag=53):
    """Server to client: the room has ``members`` users, and its numbers up to ``seq`` are past.

    What of those was not pushed is gone. Where ``epoch`` is another than the client knows, a new
    numbering began, and pushes go on after ``seq``; numbers up to ``kept`` mean the same messages
    as before, None: nobody knows which.
    """

    room: str
    seq: Count
    members: Count
    epoch: Annotated[str, Meta(max_length=32)] = ""
    kept: Count | None = None
