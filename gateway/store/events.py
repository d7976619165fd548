"""What travels on a user's or a room's pub/sub channel.

One byte tells the kind, the rest follows it; the scripts in ``lua/`` build the same bytes. Nothing
that a user wrote is in the clear here: a message's record is sealed.
"""

from __future__ import annotations

import struct
from typing import Final

from msgspec import Struct

from gateway.store.stored import StoredMessage, parse_message

_STORED_HEAD: Final = struct.Struct(">BQIB")
_REVOKED: Final = struct.Struct(">BQ")
_BLOCK_CHANGED_HEAD: Final = struct.Struct(">BQB")
_GROUP_BYTES: Final = 16
_ROOM_HEAD: Final = struct.Struct(">BQB")
SESSION_ID_CHARS: Final = 16


class Stored(Struct, frozen=True):
    """Number `number` of the user's inbox is `message` now, which has number `seq` in the
    conversation that the user calls `peer`. A repeat may say so again, and long after."""

    number: int
    seq: int
    peer: str
    message: StoredMessage


class Revoked(Struct, frozen=True):
    """Tokens of this user issued before `before_ms` are void."""

    before_ms: int


class TokenVoided(Struct, frozen=True):
    """The token of this user that `digest` names is void."""

    digest: str


class Kicked(Struct, frozen=True):
    """End the sessions of `device`, or of every device when it is empty."""

    device: str


class Attached(Struct, frozen=True):
    """`device` is now session `session`; any other session of it is replaced."""

    session: str
    device: str


class Relayed(Struct, frozen=True):
    """A frame for sessions that are connected now; it is stored nowhere.

    `record` is sealed for the channel, or, where `group` is a group's id, for that group.
    """

    record: bytes
    group: str = ""


class Displaced(Struct, frozen=True):
    """Session `session` made room for a newer device."""

    session: str


class BlockChanged(Struct, frozen=True):
    """`by` blocks this user now, or no longer: change number `change`."""

    change: int
    blocked: bool
    by: str


class RoomMessage(Struct, frozen=True):
    """Number `seq` of a room's numbering `epoch`. `record` begins with a byte, the priority; the
    rest is sealed."""

    seq: int
    epoch: bytes
    record: bytes


Told = Revoked | TokenVoided | Kicked | Attached | Displaced | BlockChanged
"""Events that sessions get as they are; the others become frames."""

Event = Stored | Relayed | RoomMessage | Told


def revoked(before_ms: int) -> bytes:
    """The bytes of a `Revoked`."""
    return _REVOKED.pack(2, before_ms)


def token_voided(digest: str) -> bytes:
    """The bytes of a `TokenVoided`."""
    return b"\x07" + digest.encode()


def kicked(device: str) -> bytes:
    """The bytes of a `Kicked`."""
    return b"\x03" + device.encode()


def relayed(record: bytes) -> bytes:
    """The bytes of a `Relayed`."""
    return b"\x05" + record


def relayed_to_group(group_id: str, record: bytes) -> bytes:
    """The bytes of a `Relayed` that is the same on every member's channel."""
    return b"\x1e" + bytes.fromhex(group_id) + record


def parse(payload: bytes) -> Event | None:
    """Read an event; None for a kind that a newer gateway of the region may have sent."""
    kind = payload[0] if payload else 0
    if kind == 1:
        _, number, seq, size = _STORED_HEAD.unpack_from(payload)
        at = _STORED_HEAD.size + size
        peer = payload[_STORED_HEAD.size : at].decode()
        return Stored(number, seq, peer, parse_message(seq, payload, at))
    if kind == 2:
        return Revoked(_REVOKED.unpack(payload)[1])
    if kind == 3:
        return Kicked(payload[1:].decode())
    if kind == 4:
        text = payload[1:].decode()
        return Attached(text[:SESSION_ID_CHARS], text[SESSION_ID_CHARS:])
    if kind == 5:
        return Relayed(payload[1:])
    if kind == 6:
        _, seq, size = _ROOM_HEAD.unpack_from(payload)
        at = _ROOM_HEAD.size + size
        return RoomMessage(seq, payload[_ROOM_HEAD.size : at], payload[at:])
    if kind == 7:
        return TokenVoided(payload[1:].decode())
    if kind == 20:
        return Displaced(payload[1:].decode())
    if kind == 21:
        _, change, blocked = _BLOCK_CHANGED_HEAD.unpack_from(payload)
        return BlockChanged(change, bool(blocked), payload[_BLOCK_CHANGED_HEAD.size :].decode())
    if kind == 30:
        at = 1 + _GROUP_BYTES
        return Relayed(payload[at:], payload[1:at].hex())
    return None
