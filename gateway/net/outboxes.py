"""The bound on what waits in memory for all slow clients together (G9).

One client has a bound of its own: nothing more is pushed past `WRITE_HIGH_WATER`. This module is
for thousands of slow clients at once. It sums only the connections past that mark, once per second
and only while there are any, so clients that keep up cost nothing. Durable messages of a closed
client wait in its inbox.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import structlog
from homeport import codes

from gateway.session.session import Session
from gateway.wheel import Wheel

LOOK_S: Final = 1.0

_log = structlog.get_logger()


class Congested(Protocol):
    """A connection whose client does not keep up."""

    @property
    def waiting(self) -> int:
        """Bytes that wait for the client."""

    @property
    def session(self) -> Session | None:
        """The session of the connection; None before the upgrade."""

    @property
    def closing(self) -> bool:
        """True once a close frame was sent or received."""

    def abort(self) -> None:
        """End the connection at once, and drop the bytes that wait."""


class Outboxes:
    """The congested connections of a process, which together hold at most `limit` bytes."""

    def __init__(self, limit: int, wheel: Wheel, steady: Callable[[], float]) -> None:
        self.limit = limit
        self._wheel = wheel
        self._steady = steady
        self._congested: dict[Congested, None] = {}

    def add(self, connection: Congested) -> None:
        """Watch `connection`, whose client has stopped keeping up."""
        if not self._congested:
            self._wheel.schedule(self, self._steady() + LOOK_S)
        self._congested[connection] = None

    def discard(self, connection: Congested) -> None:
        """Stop watching `connection`, which caught up or ended; unknown ones are ignored."""
        self._congested.pop(connection, None)

    def visit(self, now: float) -> float | None:
        """Close the connections with the most waiting bytes, until the others are within the limit.

        A closed client still gets what was sent before, and the close frame, if it reads at all. A
        connection that is still needed to get below the limit at the next visit is aborted then.

        Args:
            now: steady seconds, as the wheel counts them.

        Returns:
            The steady second of the next visit; None while no connection is congested.
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
