"""Frames of signals: types 64 to 71."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from homeport.frames.types import Peer
from homeport.limits import MAX_KIND_CHARS


class Signal(Struct, array_like=True, frozen=True, tag=64):
    """Client to server: a signal for connected sessions. No ok follows; an error has id 0."""

    to: Peer
    kind: Annotated[str, Meta(min_length=1, max_length=MAX_KIND_CHARS)]
    body: bytes


class Signaled(Struct, array_like=True, frozen=True, tag=65):
    """Server to client: ``sender`` signals to ``to``, which is this user or a room."""

    sender: str
    to: str
    kind: str
    body: bytes
