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

signer: Final = jwt.PyJWS((HS256, "ES256", "EdDSA"), {"enforce_minimum_key_length": True})
"""Signs, as an app's back end does."""

_ALGORITHMS: Final = {name: signer.get_algorithm_by_name(name) for name in signer.get_algorithms()}


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


def parts_of(token: str) -> tuple[bytes, bytes, bytes]:
    """The header, the claims and the signature of a token. Nothing is verified.

    Raises:
        TokenRefused: TOKEN_MALFORMED.
    """
    segments = token.split(".")
    if len(segments) != 3:
        raise TokenRefused(codes.TOKEN_MALFORMED, "It does not have three parts.")
    try:
        header, payload, signature = map(_unb64, segments)
    except ValueError:
        raise TokenRefused(codes.TOKEN_MALFORMED, "Its parts are not base64url.") from None
    return header, payload, signature


def header_of(text: bytes) -> dict[str, Any]:
    """A header, read.

    Raises:
        TokenRefused: TOKEN_MALFORMED, also where it wants something understood (`crit`) that
            nobody here does (RFC 7515 section 4.1.11).
    """
    try:
        header = json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("kid", ""), str):
        raise TokenRefused(codes.TOKEN_MALFORMED, "Its header has a wrong form.")
    if "crit" in header or header.get("b64", True) is not True:
        raise TokenRefused(codes.TOKEN_MALFORMED, "Its header asks for an extension.")
    return header


def check(token: str, app: App) -> Signed:
    """What `token` says, once a key of `app` proves to have signed it.

    Raises:
        TokenRefused: TOKEN_ALGORITHM, TOKEN_MALFORMED or TOKEN_SIGNATURE.
    """
    # Not PyJWT's `decode`: it reads the token anew for each key, character by character, so that to
    # refuse a long one cost as much as a TLS connection.
    head, payload, signature = parts_of(token)
    header = header_of(head)
    name = header.get("alg")
    algorithm = _ALGORITHMS.get(name) if isinstance(name, str) else None
    if algorithm is None:
        raise TokenRefused(codes.TOKEN_ALGORITHM)
    signed = token.rpartition(".")[0].encode()
    for key, key_id in _candidates(app, header["alg"], header.get("kid", "")):
        if not algorithm.check_key_length(key) and algorithm.verify(signed, key, signature):
            return Signed(payload, key_id, digest(signed))
    raise TokenRefused(codes.TOKEN_SIGNATURE)


def _candidates(app: App, algorithm: str, kid: str) -> Iterator[tuple[bytes | Verifier, str]]:
    """The keys of `app` for tokens of `algorithm`, and what each is called in `Signed`.

    A `kid` leaves out the public keys that have another one; certificates have none.
    """
    if algorithm == HS256:
        for certificate in app.certificates:
            yield certificate.encode(), fingerprint(certificate)
        return
    for key in app.keys:
        if key.algorithm == algorithm and (not kid or not key.kid or kid == key.kid):
            yield verifier(key), key.id


def _unb64(segment: str) -> bytes:
    """Raises: ValueError, also where the same bytes are written otherwise."""
    data = base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != segment:
        raise ValueError
    return data


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which no name is repeated: which of two would count, readers may differ in."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError
    return found
