"""WebSocket frames around payloads, each made once for all connections that get the payload."""

from __future__ import annotations

import struct
from typing import Final

from gateway.hub.fanout import Bundle

_HEADER: Final = struct.Struct(">BB").pack
_HEADER_16: Final = struct.Struct(">HH").pack
_HEADER_64: Final = struct.Struct(">HQ").pack

_FINAL_BINARY: Final = 0x82
"""The bit FIN and the opcode 2 (RFC 6455 section 5.2)."""

_FINAL_BINARY_16: Final = 0x827E
"""The same, and that two bytes of length follow."""

_FINAL_BINARY_64: Final = 0x827F
"""The same with eight."""


def _header(size: int) -> bytes:
    if size < 126:
        return _HEADER(_FINAL_BINARY, size)
    if size < 65536:
        return _HEADER_16(_FINAL_BINARY_16, size)
    return _HEADER_64(_FINAL_BINARY_64, size)


_USUAL: Final = 1024
_HEADERS: Final = tuple(map(_header, range(_USUAL)))
"""The headers of usual payloads, by size: to look one up costs a fifth less per push."""


class Framer:
    """Frames what the connections of a listener send.

    It remembers the last payload and the last bundle, by their identity. Whoever fans one out hands
    the same object to one session after the other, so it is framed once however many get it.
    """

    __slots__ = ("_bundle", "_framed", "_joined", "_payload")

    def __init__(self) -> None:
        self._payload: bytes | None = None
        self._framed = b""
        self._bundle: Bundle | None = None
        self._joined = b""

    def framed(self, payload: bytes) -> bytes:
        """`payload` as one unmasked, final, binary WebSocket frame (RFC 6455 section 5.2), with its
        length in the shortest of the three forms."""
        if payload is self._payload:
            return self._framed
        size = len(payload)
        header = _HEADERS[size] if size < _USUAL else _header(size)
        self._framed = framed = header + payload
        self._payload = payload
        return framed

    def joined(self, bundle: Bundle) -> bytes:
        """The frames of all payloads of `bundle`, one behind the other."""
        if bundle is not self._bundle:
            self._joined = b"".join(map(self.framed, bundle))
            self._bundle = bundle
        return self._joined
