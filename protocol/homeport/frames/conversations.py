"""The frame of a user's conversations: type 101."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from homeport.frames.messages import Message
from homeport.frames.types import Count, Peer, Request
from homeport.limits import MAX_CONVERSATION_PAGE

RowPlace = tuple[Count, Peer]
"""Where a row stands among the user's conversations, newest first: ``[time, peer]``."""


class ConversationRow(Struct, array_like=True, frozen=True):
    """One of a user's conversations.

    ``seq`` is the number of its last message for this user, and ``time`` that message's time in
    milliseconds since 1970. ``unread`` counts the messages that the user has not read, ``read`` is
    the user's watermark. ``until`` is 0, or, for somebody who went from the group, the last number
    that they may know. ``message`` is the last message as the history has it, or None where the
    history does not show it.
    """

    peer: str
    seq: Count
    time: Count
    unread: Count
    read: Count
    until: Count = 0
    message: Message | None = None


class ConversationPage(Struct, array_like=True, frozen=True):
    """The answer to `Conversations`. ``next`` is the ``after`` of the following page, or None."""

    conversations: tuple[ConversationRow, ...]
    next: RowPlace | None = None


class Conversations(Request[ConversationPage], array_like=True, frozen=True, tag=101):
    """Client to server: a page of my conversations, newest first, from those after ``after``."""

    limit: Annotated[int, Meta(ge=1, le=MAX_CONVERSATION_PAGE)] = 50
    after: RowPlace | None = None
