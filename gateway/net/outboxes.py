"""What waits in memory for all clients that do not keep up, and its bound (G9).

One client's is bounded by itself: nothing more is pushed past `WRITE_HIGH_WATER`. This is for
thousands of them at once. Only those past their own mark are summed, once a second and only while
there are any, so whoever keeps up costs nothing. Durable messages of a closed client wait in its
inbox.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import structlog

from gateway.session.session import Session
from gateway.wheel import Wheel
from protocol import codes

LOOK_S: Final = 1.0

_log = structlog.get_logger("net")


class Congested(Protocol):
    """A connection whose client does not keep up."""

    @property
    def waiting(self) -> int:
        """Bytes that wait for the client."""

    @property
    def session(self) -> Session | None:
        """Whose they are."""

    @property
    def closing(self) -> bool:
        """True once it was told to end."""

    def abort(self) -> None:
        """End it at once, with what waits."""


class Outboxes:
    """The congested connections of a process; they hold `limit` bytes together at the most."""

    def __init__(self, limit: int, wheel: Wheel, steady: Callable[[], float]) -> None:
        self.limit = limit
        self._wheel = wheel
        self._steady = steady
        self._congested: dict[Congested, None] = {}

    def add(self, connection: Congested) -> None:
        """It fell behind."""
        if not self._congested:
            self._wheel.schedule(self, self._steady() + LOOK_S)
        self._congested[connection] = None

    def discard(self, connection: Congested) -> None:
        """It caught up, or is gone."""
        self._congested.pop(connection, None)

    def visit(self, now: float) -> float | None:
        """Close those with the most, until the rest is within the limit.

        One that is closed reads what was sent before, and the close frame, if it reads at all. It
        has until the next look; then it ends if that is still needed.
        """
        rows = sorted(((c.waiting, c) for c in self._congested), key=lambda row: -row[0])
        total = sum(waiting for waiting, _ in rows)
        ended = 0
        for waiting, connection in rows:
            if total <= self.limit:
                break
            if connection.closing or connection.session is None:
                connection.abort()
                total -= waiting
                ended += 1
        for waiting, connection in rows:
            if total <= self.limit:
                break
            if not connection.closing and connection.session is not None:
                connection.session.close(codes.SLOW_CONSUMER)
                total -= waiting
                ended += 1
        if ended:
            _log.warning(
                "outboxes_over_limit",
                limit=self.limit,
                closed=ended,
                advice="many clients do not keep up; add workers, or raise max_outbox_bytes",
            )
        return now + LOOK_S if self._congested else None
