"""Cursors: where a list goes on, sealed, so that nobody can make one or look into one.

A cursor opens for the app and the list that it was made for, and nowhere else.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import msgspec

from gateway.api.problems import Problem
from gateway.apps.app import App
from gateway.security.sealing import Kind, Sealer, SealError


class Cursors:
    """Makes cursors and opens them."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def make(self, app: App, of: str, place: Any, now_ms: int) -> str:
        """A cursor of the list `of`. `place` is anything that MessagePack can hold."""
        sealed = self._sealer.seal(app, Kind.CURSOR, of, b"", msgspec.msgpack.encode(place), now_ms)
        return urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, app: App, of: str, cursor: str) -> Any:
        """The place that `make` was given.

        Raises:
            Problem: invalid_field, it is no cursor of this list.
        """
        try:
            sealed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            return msgspec.msgpack.decode(self._sealer.open(app, Kind.CURSOR, of, b"", sealed))
        except (ValueError, SealError):
            error = {"pointer": "/query/cursor", "code": "cursor", "detail": "None of this list."}
            raise Problem("invalid_field", members={"errors": [error]}) from None
