"""JWTs as signed texts (RFC 7515, compact form): which of an app's keys signed one.

The algorithm belongs to the key, so the token has no say in it (RFC 8725 section 3.1): it chooses
among the keys that the app has, and no more. Keys that a token brings along or points to (`jku`,
`jwk`, `x5u`) are never looked at.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import jwt
from homeport import codes

from gateway.apps.app import App
from gateway.security.errors import TokenRefused
from gateway.security.jwk import Verifier, verifier

HS256: Final = "HS256"
ALGORITHMS: Final = (HS256, "ES256", "EdDSA")

signer: Final = jwt.PyJWS(ALGORITHMS, {"enforce_minimum_key_length": True})


class Signed(NamedTuple):
    """What an app signed: its claims, as bytes.

    `signed_by` names the key that did (`fingerprint`, `PublicKey.id`). `digest` names the token
    itself, whatever way it is written: the first 32 hex digits of the SHA-256 of what is signed.
    """

    payload: bytes
    signed_by: str
    digest: str


def fingerprint(certificate: str) -> str:
    """Tells certificates apart, and nothing about them."""
    return hashlib.sha256(certificate.encode()).hexdigest()[:16]


def digest(signed: bytes) -> str:
    """The name of a token, by what is signed of it."""
    return hashlib.sha256(signed).hexdigest()[:32]


def header_of(token: str) -> dict[str, Any]:
    """The header of a token of three parts. Nothing is verified.

    Raises:
        TokenRefused: TOKEN_MALFORMED.
    """
    try:
        text = base64.b64decode(token.partition(".")[0] + "==", altchars=b"-_")
        header = json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise TokenRefused(codes.TOKEN_MALFORMED, "Its header is not an object of JSON.")
    return header


def check(token: str, app: App) -> Signed:
    """What `token` says, once a key of `app` proves to have signed it.

    Raises:
        TokenRefused: TOKEN_ALGORITHM, TOKEN_MALFORMED or TOKEN_SIGNATURE.
    """
    header = header_of(token)
    algorithm, kid = header.get("alg"), header.get("kid", "")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefused(codes.TOKEN_ALGORITHM)
    for key, name in _candidates(app, algorithm, kid):
        try:
            payload: bytes = signer.decode(token, key, [algorithm])
        except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
            continue
        except (jwt.InvalidTokenError, UnicodeEncodeError):
            raise TokenRefused(codes.TOKEN_MALFORMED) from None
        return Signed(payload, name, digest(token.rpartition(".")[0].encode()))
    raise TokenRefused(codes.TOKEN_SIGNATURE)


def _candidates(app: App, algorithm: str, kid: Any) -> Iterator[tuple[str | Verifier, str]]:
    """The keys of `app` for tokens of `algorithm`, and what each is called in `Signed`.

    A `kid` leaves out the public keys that have another one; certificates have none.
    """
    if algorithm == HS256:
        for certificate in app.certificates:
            yield certificate, fingerprint(certificate)
        return
    for key in app.keys:
        if key.algorithm == algorithm and (not kid or not key.kid or kid == key.kid):
            yield verifier(key), key.id


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no name is repeated: which of two would count, readers may differ in."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found
