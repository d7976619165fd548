"""Frames of recall and edit: types 99 and 100, and what they tell."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from homeport.frames.messages import MessageId
from homeport.frames.types import Count, Peer, Request

RECALL_KIND: Final = "homeport.recall"
EDIT_KIND: Final = "homeport.edit"


class Recall(Request[None], array_like=True, frozen=True, tag=99):
    """Client to server: take a message back from everyone.

    ``peer`` is the conversation as the client names it, ``message`` the id of the message, ``time``
    its time in milliseconds since 1970, by which the server finds it.
    """

    peer: Peer
    message: MessageId
    time: Count


class Edit(Request[None], array_like=True, frozen=True, tag=100):
    """Client to server: give a text message another ``body``; else as `Recall`."""

    peer: Peer
    message: MessageId
    time: Count
    body: bytes


class RecallNotice(Struct, frozen=True):
    """The body of a message of kind ``homeport.recall``: a map.

    ``message``, ``sender`` and ``time`` are those of the recalled message; ``by`` is the user who
    recalled it.
    """

    message: bytes
    sender: str
    time: Count
    by: str


class EditNotice(Struct, frozen=True):
    """The body of a message of kind ``homeport.edit``: a map.

    ``message``, ``sender`` and ``time`` are those of the message that was edited, and ``body`` is
    what it says now. It was edited ``edits`` times, at last at ``edited``, in milliseconds since
    1970.
    """

    message: bytes
    sender: str
    time: Count
    edits: Count
    edited: Count
    body: bytes
