"""What the scripts of conversations and inboxes put into Redis, as values.

The layouts are those of lua/stored.lua (a stored message) and lua/refer.lua (a reference, a row).
Numbers of a conversation and of an inbox are dense, from 1; times are milliseconds since 1970.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from zlib import crc32

from msgspec import Struct

_HEAD: Final = struct.Struct(">BBHIII")
_ENDS: Final = struct.Struct(">HI")
_NOTICE_BYTES: Final = 4
_REF: Final = struct.Struct(">IHIBH")
_ROW: Final = struct.Struct(">IIIHIIHIIIIII")
_UNSURE: Final = struct.Struct(">III")
_BIRTH: Final = slice(42, 46)

COUNTS: Final = 1
"""The message counts as unread for all but its sender."""
HIDDEN: Final = 2
"""The history leaves the message out."""
_ENDS_FLAG: Final = 4
_OVER: Final = 8
_NOTICED: Final = 16

_HOLE: Final = 0xFFFFFF

CLOCKS_MS: Final = 10_000
"""More than times of messages of one conversation can be out of the order of their numbers."""


class StoredMessage(Struct, frozen=True):
    """One message of a conversation.

    `n` is how many messages up to this one count as unread. `change` is the number of its last
    change, 0 where it is as it was sent. `record` is sealed, and None where the message has ended.
    `expires_ms` is when its own time to live ends; None: when the tier's does.
    """

    seq: int
    time_ms: int
    n: int
    change: int
    flags: int
    expires_ms: int | None
    record: bytes | None

    def readable(self, youngest_ms: int, now_ms: int) -> bool:
        """Whether it is within its own time, and not sent before `youngest_ms`."""
        ended = self.expires_ms is not None and self.expires_ms <= now_ms
        return self.record is not None and self.time_ms >= youngest_ms and not ended

    def was_told(self, time_ms: int, *, exactly: bool) -> bool:
        """Whether it is the message that its number was given to at `time_ms`, or, where that is
        not known `exactly`, somewhat before.

        A conversation that came back older gives the same numbers to other messages, later.
        """
        if exactly:
            return self.time_ms == time_ms
        return self.time_ms <= time_ms + CLOCKS_MS


def parse_message(seq: int, value: bytes, start: int = 0) -> StoredMessage:
    """The message that is kept as `value`, from `start` on; it has number `seq`."""
    change, flags, high, low, n, _ = _HEAD.unpack_from(value, start)
    at, expires_ms = start + _HEAD.size, None
    if flags & _ENDS_FLAG:
        ends_high, ends_low = _ENDS.unpack_from(value, at)
        at, expires_ms = at + _ENDS.size, ends_high << 32 | ends_low
    if flags & _NOTICED:
        at += _NOTICE_BYTES
    record = None if flags & _OVER else value[at:]
    return StoredMessage(seq, high << 32 | low, n, change, flags, expires_ms, record)


def head_size(value: bytes) -> int:
    """How many bytes of a stored message that is new stand before its record."""
    return _HEAD.size + (_ENDS.size if value[1] & _ENDS_FLAG else 0)


def author_of(user: str) -> int:
    """How a stored message names its author: CRC-32 of the user's id. 0 of nobody's."""
    return crc32(user.encode())


def time_of(value: bytes) -> int:
    """When a stored message was accepted."""
    return int.from_bytes(value[2:8], "big")


def last_number(head: bytes | None) -> int:
    """The number of a conversation's last message, of the field ``h`` of its head."""
    return 0 if head is None else int.from_bytes(head[:4], "big")


def birth_of(head: bytes | None) -> bytes | None:
    """The name of a conversation's numbering, of the field ``h`` of its head."""
    return None if head is None else head[_BIRTH]


