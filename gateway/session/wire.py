"""The connection under a session, as a session sees it."""

from __future__ import annotations

from typing import Final, Protocol

from homeport.codes import CloseCode
from homeport.frames import Priority

from gateway.hub.fanout import Bundle

MAX_WAITING: Final = 1024 * 1024
"""Bytes waiting for a client past which it is closed: it asked for more than it reads."""

ROOM_WAITING: Final = {
    Priority.LOW: 0,
    Priority.NORMAL: 128 * 1024,
    Priority.HIGH: 256 * 1024,
}
"""Bytes waiting for a client that has fallen behind past which room messages of a priority are
dropped for it."""


class Wire(Protocol):
    """Carries payloads to one client."""

    @property
    def congested(self) -> bool:
        """True while the client does not read fast enough for what was already sent."""

    @property
    def waiting(self) -> int:
        """Bytes that were sent and that the client has not made room for yet."""

    def send(self, payload: bytes) -> None:
        """Frame and send one payload, with everything else of this turn of the loop."""

    def write(self, payload: bytes | Bundle) -> None:
        """Frame and send what is joined already at once, behind everything that was sent before."""

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Send what was sent before, then a close frame, then end the connection."""

    def authenticated(self) -> None:
        """The client is known: messages may be as large as v1 allows."""

    def throttle(self, throttled: bool) -> None:
        """Stop, or go on, reading from the client."""
