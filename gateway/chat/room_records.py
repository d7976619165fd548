"""Records of rooms: ``priority u8 | message id 16 bytes | sealed message``.

As in `records`, a message is encoded and sealed once, and opened once per gateway.
"""

from __future__ import annotations

from typing import Final

import structlog
from homeport import codec
from homeport.frames import Message, Priority

from gateway.apps.app import App
from gateway.security.sealing import Kind, Sealer, Tampered

_HEAD: Final = 17
_log = structlog.get_logger()


class RoomRecords:
    """Makes records and opens them, with one region's keys."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def make(self, app: App, room: str, message: Message, priority: int) -> bytes:
        """Encode and seal a message to `room`. The priority is in the clear, and not sealed."""
        sealed = self._sealer.seal(
            app,
            Kind.MESSAGE,
            f"r:{room}",
            message.id,
            codec.encode(message),
            message.time,
        )
        return b"%c%b%b" % (priority, message.id, sealed)

    def push(self, app: App, room: str, seq: int, record: bytes) -> bytes | None:
        """The push of number `seq`; None where it was tampered with.

        The reader then sees the hole.

        Raises:
            UnknownKeyVersion: this gateway lacks the key.
        """
        if len(record) < _HEAD or record[0] > Priority.HIGH:
            _log.error("room_record_malformed", app=self._sealer.names.app(app.id))
            return None
        try:
            message = self._sealer.open(
                app, Kind.MESSAGE, f"r:{room}", record[1:_HEAD], record[_HEAD:]
            )
        except Tampered:
            _log.error("room_record_tampered", app=self._sealer.names.app(app.id))
            return None
        return codec.roompush_bytes(seq, record[0], message)