class Reference(NamedTuple):
    """Number `number` of an inbox: message `seq` of what its user calls `peer`.

    `time_ms` is the message's, or that of the first message after a fan-out that was cut off.
    `size` is in bytes, 0 where it is not known. One without a `peer` was dropped by a full inbox,
    and only its number and time are left. A `hole` is no message: what the user knows of the
    conversation above `seq` counts no more, and the messages from there to the next reference are
    only in the history.
    """

    number: int
    peer: str
    seq: int
    time_ms: int
    size: int
    hole: bool

    @property
    def is_message(self) -> bool:
        """Whether it refers to a message that may be kept."""
        return bool(self.peer) and not self.hole

    def means(self, message: StoredMessage) -> bool:
        """Whether `message`, which has its number now, is the one that it was made for."""
        return message.was_told(self.time_ms, exactly=self.size > 0)


def parse_references(first: int, raw: list[bytes]) -> list[Reference]:
    """References as the scripts return them; the first of them has number `first`."""
    found = []
    for number, value in enumerate(raw, first):
        seq, high, low, upper, lower = _REF.unpack_from(value)
        size = upper << 16 | lower
        peer, hole = value[_REF.size :].decode(), size == _HOLE
        found.append(Reference(number, peer, seq, high << 32 | low, 0 if hole else size, hole))
    return found


class Row(NamedTuple):
    """How one user stands to one conversation, which they call `peer`.

    `top` is the last number that the inbox refers to, `time_ms` that message's time. `unread_ms`
    is not later than the first unread message, 0 where there is none; `base` is the n after which
    unread messages are counted. `read` is the watermark. The user deleted what is up to `floor`,
    and is in the conversation after number `since` and up to `until`; 0: there is no end.

    `own` is how many messages above `base` the user is known to have written.
    `unsure` are two numbers: of the messages after the first and up to the second it is not known
    which the user wrote, so `unread` is too high by those. (0, 0): all is known.
    """

    peer: str
    epoch: int
    top: int
    time_ms: int
    unread: int
    unread_ms: int
    base: int
    own: int
    read: int
    floor: int
    since: int
    until: int
    unsure: tuple[int, int]

    def means(self, message: StoredMessage) -> bool:
        """Whether `message`, which has number `top` now, is the last that the user was told of."""
        return message.was_told(self.time_ms, exactly=self.until == 0)


def parse_row(peer: str, value: bytes) -> Row:
    """The row that is kept as `value`."""
    (epoch, top, n, high, low, base, first_high, first_low, read, floor, since, until, own) = (
        _ROW.unpack_from(value)
    )
    above, up_to, after = (
        _UNSURE.unpack_from(value, _ROW.size) if len(value) > _ROW.size else (0, 0, 0)
    )
    unread = max(0, n - base - own - after)
    first = first_high << 32 | first_low
    return Row(
        peer,
        epoch,
        top,
        high << 32 | low,
        unread,
        first if unread else 0,
        base,
        own + after,
        read,
        floor,
        since,
        until,
        (above, up_to),
    )


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Messages in reading order. Reading goes on from `next`; 0 at the end. `lost` numbers were not
    there although nothing had removed them: Redis has lost keys."""

    messages: list[StoredMessage]
    next: int
    lost: int


def parse_marks(users: Sequence[str], found: Sequence[bytes | None]) -> dict[str, tuple[int, int]]:
    """The (delivered, read) watermarks of `users`, of which `found` is what is kept."""
    marks = {}
    for user, value in zip(users, found, strict=True):
        if value is not None:
            delivered, _, read = value.partition(b" ")
            marks[user] = (int(delivered), int(read))
    return marks


class Raised(NamedTuple):
    """One person's watermarks as they are now, and whether this call raised them.

    `n` and `time_ms` are those of the message that is read up to, `epoch` is the conversation's.
    """

    epoch: int
    delivered: int
    read: int
    read_rose: bool
    rose: bool
    n: int
    time_ms: int


class Swept(NamedTuple):
    """What a sweep did: messages `removed`; `more` are due; `owed`: somebody may lack a
    reference."""

    removed: int
    more: bool
    owed: bool
