"""Frames of messages and the inbox: types 16 to 31."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from homeport.frames.types import Count, Peer, Request, Seq, UserId
from homeport.limits import MAX_ID_CHARS, MAX_KIND_CHARS, MAX_MENTIONS, MAX_TTL_S

MessageId = Annotated[bytes, Meta(min_length=16, max_length=16)]
Mentions = Annotated[tuple[UserId, ...], Meta(max_length=MAX_MENTIONS)]


class Options(Struct, frozen=True, omit_defaults=True):
    """What a sender asks for with a message, a map.

    ``mentions`` are users it speaks of, ``reply`` the number, in the conversation, of the message
    that it answers. ``history`` false keeps it out of the conversation's history, ``online_only``
    out of every inbox too. ``ttl`` is its own time to live, in seconds; the tier's time bounds it.
    """

    mentions: Mentions = ()
    reply: Seq | None = None
    history: bool = True
    online_only: bool = False
    ttl: Annotated[int, Meta(ge=1, le=MAX_TTL_S)] | None = None


class Accepted(Struct, array_like=True, frozen=True):
    """The answer to a send: the message's id, and when it was accepted, in ms since 1970.

    ``seq`` is its number in the conversation; 0 where it has none (`Options.online_only`, a room).
    """

    id: MessageId
    time: Count
    seq: Count = 0


class Send(Request[Accepted], array_like=True, frozen=True, tag=16):
    """Client to server: deliver ``body`` to ``to``.

    ``client_id`` names this message among the sender's own; repeating the send with the same one
    within the dedupe window adds nothing. ``kind`` says what the body is (``text`` is UTF-8); the
    gateway reads neither.
    """

    client_id: Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
    to: Peer
    kind: Annotated[str, Meta(min_length=1, max_length=MAX_KIND_CHARS)]
    body: bytes
    options: Options | None = None


class Extra(Struct, frozen=True, omit_defaults=True):
    """What a message carries beside its body: a map, made from the `Options` of its send.

    ``expires`` is when its own time to live ends, in milliseconds since 1970. ``edits`` says how
    often the sender edited it, ``edited`` when they last did, in milliseconds since 1970.
    """

    mentions: tuple[str, ...] = ()
    reply: Seq | None = None
    expires: Count | None = None
    edits: Count = 0
    edited: Count | None = None


class Message(Struct, array_like=True, frozen=True):
    """The inner array of a push: what the sender's gateway encoded, once, and everyone reads.

    ``id`` is 16 bytes (`homeport.ids.message_id`), ``time`` is when the gateway accepted the
    message, in milliseconds since 1970.
    """

    id: bytes
    sender: str
    to: str
    time: Count
    kind: str
    body: bytes
    extra: Extra | None = None


class Push(Struct, array_like=True, frozen=True, tag=17):
    """Server to client: number ``number`` of the user's inbox, which is ``seq`` of a conversation.

    ``ms`` is the time that a cursor carries beside ``number``, in milliseconds since 1970.
    """

    number: Count
    ms: Count
    seq: Count
    message: Message


class Ack(Struct, array_like=True, frozen=True, tag=18):
    """Client to server: this device has dealt with all up to ``number``. Never answered ok."""

    number: Count


class Lost(Struct, array_like=True, frozen=True, tag=19):
    """Server to client: numbers ``first`` to ``last`` are gone and will not be pushed.

    The next push is number ``last + 1``.
    """

    first: Count
    last: Count


class Reset(Struct, array_like=True, frozen=True, tag=20):
    """Server to client: what is known of the conversation with ``peer`` above ``seq`` is void.

    Numbers above ``seq`` mean other messages now, or the messages up to the next push are in the
    history alone: read it from after ``seq``. It takes the inbox' number ``number`` and is
    acknowledged as a `Push` is.
    """

    number: Count
    ms: Count
    peer: str
    seq: Count
