"""What leaves in this turn of the loop: the connections that have something to write."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

_log = structlog.get_logger()


class Flushable(Protocol):
    """A connection that collects what it has to write."""

    def flush(self) -> None:
        """Write what was collected."""

    def abort(self) -> None:
        """End the connection at once."""


class Outbound:
    """Flushes, at the end of a turn of the loop, the connections that collected data in that turn.

    One callback of the loop does it for all of them. One callback per connection would be a tenth
    of what a delivery in a room costs.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Flushable] = []

    def add(self, connection: Flushable) -> None:
        """Flush `connection` at the end of this turn; call it once per turn at most."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(connection)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            try:
                connection.flush()
            except Exception as error:  # noqa: BLE001 - the others' turn comes whatever it was
                _log.error("flush_failed", exc_info=error)
                connection.abort()
