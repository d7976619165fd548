"""The framers of this package's wires: functions that put a header before a payload's bytes."""

from __future__ import annotations

import struct
from typing import Final

_HEADER: Final = struct.Struct(">BB").pack
_HEADER_16: Final = struct.Struct(">HH").pack
_HEADER_64: Final = struct.Struct(">HQ").pack

_FINAL_BINARY: Final = 0x82
"""The bit FIN and the opcode 2 (RFC 6455 section 5.2)."""

_FINAL_BINARY_16: Final = 0x827E
"""The same, and that two bytes of length follow."""

_FINAL_BINARY_64: Final = 0x827F
"""The same with eight."""


def websocket(payload: bytes) -> bytes:
    """`payload` as one unmasked, final, binary WebSocket frame (RFC 6455 section 5.2), with its
    length in the shortest of the three forms."""
    size = len(payload)
    if size < 126:
        return _HEADER(_FINAL_BINARY, size) + payload
    if size < 65536:
        return _HEADER_16(_FINAL_BINARY_16, size) + payload
    return _HEADER_64(_FINAL_BINARY_64, size) + payload
