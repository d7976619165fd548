"""Records: a message as the store and the pub/sub hold it, and how it becomes a push.

A record is ``message id 16 bytes | size u8, conversation | sealed message``. The sender's gateway
encodes and seals the message once; every inbox gets the same record; a receiving gateway opens it
and puts the push's head before it, without decoding it.
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
_OF_A_GROUP: Final = GROUP.encode()
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
        """Encode and seal a message; it is sealed under the day of its own `time`."""
        place = conversation.encode()
        sealed = self._sealer.seal(
            app,
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
        if record.startswith(_OF_A_GROUP, _ID_BYTES + 1):
            # Who is in it changes, so it may be in any inbox of the app.
            name = (app.id, record[:_ID_BYTES])
            known = self._opened.get(name, record)
            if known is not None:
                return known
            place, id, sealed = _parts(record)
            opened = self._sealer.open(app, Kind.MESSAGE, place, id, sealed)
            return self._opened.keep(name, record, opened)
        place, id, sealed = _parts(record)
        # The seal binds the record to its conversation; this binds the conversation to the inbox.
        kind, _, members = place.partition(":")
        if kind != "d" or user not in members.split(":"):
            raise Tampered
        return self._sealer.open(app, Kind.MESSAGE, place, id, sealed)

    def kept(self, app: App, conversation: str, record: bytes) -> bytes:
        """The encoded `Message` in a record that was found in a conversation's log.

        Raises:
            Tampered, UnknownKeyVersion: as `open`.
        """
        place, id, sealed = _parts(record)
        if place != conversation:
            raise Tampered
        return self._sealer.open(app, Kind.MESSAGE, place, id, sealed)

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

    def push(self, app: App, user: str, seq: int, ms: int, record: bytes) -> bytes:
        """The push of number `seq`, for the devices of `user`.

        A record that was tampered with can't be shown, and must not hold up those behind it: its
        place is said to be lost (G5), and the log has an error.

        Raises:
            UnknownKeyVersion: as `open`; with the right key file the message can still be read.
        """
        try:
            message = self.open(app, user, record)
        except Tampered:
            _log.error("record_tampered", app=self.names.app(app.id))
            return codec.encode(Lost(seq, seq))
        return codec.push_bytes(seq, ms, message)


def _parts(record: bytes) -> tuple[str, bytes, bytes]:
    """The conversation that a record says it is of, the message's id, and what is sealed. Raises
    `Tampered` where they can't be told apart."""
    if len(record) <= _ID_BYTES:
        raise Tampered
    end = _ID_BYTES + 1 + record[_ID_BYTES]
    try:
        return record[_ID_BYTES + 1 : end].decode(), record[:_ID_BYTES], record[end:]
    except UnicodeDecodeError:
        raise Tampered from None
