"""Requests other than a send: what a caller is, and what answers it.

Each module of this package that answers requests has a class with a ``handlers`` method; the worker
puts them into one table, and a session looks a frame's type up there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from gateway.apps.app import App


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: one live session."""

    app: App
    user: str
    device: str
    session: str


Handler = Callable[[Caller, Any], Awaitable[Struct | None]]
"""Does what a frame asks, and returns the answer that `protocol.frames.ANSWERS` names for it.

Raises `Refused`, or `OperationFailed`, to say no.
"""

Handlers = dict[type, Handler]
"""By the type of the frame."""
