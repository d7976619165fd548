"""API keys: what an app's back end shows at the REST API.

A key is ``hpk_<region>_<app id>_<64 hex digits>``, so that a secret scanner knows one when it sees
one, and a gateway knows where it belongs without asking anybody. The last part is 256 random bits:
a plain SHA-256 of the key is enough, nobody can guess it. An app's record has the hashes only.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from gateway.apps.errors import InvalidApp, UnknownScope

SCOPES: Final = ("send", "read", "users", "groups", "admin", "export", "erase")
"""What a key may be for. `gateway.api` says which of its routes needs which."""

MAX_KEYS: Final = 2
"""Keys that an app has at once: the one in use, and the one that takes its place."""

MAX_NAME_CHARS: Final = 64

_KEY: Final = re.compile(r"hpk_([a-z]{2})_([0-9a-f]{32})_[0-9a-f]{64}")
_HASH_BYTES: Final = 32


class ApiKey(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a key.

    Attributes:
        hash: SHA-256 of the key's text.
        scopes: what it is for, of `SCOPES`, in their order.
        name: what people call it.
        created_ms: milliseconds since 1970.
    """

    hash: bytes
    scopes: tuple[str, ...]
    name: str
    created_ms: int

    @property
    def id(self) -> str:
        """Tells an app's keys apart: 8 hex digits, of which nobody learns the key."""
        return self.hash[:4].hex()


class Home(NamedTuple):
    """The region and the app that a key says it is of."""

    region: str
    app_id: str


def new_key(
    region: str, app_id: str, name: str, scopes: Iterable[str], now_ms: int
) -> tuple[str, ApiKey]:
    """A fresh key of an app: its text, which is shown once, and what is kept of it.

    Raises:
        UnknownScope: one of `scopes` does not exist, or there is none.
    """
    asked = set(scopes)
    for each in asked or {""}:
        if each not in SCOPES:
            raise UnknownScope(each, SCOPES)
    text = f"hpk_{region}_{app_id}_{secrets.token_hex(32)}"
    return text, ApiKey(_hash(text), tuple(s for s in SCOPES if s in asked), name, now_ms)


def home_of(text: str) -> Home | None:
    """Where a key says it belongs; None where the text is no key. Nothing is verified."""
    match = _KEY.fullmatch(text)
    return None if match is None else Home(match[1], match[2])


def find(keys: Iterable[ApiKey], text: str) -> ApiKey | None:
    """The one of `keys` whose text this is. Takes as long whichever it is, and where it is none."""
    hashed, found = _hash(text), None
    for key in keys:
        if hmac.compare_digest(key.hash, hashed):
            found = key
    return found


def check(keys: tuple[ApiKey, ...]) -> None:
    """Hold an app's keys against the rules.

    Raises:
        InvalidApp.
    """
    if len(keys) > MAX_KEYS:
        raise InvalidApp("api_keys", f"{MAX_KEYS} at most")
    for key in keys:
        known = key.scopes and all(scope in SCOPES for scope in key.scopes)
        if len(key.hash) != _HASH_BYTES or not known or len(key.name) > MAX_NAME_CHARS:
            raise InvalidApp("api_keys", "each a hash of 32 bytes, scopes and a short name")


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
