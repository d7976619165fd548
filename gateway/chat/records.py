"""Records: a message as the store and the pub/sub hold it, and how it becomes a push.

A record is ``message id 16 bytes | size u8, conversation | sealed message``. The sender's gateway
encodes and seals the message once; every inbox gets the same record; a receiving gateway opens it
and puts the push's head before it, without decoding it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import structlog

from gateway.apps.app import App
from gateway.security.sealing import Kind, Sealer, Tampered
from protocol import codec
from protocol.frames import Lost, Message, ServerFrame
from protocol.ids import GROUP

_ID_BYTES: Final = 16
SHARED: Final = 64
"""Messages and signals to groups whose opened form is kept, for the other members who get them."""

_log = structlog.get_logger("chat")


class Records:
    """Makes records and opens them, with one region's keys. `names` are for the log."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self.names = sealer.names
        self._shared: OrderedDict[tuple[str, bytes], tuple[bytes, bytes]] = OrderedDict()

    def make(self, app: App, message: Message, conversation: str) -> bytes:
        """Encode and seal a message; it is sealed under the day of its own `time`."""
        place = conversation.encode()
        sealed = self._sealer.seal(
            app.id,
            app.salt,
            Kind.MESSAGE,
            conversation,
            message.id,
            codec.encode(message),
            message.time,
        )
        return b"%b%c%b%b" % (message.id, len(place), place, sealed)

    def open(self, app: App, user: str, record: bytes) -> bytes:
        """The encoded `Message` in a record that was found in `user`'s inbox.

        Raises:
            Tampered: changed, or moved here from another inbox, app or region.
            UnknownKeyVersion: this gateway lacks the key.
        """
        name = (app.id, record[:_ID_BYTES])
        known = self._shared.get(name)
        if known is not None and known[0] == record:
            return known[1]
        conversation = _conversation(record)
        # The seal binds the record to its conversation; this binds the conversation to the inbox.
        kind, _, members = conversation.partition(":")
        if kind == "g":  # who is in it changes, so it may be in any inbox of the app
            return self._share(name, record, self._open(app, conversation, record))
        if kind != "d" or user not in members.split(":"):
            raise Tampered
        return self._open(app, conversation, record)

    def kept(self, app: App, conversation: str, record: bytes) -> bytes:
        """The encoded `Message` in a record that was found in a conversation's log.

        Raises:
            Tampered, UnknownKeyVersion: as `open`.
        """
        if _conversation(record) != conversation:
            raise Tampered
        return self._open(app, conversation, record)

    def _open(self, app: App, conversation: str, record: bytes) -> bytes:
        return self._sealer.open(
            app.id,
            app.salt,
            Kind.MESSAGE,
            conversation,
            record[:_ID_BYTES],
            record[_ID_BYTES + 1 + record[_ID_BYTES] :],
        )

    def _share(self, name: tuple[str, bytes], record: bytes, opened: bytes) -> bytes:
        """Keep what many users here get within a moment, so that it is opened once for them."""
        while len(self._shared) >= SHARED:
            self._shared.popitem(last=False)
        self._shared[name] = (record, opened)
        return opened

    def seal_group_name(self, app: App, group_id: str, name: str, now_ms: int) -> bytes:
        """A group's name as the store holds it."""
        return self._sealer.seal(
            app.id, app.salt, Kind.GROUP, GROUP + group_id, b"", name.encode(), now_ms
        )

    def group_name(self, app: App, group_id: str, sealed: bytes) -> str:
        """What `seal_group_name` sealed.

        Raises:
            Tampered, UnknownKeyVersion.
        """
        return self._sealer.open(
            app.id, app.salt, Kind.GROUP, GROUP + group_id, b"", sealed
        ).decode()

    def relay(self, app: App, place: str, frame: ServerFrame, now_ms: int) -> bytes:
        """Seal a frame for whoever hears the channel `place`, or is in the group ``g:<id>``.

        It opens there only.
        """
        return self._sealer.seal(
            app.id, app.salt, Kind.RELAY, place, b"", codec.encode(frame), now_ms
        )

    def relayed(self, app: App, channel: str, record: bytes, group_id: str = "") -> bytes | None:
        """What `relay` sealed, as one WebSocket frame; None where it was tampered with.

        What it sealed for a group is opened once for all members here.

        Raises:
            UnknownKeyVersion: as `open`.
        """
        place = GROUP + group_id if group_id else channel

        name = (app.id, place.encode() + record[-_ID_BYTES:])
        known = self._shared.get(name) if group_id else None
        if known is not None and known[0] == record:
            return codec.websocket_binary(known[1])
        try:
            frame = self._sealer.open(app.id, app.salt, Kind.RELAY, place, b"", record)
        except Tampered:
            _log.error("relay_tampered", app=self.names.app(app.id))
            return None
        if group_id:
            self._share(name, record, frame)
        return codec.websocket_binary(frame)

    def frame(self, app: App, user: str, seq: int, ms: int, record: bytes) -> bytes:
        """What goes to a socket for number `seq`: a push, as one WebSocket frame.

        A record that was tampered with can't be shown, and must not hold up those behind it: its
        place is said to be lost (G5), and the log has an error.

        Raises:
            UnknownKeyVersion: as `open`; with the right key file the message can still be read.
        """
        try:
            message = self.open(app, user, record)
        except Tampered:
            _log.error("record_tampered", app=self.names.app(app.id))
            return codec.websocket_binary(codec.encode(Lost(seq, seq)))
        return codec.push_frame(seq, ms, message)


def _conversation(record: bytes) -> str:
    """What conversation a record says it is of. Raises `Tampered` where that can't be read."""
    if len(record) <= _ID_BYTES:
        raise Tampered
    try:
        return record[_ID_BYTES + 1 : _ID_BYTES + 1 + record[_ID_BYTES]].decode()
    except UnicodeDecodeError:
        raise Tampered from None
