"""The public keys that an app has registered: its back end signs tokens with their private halves.

What a key is for is decided by its curve, so that a token has no say in it.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from typing import Final

import msgspec

from gateway.apps.errors import InvalidKey

MAX_KEYS: Final = 2
"""An app has one, and during a rotation two. Each is tried for a token that names none."""

MAX_KID_CHARS: Final = 128

_ALGORITHMS: Final = {"P-256": ("ES256", 64), "Ed25519": ("EdDSA", 32)}


class PublicKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One public key; whether `point` lies on its curve is not looked at here.

    Attributes:
        curve: "P-256" or "Ed25519".
        point: the key itself: the coordinates x and y, of 32 bytes each, or the 32 bytes of RFC
            8032.
        kid: the name that its owner gave it; "": none.

    Raises:
        InvalidKey: one of them has a wrong form.
    """

    curve: str
    point: bytes
    kid: str = ""

    def __post_init__(self) -> None:
        if self.curve not in _ALGORITHMS:
            raise InvalidKey(f"be of one of the curves {' and '.join(_ALGORITHMS)}")
        if len(self.point) != _ALGORITHMS[self.curve][1]:
            raise InvalidKey(f"have {_ALGORITHMS[self.curve][1]} bytes")
        if len(self.kid) > MAX_KID_CHARS or not self.kid.isprintable():
            raise InvalidKey(f"have a `kid` of at most {MAX_KID_CHARS} printable characters")

    @property
    def algorithm(self) -> str:
        """The only `alg` of tokens that this key verifies (RFC 7518, RFC 8037)."""
        return _ALGORITHMS[self.curve][0]

    @property
    def id(self) -> str:
        """Its thumbprint (RFC 7638): 43 characters, the same wherever the key is known."""
        if self.curve == "P-256":
            x, y = _b64(self.point[:32]), _b64(self.point[32:])
            members = f'{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}'
        else:
            members = f'{{"crv":"Ed25519","kty":"OKP","x":"{_b64(self.point)}"}}'
        return _b64(hashlib.sha256(members.encode()).digest())


def check_keys(keys: tuple[PublicKey, ...]) -> None:
    """See that an app may have these together.

    Raises:
        InvalidKey: they are too many, or two of them are the same or share a name.
    """
    if len(keys) > MAX_KEYS:
        raise InvalidKey(f"be one of {MAX_KEYS} at most: `homeport app remove-key` first")
    if len({key.point for key in keys}) < len(keys):
        raise InvalidKey("differ from the app's other one")
    if len({key.kid for key in keys if key.kid}) < sum(bool(key.kid) for key in keys):
        raise InvalidKey("have another `kid` than the app's other one")


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
