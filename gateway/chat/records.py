"""Records: a message as the store and the pub/sub hold it, and how it becomes a push.

A record is ``message id 16 bytes | sealed message``. The sender's gateway encodes and seals the
message once, and its conversation holds the record; a receiving gateway opens it and puts the
push's head before it, without decoding it. The record does not name the conversation, but the seal
binds it to that one: it opens only where it was put.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

import structlog
from homeport import codec
from homeport.frames import Lost, Message, ServerFrame
from homeport.ids import GROUP

from gateway.apps.app import App
from gateway.security.sealing import Kind, Sealer, Tampered

_ID_BYTES: Final = 16
SHARED: Final = 64
"""Messages to groups whose opened form is kept, for the other members who get them, and signals to
groups whose payload is."""

_V = TypeVar("_V")

_log = structlog.get_logger()


class _Recent(Generic[_V]):
    """What was made of the last `SHARED` records that many users here get within a moment."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[str, bytes], tuple[bytes, _V]] = OrderedDict()

    def get(self, name: tuple[str, bytes], record: bytes) -> _V | None:
        """What was made of `record`; None where it is not known, or another has the name."""
        known = self._made.get(name)
        return known[1] if known is not None and known[0] == record else None

    def keep(self, name: tuple[str, bytes], record: bytes, made: _V) -> _V:
        """Remember, and return, what was made of `record`."""
        while len(self._made) >= SHARED:
            self._made.popitem(last=False)
        self._made[name] = (record, made)
        return made


class Records:
    """Makes records and opens them, with one region's keys. `names` are for the log."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer
        self.names = sealer.names
        self._opened = _Recent[bytes]()
        self._relayed = _Recent[bytes]()

    def make(self, app: App, message: Message, conversation: str) -> bytes:
        """Encode and seal a message of a conversation, under the hour of its own `time`."""
        return message.id + self._sealer.seal(
            app,
            Kind.MESSAGE,
            conversation,
            message.id,
            codec.encode(message),
            message.time,
        )

    def open(self, app: App, conversation: str, record: bytes) -> bytes:
        """The encoded `Message` in a record of `conversation`.

        A group's is opened once for all members here who get it within a moment.

        Raises:
            Tampered: changed, or moved here from another conversation, app or region.
            UnknownKeyVersion: this gateway lacks the key.
        """
        id = record[:_ID_BYTES]
        if not conversation.startswith(GROUP):
            return self._open(app, conversation, id, record)
        name = (app.id, conversation.encode() + id)
        known = self._opened.get(name, record)
        if known is not None:
            return known
        return self._opened.keep(name, record, self._open(app, conversation, id, record))

    def _open(self, app: App, conversation: str, id: bytes, record: bytes) -> bytes:
        return self._sealer.open(app, Kind.MESSAGE, conversation, id, record[_ID_BYTES:])

    def readable(self, app: App, conversation: str, record: bytes) -> bytes | None:
        """As `open`; but None where it was tampered with, which the log then says."""
        try:
            return self.open(app, conversation, record)
        except Tampered:
            _log.error("record_tampered", app=self.names.app(app.id))
            return None

    def push(
        self, app: App, conversation: str, record: bytes, *, number: int, ms: int, seq: int
    ) -> bytes:
        """The push of a message of `conversation`: it is number `number` of the inbox, referred to
        at `ms`, and number `seq` of the conversation.

        A record that was tampered with can't be shown, and must not hold up those behind it: its
        number is said to be lost (G5), and the log has an error.

        Raises:
            UnknownKeyVersion: as `open`; with the right key file the message can still be read.
        """
        message = self.readable(app, conversation, record)
        if message is None:
            return codec.encode(Lost(number, number))
        return codec.push_bytes(number, ms, seq, message)

    def seal_group_name(self, app: App, group_id: str, name: str, now_ms: int) -> bytes:
        """A group's name as the store holds it."""
        return self._sealer.seal(app, Kind.GROUP, GROUP + group_id, b"", name.encode(), now_ms)

    def group_name(self, app: App, group_id: str, sealed: bytes) -> str:
        """What `seal_group_name` sealed.

        Raises:
            Tampered: changed, or moved here from another group, app or region.
            UnknownKeyVersion: this gateway lacks the key.
        """
        return self._sealer.open(app, Kind.GROUP, GROUP + group_id, b"", sealed).decode()

    def relay(self, app: App, place: str, frame: ServerFrame, now_ms: int) -> bytes:
        """Seal a frame for the subscribers of the channel `place`, or the members of ``g:<id>``.

        It opens there only.
        """
        return self._sealer.seal(app, Kind.RELAY, place, b"", codec.encode(frame), now_ms)

    def relayed(self, app: App, channel: str, record: bytes, group_id: str = "") -> bytes | None:
        """What `relay` sealed; None where it was tampered with.

        What it sealed for a group is opened once, and is one payload, for all members here.

        Raises:
            UnknownKeyVersion: as `open`.
        """
        if not group_id:
            return self._open_relay(app, channel, record)
        place = GROUP + group_id
        name = (app.id, place.encode() + record[-_ID_BYTES:])
        known = self._relayed.get(name, record)
        if known is not None:
            return known
        payload = self._open_relay(app, place, record)
        return None if payload is None else self._relayed.keep(name, record, payload)

    def _open_relay(self, app: App, place: str, record: bytes) -> bytes | None:
        try:
            return self._sealer.open(app, Kind.RELAY, place, b"", record)
        except Tampered:
            _log.error("relay_tampered", app=self.names.app(app.id))
            return None
