"""Frames of blocking: types 112 to 119."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from protocol.frames.types import RequestId
from protocol.limits import MAX_ID_CHARS

_User = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]


class Block(Struct, array_like=True, frozen=True, tag=112):
    """Client to server: refuse what ``user`` sends to me. The answer is `Ok`, or `Error`."""

    id: RequestId
    user: _User


class Unblock(Struct, array_like=True, frozen=True, tag=113):
    """Client to server: let ``user`` send to me again. The answer is `Ok`, or `Error`."""

    id: RequestId
    user: _User


class Blocks(Struct, array_like=True, frozen=True, tag=114):
    """Client to server: whom do I block? The answer is `Ok` with ``blocks``, or `Error`."""

    id: RequestId
