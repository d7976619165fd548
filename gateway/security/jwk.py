"""Keys of app's back ends, as files hold them: a JWK (RFC 7517), or PEM as OpenSSL writes it.

A key is what the file holds. Where a JWK points to (`x5u`) is never asked.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from gateway.apps.errors import InvalidKey
from gateway.apps.public_keys import PublicKey

Verifier: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
Signer: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(point)
    for point in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
"""The points of Ed25519, without their sign, for which anybody can make signatures (RFC 8032
section 5.1.7 lets verifiers take them): a buffer of zeros that somebody registered is one."""

_FORM: Final = "be a JWK (RFC 7517) or PEM, of the curve P-256 or Ed25519"


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """What signs tokens that `public` verifies."""

    signer: Signer
    public: PublicKey

    def __repr__(self) -> str:
        return f"PrivateKey(public={self.public!r})"


class _Members(msgspec.Struct):
    """What a JWK says of its kind and its use (RFC 7517 section 4)."""

    kty: Literal["EC", "OKP"] = "EC"
    kid: str = ""
    use: str = "sig"
    alg: str = ""
    key_ops: tuple[str, ...] = ("sign", "verify")


def read_public(data: bytes) -> PublicKey:
    """The public key that a file holds.

    Raises:
        InvalidKey: it holds none that can verify tokens, or a private one, which must stay where it
            is.
    """
    key, public = _read(data, "verify")
    if not isinstance(key, Verifier):
        raise InvalidKey("be a public key: this is the private one, which the back end keeps")
    return public


def read_private(data: bytes) -> PrivateKey:
    """The private key that a file holds.

    Raises:
        InvalidKey: it holds none that can sign tokens.
    """
    key, public = _read(data, "sign")
    if not isinstance(key, Signer):
        raise InvalidKey("be a private key: this is a public one, which signs nothing")
    return PrivateKey(key, public)


@functools.lru_cache(maxsize=1024)
def verifier(key: PublicKey) -> Verifier:
    """`key`, made ready to verify with.

    Raises:
        InvalidKey: its point is not on its curve.
    """
    try:
        if key.curve == "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(key.point)
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\4" + key.point)
    except ValueError:
        raise InvalidKey("be a point of its curve") from None


def _read(data: bytes, operation: str) -> tuple[Verifier | Signer, PublicKey]:
    # Whatever the libraries say of a file that is no key may show the key: it is not passed on.
    try:
        if data.lstrip().startswith(b"-----BEGIN "):
            key, said = _read_pem(data), _Members()
        else:
            key, said = _read_jwk(data)
    except (ValueError, TypeError, RecursionError, UnsupportedAlgorithm, jwt.PyJWTError):
        raise InvalidKey(_FORM) from None
    public = _public(key, said.kid)
    if said.use != "sig" or operation not in said.key_ops:
        raise InvalidKey(f"be one to {operation} with, by its `use` and `key_ops`")
    if said.alg not in ("", public.algorithm):
        raise InvalidKey(f"have no `alg` but {public.algorithm}")
    return key, public


def _read_pem(data: bytes) -> Any:
    if b"PRIVATE KEY" in data:
        return load_pem_private_key(data, None)
    return load_pem_public_key(data)


def _read_jwk(data: bytes) -> tuple[Any, _Members]:
    members = json.loads(data)
    said = msgspec.convert(members, _Members)
    members.pop("alg", None)  # which PyJWT would go by; here it is the curve that decides
    return jwt.PyJWK(members).key, said


def _public(key: Any, kid: str) -> PublicKey:
    half = key.public_key() if isinstance(key, Signer) else key
    if isinstance(half, ed25519.Ed25519PublicKey):
        point = half.public_bytes_raw()
        if bytes((*point[:-1], point[-1] & 0x7F)) in _SMALL_ORDER:
            raise InvalidKey("be another: anybody can sign for this one")
        return PublicKey("Ed25519", point, kid)
    if isinstance(half, ec.EllipticCurvePublicKey) and isinstance(half.curve, ec.SECP256R1):
        point = half.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return PublicKey("P-256", point[1:], kid)
    raise InvalidKey(_FORM)
