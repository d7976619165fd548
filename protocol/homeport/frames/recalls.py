"""Frames of recall and edit: types 99 and 100, and what they tell."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from homeport.frames.types import Count, Peer, Request

RECALL_KIND: Final = "homeport.recall"
EDIT_KIND: Final = "homeport.edit"


class Recall(Request[None], array_like=True, frozen=True, tag=99):
    """Client to server: take a message back from everyone.

    ``peer`` is the conversation as the client names it, ``seq`` the number of the message there.
    """

    peer: Peer
    seq: Count


class Edit(Request[None], array_like=True, frozen=True, tag=100):
    """Client to server: give a text message another ``body``; else as `Recall`."""

    peer: Peer
    seq: Count
    body: bytes


class RecallNotice(Struct, frozen=True):
    """The body of a message of kind ``homeport.recall``: a map.

    ``message`` is the id of the recalled message, ``seq`` its number in the conversation and
    ``sender`` its sender; ``by`` is the user who recalled it.
    """

    message: bytes
    sender: str
    seq: Count
    by: str


class EditNotice(Struct, frozen=True):
    """The body of a message of kind ``homeport.edit``: a map.

    ``message`` is the id of the message that was edited, ``seq`` its number in the conversation,
    ``sender`` its sender, and ``body`` what it says now. It was edited ``edits`` times, at last at
    ``edited``, in milliseconds since 1970.
    """

    message: bytes
    sender: str
    seq: Count
    edits: Count
    edited: Count
    body: bytes
