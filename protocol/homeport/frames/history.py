"""Frames of history: types 96 to 98."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from homeport.frames.messages import Message
from homeport.frames.types import Count, Peer, Request
from homeport.limits import MAX_HISTORY_PAGE


class Place(Struct, array_like=True, frozen=True):
    """Where a message stands in its conversation: ``[ms, seq]``; later ones are greater.

    ``ms`` is when it was kept, in milliseconds since 1970, ``seq`` its number in the conversation.
    """

    ms: Count
    seq: Count


class Entry(Struct, array_like=True, frozen=True):
    """A message of a conversation's history, and its place there."""

    place: Place
    message: Message


class HistoryPage(Struct, array_like=True, frozen=True):
    """The answer to `History`. ``next`` is where the following page begins; None after the last."""

    entries: tuple[Entry, ...]
    next: Place | None = None


class Transient(Struct, array_like=True, frozen=True, tag=96):
    """Server to client: a message that is in no inbox, only for sessions that are connected now."""

    message: Message


class History(Request[HistoryPage], array_like=True, frozen=True, tag=97):
    """Client to server: a page of the conversation with ``peer``, a user id or a group's ``g:…``.

    Newest first, from before ``before``; or oldest first, from after ``after``; not both.
    """

    peer: Peer
    limit: Annotated[int, Meta(ge=1, le=MAX_HISTORY_PAGE)] = 50
    before: Place | None = None
    after: Place | None = None


class Forget(Request[None], array_like=True, frozen=True, tag=98):
    """Client to server: hide history with ``peer`` up to ``upto``, for this user only."""

    peer: Peer
    upto: Place
