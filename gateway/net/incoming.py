"""What a client sends, cut into whole frames: those that `websockets` need not look at, and others.

Nearly all that clients send is one short binary message in one frame, masked and without
extensions. `websockets` takes some 4 us for each; to see that a frame is such a one, and to unmask
it, takes less than half of that. Everything else (control frames, fragments, text, long messages,
whatever is not well formed) goes to `websockets` unchanged and whole: so its rules hold, and it is
never in the middle of a frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

SHARE: Final = 16
"""Short frames, or as many times 2 KiB, that one connection hands on before the others are heard:
one read can hold thousands, and if all were worked off at once, everybody else would wait for one
client."""

_MESSAGE: Final = 0x82
"""First byte of a binary message in one frame without extensions (RFC 6455 section 5.2)."""
_MASKED: Final = 0x80
_FRAGMENTS: Final = frozenset({0x01, 0x02})
"""First bytes of a message's first frame of several; until its last has come, none is plain."""
_LAST_FRAGMENT: Final = 0x80

SHORT_BYTES: Final = 2048
"""The longest message that is unmasked here. `websockets` does that in C, so it is as fast with a
message of this length, and faster with a longer one."""


class TooLong(Exception):
    """A frame is longer than a message may be, or the opening handshake than that may be."""


MAX_UPGRADE_BYTES: Final = 16 * 1024
"""Largest opening handshake. `websockets` alone would take a megabyte from anyone."""

_END_OF_REQUEST: Final = b"\r\n\r\n"


class RequestCutter:
    """Finds the end of the opening handshake in what a client sends."""

    __slots__ = ("_size", "_tail")

    def __init__(self) -> None:
        self._size = 0
        self._tail = b""  # what may be the beginning of the end

    def cut(self, data: bytes) -> int | None:
        """How many bytes of `data` belong to the request that ends in it; None: it goes on.

        Raises:
            TooLong: it has more than `MAX_UPGRADE_BYTES`.
        """
        self._size += len(data)
        if self._size > MAX_UPGRADE_BYTES:
            raise TooLong
        seen = self._tail + data
        end = seen.find(_END_OF_REQUEST)
        if end < 0:
            self._tail = seen[1 - len(_END_OF_REQUEST) :]
            return None
        end += len(_END_OF_REQUEST) - len(self._tail)
        self._tail = b""
        return end


class FrameCutter:
    """Keeps what has come and is not cut yet. `limit`: bytes that a message may have."""

    __slots__ = ("_data", "_fragmented", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._data = b""
        self._fragmented = False

    def __len__(self) -> int:
        """Bytes that have come and are not cut yet."""
        return len(self._data)

    def add(self, data: bytes) -> None:
        """Keep `data`, which has come behind everything before it."""
        self._data = self._data + data if self._data else data

    def cut(self) -> Iterator[tuple[bool, bytes]]:
        """Yield the whole frames that have come. A caller may stop at any; the rest is kept.

        Each is ``(True, message)`` or, for `websockets`, ``(False, raw bytes)``. A frame that is
        not masked is passed on with all that follows it, to be refused.

        Raises:
            TooLong: a frame is longer than `limit`. It is dropped, with all that follows it.
        """
        data, at = self._data, 0
        size = len(data)
        try:
            while size - at >= 2:
                head, length = data[at], data[at + 1] - _MASKED
                start = at + 6
                if length == 126:
                    start = at + 8
                    length = int.from_bytes(data[at + 2 : at + 4], "big") if start <= size else 0
                elif length == 127:
                    start = at + 14
                    length = int.from_bytes(data[at + 2 : at + 10], "big") if start <= size else 0
                begin, end = at, start + length
                if not 0 <= length <= self.limit:
                    at = size
                    if length > 0:
                        raise TooLong
                    yield False, data[begin:]
                    return
                if end > size:
                    return
                at = end
                if head == _MESSAGE and length <= SHORT_BYTES and not self._fragmented:
                    yield True, _unmasked(data[start:end], data[start - 4 : start])
                else:
                    if head in _FRAGMENTS:
                        self._fragmented = True
                    elif head == _LAST_FRAGMENT:
                        self._fragmented = False
                    yield False, data[begin:end]
        finally:
            self._data = data[at:]


def _unmasked(payload: bytes, key: bytes) -> bytes:
    """The payload without its mask (RFC 6455 section 5.3), by one XOR of two long integers."""
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little")).to_bytes(
        size, "little"
    )
