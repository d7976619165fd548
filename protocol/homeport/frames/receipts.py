"""Frames of receipts and unread counts: types 80 to 95.

A watermark is the number of a message in its conversation: it stands for that message and for every
earlier one (SPEC.md section 14). 0 is no watermark.
"""

from __future__ import annotations

from msgspec import Struct

from homeport.frames.types import Count, Peer, Request


class Reach(Struct, array_like=True, frozen=True):
    """The answer to `Receipts`: how far a conversation has got, rows ``[user, delivered, read]``.

    ``reached`` is how many others there are, and how many of them got, and read, a message.
    """

    receipts: list[tuple[str, Count, Count]]
    reached: tuple[Count, Count, Count]


class UnreadCounts(Struct, array_like=True, frozen=True):
    """The answer to `Unread`: rows ``[peer, count]``; ``more`` where others are left out."""

    rows: list[tuple[str, Count]]
    more: bool


class Mark(Request[None], array_like=True, frozen=True, tag=80):
    """Client to server: what the user got, and read, in the conversation with ``peer``.

    Both are watermarks. They only rise: a lower one, and one repeated, changes nothing. To have
    read is to have got.
    """

    peer: Peer
    delivered: Count
    read: Count = 0


class Receipt(Struct, array_like=True, frozen=True, tag=81):
    """Server to client: ``user``'s watermarks in the conversation with ``peer`` have risen."""

    peer: str
    user: str
    delivered: Count
    read: Count


class Receipts(Request[Reach], array_like=True, frozen=True, tag=82):
    """Client to server: how far have the others got in the conversation with ``peer``?

    `Reach.reached` of the answer is about the message with the number ``seq``.
    """

    peer: Peer
    seq: Count = 0


class Unread(Request[UnreadCounts], array_like=True, frozen=True, tag=83):
    """Client to server: how much is unread?"""
