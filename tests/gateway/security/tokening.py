"""Tokens, good ones and others, for tests.

They are made here, from the standards' and SPEC.md's words, with nothing of the gateway.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import zlib
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from homeport import codes

from gateway.apps.app import App, create_app, with_key
from gateway.apps.public_keys import PublicKey
from gateway.security import jws
from gateway.security.errors import TokenRefused
from gateway.security.tokens import verify

NOW_S = 1_764_000_000
APP = create_app("chat", "eu", "free", "global", NOW_S * 1000)
OTHER = create_app("other", "eu", "free", "global", NOW_S * 1000)
CERTIFICATE = APP.certificates[0]
SIGNED_BY = jws.fingerprint(CERTIFICATE)
DROP = object()
HEADER = b'{"alg":"HS256"}'

P256 = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(
    header: bytes, payload: bytes, key: str | Private = CERTIFICATE, digest: str = "sha256"
) -> str:
    text = f"{b64(header)}.{b64(payload)}"
    return f"{text}.{b64(_signature(text.encode(), key, digest))}"


def _signature(text: bytes, key: str | Private, digest: str) -> bytes:
    if isinstance(key, str):
        return hmac.digest(key.encode(), text, digest)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(text)
    size = (key.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def claims_of(**changes: Any) -> dict[str, Any]:
    """The claims of a good token of APP, but for `changes`; one that is DROP is left out."""
    claims = {
        "iss": APP.id,
        "sub": "alice",
        "aud": "homeport:eu",
        "iat": NOW_S,
        "exp": NOW_S + 3600,
    } | changes
    return {name: value for name, value in claims.items() if value is not DROP}


def algorithm_of(key: str | Private) -> str:
    if isinstance(key, str):
        return "HS256"
    return "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "EdDSA"


def token(
    key: str | Private = CERTIFICATE, header: dict[str, Any] | None = None, **changes: Any
) -> str:
    """A good token of APP, but for `header` and `changes`, signed with `key`."""
    head = {"alg": algorithm_of(key), "typ": "JWT"} | (header or {})
    return sign(json.dumps(head).encode(), json.dumps(claims_of(**changes)).encode(), key)


def public_key(private: Private, kid: str = "") -> PublicKey:
    """The public half of `private`, as an app registers it."""
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return PublicKey("Ed25519", private.public_key().public_bytes_raw(), kid)
    numbers = private.public_key().public_numbers()
    return PublicKey("P-256", numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big"), kid)


KEYED = with_key(with_key(APP, public_key(P256)), public_key(ED25519))
"""APP with a public key for each algorithm."""


@dataclass
class Packing:
    """A token of the form 007 of APP, as a builder packs it; a test changes what it likes.

    `order` is of all numbers, "little" where they are right.
    """

    user: bytes = b"alice"
    app: bytes = APP.id.encode()
    issued: int = NOW_S
    lifetime: int = 3600
    salt: int = 7
    services: int = 1
    service: int = 5
    privileges: tuple[tuple[int, int], ...] = ((1, 3600),)
    more: bytes = b""
    order: Any = "little"

    def u16(self, number: int) -> bytes:
        return number.to_bytes(2, self.order)

    def u32(self, number: int) -> bytes:
        return number.to_bytes(4, self.order)

    def text(self, data: bytes) -> bytes:
        return self.u16(len(data)) + data

    def info(self) -> bytes:
        times = self.u32(self.issued) + self.u32(self.lifetime) + self.u32(self.salt)
        chat = self.u16(self.service) + self.u16(len(self.privileges))
        for number, seconds in self.privileges:
            chat += self.u16(number) + self.u32(seconds)
        head = self.text(self.app) + times + self.u16(self.services)
        return head + chat + self.text(self.user) + self.more

    def signature(self, certificate_007: str) -> bytes:
        k1 = hmac.digest(self.u32(self.issued), certificate_007.encode(), "sha256")
        k = hmac.digest(self.u32(self.salt), k1, "sha256")
        return hmac.digest(k, self.info(), "sha256")

    def packed(self, certificate: str = CERTIFICATE) -> bytes:
        """Signed, and not yet compressed."""
        return self.text(self.signature(derived(certificate))) + self.info()

    def token(self, certificate: str = CERTIFICATE, level: int = -1) -> str:
        return pack_007(self.packed(certificate), level)


def derived(certificate: str) -> str:
    """Certificate 007 (SPEC.md section 6.5)."""
    return hmac.new(certificate.encode(), b"homeport 007", hashlib.sha256).hexdigest()[:32]


def pack_007(data: bytes, level: int = -1) -> str:
    """`data` as the text of a token."""
    return "007" + base64.b64encode(zlib.compress(data, level)).decode()


def refusal(bad: str, app: App = APP, now_s: float = NOW_S) -> codes.ErrorCode:
    with pytest.raises(TokenRefused) as caught:
        verify(bad, app, now_s)
    text = str(caught.value)
    assert text.startswith(caught.value.code.meaning)
    for secret in (app.certificates[0], "alice", APP.id, str(NOW_S), "MARK"):
        assert secret not in text, "a refusal shows something of the token"
    return caught.value.code
