"""Frames of history: types 96 to 98."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from homeport.frames.messages import Message
from homeport.frames.types import Count, Peer, Request
from homeport.limits import MAX_HISTORY_PAGE


class Entry(Struct, array_like=True, frozen=True):
    """A message of a conversation's history, and its number there."""

    seq: Count
    message: Message


class HistoryPage(Struct, array_like=True, frozen=True):
    """The answer to `History`.

    ``next`` is the ``before`` or ``after`` of the following page; None after the last. ``lost`` is
    how many messages of this page's range the store has lost.
    """

    entries: tuple[Entry, ...]
    next: Count | None = None
    lost: Count = 0


class Transient(Struct, array_like=True, frozen=True, tag=96):
    """Server to client: a message that is in no inbox, only for sessions that are connected now."""

    message: Message


class History(Request[HistoryPage], array_like=True, frozen=True, tag=97):
    """Client to server: a page of the conversation with ``peer``, a user id or a group's ``g:…``.

    Newest first, from before the number ``before``; or oldest first, from after the number
    ``after``; not both.
    """

    peer: Peer
    limit: Annotated[int, Meta(ge=1, le=MAX_HISTORY_PAGE)] = 50
    before: Count | None = None
    after: Count | None = None


class Forget(Request[None], array_like=True, frozen=True, tag=98):
    """Client to server: hide history with ``peer`` up to number ``upto``, for this user only."""

    peer: Peer
    upto: Count
