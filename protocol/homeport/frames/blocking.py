"""Frames of blocking: types 112 to 119."""

from __future__ import annotations

from msgspec import Struct

from homeport.frames.types import Request, UserId


class BlockList(Struct, array_like=True, frozen=True):
    """The answer to `Blocks`: user ids, sorted."""

    users: tuple[str, ...]


class Block(Request[None], array_like=True, frozen=True, tag=112):
    """Client to server: refuse what ``user`` sends to me."""

    user: UserId


class Unblock(Request[None], array_like=True, frozen=True, tag=113):
    """Client to server: let ``user`` send to me again."""

    user: UserId


class Blocks(Request[BlockList], array_like=True, frozen=True, tag=114):
    """Client to server: whom do I block?"""
