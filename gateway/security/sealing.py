"""Sealing: what users write, encrypted before it leaves the process (G7).

A sealed value, integers big-endian::

    format u8 = 1 | key version u16 | hour u24 | nonce 12 bytes | ciphertext | tag 16 bytes

`hour` is hours since 1970. The key is HKDF-SHA256 (RFC 5869) of the keyring's version, with the
app's salt, and the hour in the info; the cipher is AES-256-GCM (NIST SP 800-38D). A key lives for
one app and one hour, so random nonces stay within that document's bound of 2^32 per key (section
8.3): what the highest tier's tokens buy in an hour is less, and in a day it would be more.

The additional data binds a value to its place, so a copy elsewhere does not open::

    format, key version, hour | kind u8 | size u16, region | size u16, app | size u16, conversation
    | message id

Errors::

    SealError
    +-- Tampered              changed, moved from its place, or sealed under other keys
    +-- UnknownKeyVersion     the keyring lacks its `version`
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.security.keyring import Keyring
from gateway.security.pseudonyms import Pseudonyms

OVERHEAD: Final = 1 + 2 + 3 + 12 + 16
"""By how many bytes a sealed value is longer than the plain one."""

_FORMAT: Final = 1
_HOUR_MS: Final = 60 * 60 * 1000
_HEAD: Final = struct.Struct(">BHBH")
_HOUR_AT: Final = 3
_SIZE: Final = struct.Struct(">H")
_NONCE_BYTES: Final = 12
_BODY: Final = _HEAD.size + _NONCE_BYTES
CACHED_KEYS: Final = 4096


class Kind(IntEnum):
    """What a sealed value is.

    An app record has its app as owner, with salt ``b""``, conversation "" and id ``b""``. A probe,
    and what a trace tells, are the `REGION`'s, and have no id and their channel as conversation.
    An audit note is the `REGION`'s too, and has neither, nor has an event for an app's webhooks.
    What became of such an event has its endpoint as conversation, and its number as id.
    A cursor of the REST API has the list that it is of as conversation.
    """

    MESSAGE = 1
    APP = 2
    RELAY = 3
    GROUP = 4
    STATUS = 8
    PROBE = 9
    TRACE = 10
    AUDIT = 11
    EVENT = 20
    ATTEMPTS = 21
    CURSOR = 22


class Salted(Protocol):
    """What a sealed value belongs to: an `App`, which has keys of its own, or an `Owner`."""

    @property
    def id(self) -> str:
        """The app's id."""

    @property
    def salt(self) -> bytes:
        """The salt of its keys."""


class Owner(NamedTuple):
    """An owner that is not an `App`: the region, or an app of which only the id is known."""

    id: str = ""
    salt: bytes = b""


REGION: Final = Owner()
"""What is no app's."""


class SealError(Exception):
    """A sealed value can't be opened."""


class Tampered(SealError):
    """It was changed, or it is not what was sealed for this place."""

    def __init__(self) -> None:
        super().__init__(
            "a sealed value does not belong where it was found, or was changed; "
            "see who can write to the store"
        )


class UnknownKeyVersion(SealError):
    """`version` is not in the keyring."""

    def __init__(self, version: int) -> None:
        super().__init__(
            f"the keyring has no key version {version}; "
            "give this gateway the keyring file that the others have"
        )
        self.version = version


class Sealer:
    """Seals and opens under one region's keyring, which may grow.

    Attributes:
        active: the version to seal under: the oldest, until `gateway.runtime.rotation`, which
            knows the region's time, chooses another.
        unproven: versions whose key the region's other gateways may not share. A value that does
            not open under one of them may be theirs, and does not count as tampered with.
        on_unknown: called when a value is under a version that the keyring lacks, in case `adopt`
            can bring it.
        names: the pseudonyms of apps and users in logs.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self.names: Final = Pseudonyms(keyring)
        self._cipher = lru_cache(CACHED_KEYS)(self._derive)
        self.active = keyring.active_at(0)
        self.unproven: frozenset[int] = frozenset()
        self.on_unknown: Callable[[], None] | None = None

    def adopt(self, keyring: Keyring) -> None:
        """Read with `keyring` from now on."""
        self._keyring = keyring
        self._cipher.cache_clear()  # a key that was not proven may be another one now

    def seal(
        self,
        owner: Salted,
        kind: Kind,
        conversation: str,
        message_id: bytes,
        plain: bytes,
        now_ms: int,
    ) -> bytes:
        """Encrypt `plain` for its place; the result is `OVERHEAD` bytes longer."""
        hour = now_ms // _HOUR_MS
        head = _HEAD.pack(_FORMAT, self.active, hour >> 16, hour & 0xFFFF)
        cipher, bound = self._cipher(owner.id, owner.salt, kind, head)
        nonce = os.urandom(_NONCE_BYTES)
        place = conversation.encode()
        bound = b"%b%b%b%b" % (bound, _SIZE.pack(len(place)), place, message_id)
        return b"%b%b%b" % (head, nonce, cipher.encrypt(nonce, plain, bound))

    def open(
        self,
        owner: Salted,
        kind: Kind,
        conversation: str,
        message_id: bytes,
        sealed: bytes,
    ) -> bytes:
        """Decrypt what `seal` made with the same arguments.

        Raises:
            Tampered: anything differs: an argument, the region, the header, the body.
            UnknownKeyVersion: sealed under a version that the keyring lacks, or has another key of.
        """
        if len(sealed) < OVERHEAD or sealed[0] != _FORMAT:
            raise Tampered
        cipher, bound = self._cipher(owner.id, owner.salt, kind, sealed[: _HEAD.size])
        place = conversation.encode()
        bound = b"%b%b%b%b" % (bound, _SIZE.pack(len(place)), place, message_id)
        try:
            return cipher.decrypt(sealed[_HEAD.size : _BODY], sealed[_BODY:], bound)
        except InvalidTag:
            _, version, *_ = _HEAD.unpack_from(sealed)
            if version in self.unproven:
                raise UnknownKeyVersion(version) from None
            raise Tampered from None

    def _derive(self, app_id: str, salt: bytes, kind: Kind, head: bytes) -> tuple[AESGCM, bytes]:
        """The cipher of a header, and the part of the additional data that all its values share."""
        _, version, *_ = _HEAD.unpack(head)
        if version not in self._keyring.keys and self.on_unknown is not None:
            self.on_unknown()
        if version not in self._keyring.keys:
            raise UnknownKeyVersion(version)
        info = b"homeport seal v1\0" + head[_HOUR_AT:]
        key = HKDF(SHA256(), 32, salt=salt, info=info).derive(self._keyring.keys[version])
        region, app = self._keyring.region.encode(), app_id.encode()
        bound = b"%b%c%b%b%b%b" % (
            head,
            kind,
            _SIZE.pack(len(region)),
            region,
            _SIZE.pack(len(app)),
            app,
        )
        return AESGCM(key), bound
