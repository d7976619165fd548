"""Tokens of the form 007 (SPEC.md section 6.5), and the certificate that signs them.

Builders of such tokens take a certificate of 32 hex digits only, and an app's has 64. So each of
the app's certificates has one of 32 derived from it, which tells nothing of the longer one, and
goes with it.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Final

from homeport.token007 import Token007

_DERIVED: Final = b"homeport 007"
_U32: Final = struct.Struct("<I")


def certificate_of(certificate: str) -> str:
    """The certificate for tokens of the form 007 that goes with an app's `certificate`."""
    return hmac.new(certificate.encode(), _DERIVED, hashlib.sha256).hexdigest()[:32]


def is_signed_by(token: Token007, certificate: str) -> bool:
    """Whether `token` was signed with the derivative of the app's `certificate`."""
    key = certificate_of(certificate).encode()
    for part in (token.issued_s, token.salt):
        key = hmac.digest(_U32.pack(part), key, "sha256")
    return hmac.compare_digest(hmac.digest(key, token.signed, "sha256"), token.signature)
