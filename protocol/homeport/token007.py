"""Tokens of the form 007, read but not verified (SPEC.md section 6.5).

They are packed with zlib, so whoever reads one unpacks what a stranger sent before any signature
can be looked at: no more than `MAX_BYTES` of it.
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Final, NamedTuple

PREFIX: Final = "007"
"""Begins each of them, and no JWT."""

MAX_BYTES: Final = 1024
"""The most that is unpacked. A token with the longest user id has 160 bytes."""

_LAYOUT: Final = struct.Struct("<H32sH32sIIIHHHHIH")
_LENGTHS: Final = (32, 32)
_CHAT_ALONE: Final = (1, 5, 1)
"""One service, which is number 5, Chat, with one privilege."""

_USER: Final = 1
_APP: Final = 2


class Token007(NamedTuple):
    """What a token says. It ends `lifetime_s` seconds after `issued_s`, in seconds since 1970.

    `user` is empty where the token is the app's own. `signed` is what `signature` is of.
    """

    app: str
    issued_s: int
    lifetime_s: int
    salt: int
    user: str
    signature: bytes
    signed: bytes


def parse(token: str) -> Token007:
    """Read a token.

    Raises:
        ValueError: its form is another one; the text shows nothing of it.
    """
    try:
        data = _unpacked(token.removeprefix(PREFIX))
        found = _LAYOUT.unpack_from(data)
    except (ValueError, struct.error, zlib.error):
        raise ValueError("not packed as a token of the form 007") from None
    signature_size, signature, app_size, app, issued_s, lifetime_s, salt = found[:7]
    privilege, allowed_s, user_size = found[10:]
    user = data[_LAYOUT.size :]
    if (signature_size, app_size) != _LENGTHS or len(user) != user_size:
        raise ValueError("not laid out as a token of the form 007")
    if found[7:10] != _CHAT_ALONE or privilege != (_USER if user else _APP):
        raise ValueError("not for one user of Chat, nor for the app, alone")
    return Token007(
        app.decode("ascii", "replace"),
        issued_s,
        min(lifetime_s, allowed_s),
        salt,
        user.decode("ascii", "replace"),
        signature,
        data[2 + len(signature) :],
    )


def _unpacked(text: str) -> bytes:
    """Raises: zlib.error, ValueError."""
    packed = base64.b64decode(text, validate=True)
    if base64.b64encode(packed).decode() != text:  # Python takes more padding than there should be
        raise ValueError
    inflating = zlib.decompressobj()
    data = inflating.decompress(packed, MAX_BYTES)
    if not inflating.eof or inflating.unused_data:
        raise ValueError
    return data
