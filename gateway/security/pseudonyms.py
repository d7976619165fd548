"""Pseudonyms of users and apps for logs: equal for the same user, and useless without the keyring.

HMAC-SHA256 under a key that HKDF derives from the region's oldest key. The oldest key is never
removed from a keyring, so a name survives every rotation. With the keyring, an operator can compute
the name of a given user (`homeport user hash`); a log by itself reveals nobody.
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.security.keyring import Keyring

_BYTES: Final = 8


class Pseudonyms:
    """Those of one region."""

    def __init__(self, keyring: Keyring) -> None:
        info = f"homeport log names v1\0{keyring.region}".encode()
        oldest = keyring.keys[min(keyring.keys)]
        self._key = HKDF(SHA256(), 32, salt=None, info=info).derive(oldest)

    def app(self, app_id: str) -> str:
        """16 hex digits for an app."""
        return self._digest(app_id)

    def user(self, app_id: str, user: str) -> str:
        """16 hex digits for a user of an app."""
        return self._digest(f"{app_id}:{user}")

    def fields(self, app_id: str | None, user: str | None) -> dict[str, str]:
        """The fields of a line of the log that say whose it is, as far as that is known."""
        if app_id is None:
            return {}
        if user is None:
            return {"app": self.app(app_id)}
        return {"app": self.app(app_id), "user": self.user(app_id, user)}

    def _digest(self, name: str) -> str:
        return hmac.digest(self._key, name.encode(), "sha256")[:_BYTES].hex()
