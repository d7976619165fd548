"""Tokens: what an app's back end signs, so that a user is let in.

A token is a JWT (RFC 7519), signed with the app's certificate or with a key whose public half the
app has registered (`gateway.security.jws`), or one of the form 007 (`gateway.security.token007`).
Whatever its form, `verify` compares the same claims with the same rules. Time is passed in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Final, TypeVar

import msgspec
from homeport import codes, token007
from homeport.ids import is_app_id, is_user_id
from homeport.limits import MAX_INTEGER, MAX_TOKEN_CHARS

from gateway.apps.app import App
from gateway.apps.public_keys import PublicKey
from gateway.security import jws
from gateway.security.errors import TokenRefused
from gateway.security.jwk import PrivateKey
from gateway.security.jws import Signed, fingerprint
from gateway.security.token007 import is_signed_by

MAX_CLOCK_SKEW_S: Final = 5
"""How far ahead the clock of an app's back end may run, in seconds."""

REMEMBERED: Final = 8192
"""Signatures that a process remembers, at least; at most twice as many. Some 400 bytes each."""

_C = TypeVar("_C")
_Known = tuple[bytes, tuple[str, ...], tuple[PublicKey, ...]]
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]


class Purpose(Enum):
    """What a token is for. The value ends its audience, after the region."""

    CONNECT = ""
    """A user connects."""
    REST = ":rest"
    """The app's own servers ask; nobody connects with it."""

    def audience(self, app: App) -> str:
        """The `aud` of such a token of `app`."""
        return f"homeport:{app.region}{self.value}"


class _Issuer(msgspec.Struct):
    iss: str


class _Claims(msgspec.Struct):
    """Strict types: a bool, a float or text is not a time. An array of one is a single audience."""

    iss: str
    aud: str | tuple[str]
    iat: _Seconds
    exp: _Seconds
    nbf: _Seconds = 0
    sub: str = ""


_issuer_decoder: Final = msgspec.json.Decoder(_Issuer)
_claims_decoder: Final = msgspec.json.Decoder(_Claims)


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a good token names, and from when to when: seconds since 1970, the end excluded.

    `user` is empty where the token is the app's own. `signed_by` and `digest` are those of
    `jws.Signed`: which key signed it, and which token it is.
    """

    user: str
    issued_s: int
    expires_s: int
    signed_by: str
    digest: str

    def holds(self, app: App) -> bool:
        """False where `app` has no such key any more, or has voided tokens of that age."""
        return self.issued_s * 1000 >= app.revoked_before_ms and (
            self.signed_by in map(fingerprint, app.certificates)
            or any(self.signed_by == key.id for key in app.keys)
        )


def covering_ms(now_ms: int) -> int:
    """Up to when tokens must be voided so that all that there are at `now_ms` are.

    The clock of an app's back end may be as far ahead as a gateway accepts.
    """
    return now_ms + MAX_CLOCK_SKEW_S * 1000


def app_id_of(token: str) -> str:
    """The app a token claims to be from. Nothing is verified: use it to find the app only.

    Raises:
        TokenRefused: TOKEN_TOO_LARGE or TOKEN_MALFORMED.
    """
    _check_size(token)
    app_id = (
        _parse_007(token).app
        if _is_007(token)
        else _decode(_issuer_decoder, jws.parts_of(token)[1]).iss
    )
    if not is_app_id(app_id):
        raise TokenRefused(codes.TOKEN_MALFORMED, "It must name an app by its id, in `iss`.")
    return app_id


class Signatures:
    """Remembers which JWTs were signed by which keys.

    Clients that come back all at once show the tokens they had, and checking a signature is most of
    what a token costs. Only that is remembered, by the token's hash and the keys that the app has
    at the moment: times, audience and app are compared each time, and a signature by a key that was
    taken away is none any more. Only good ones are kept, so nobody can push them out with bad ones.
    """

    __slots__ = ("_new", "_old")

    def __init__(self) -> None:
        self._new: dict[_Known, Signed] = {}
        self._old: dict[_Known, Signed] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def check(self, token: str, app: App) -> Signed:
        """As `jws.check`."""
        hashed = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        key = (hashed, app.certificates, app.keys)
        signed = self._new.get(key)
        if signed is None:
            signed = self._old.get(key) or jws.check(token, app)
            if len(self._new) >= REMEMBERED:
                self._old, self._new = self._new, {}
            self._new[key] = signed
        return signed


def verify(
    token: str,
    app: App,
    now_s: float,
    signatures: Signatures | None = None,
    purpose: Purpose = Purpose.CONNECT,
) -> Identity:
    """Check everything about a token: its signature, its audience and its times.

    Every key of `app` that may have signed it is tried; `signatures` remembers what was found
    before. The token is good while ``now_s < exp``, in seconds since 1970; its `iat` (and `nbf`, if
    any) may lie `MAX_CLOCK_SKEW_S` ahead. A token to connect with names a user; one for REST does
    not, and is the app's own.

    Raises:
        TokenRefused: with one of the codes TOKEN_TOO_LARGE to TOKEN_AUDIENCE, or TOKEN_REVOKED
            where the app's tokens of that age are void. The signature comes first: a token that
            the app did not sign learns nothing about its claims.
    """
    _check_size(token)
    if _is_007(token):
        claims, signed_by, digest = _checked_007(token, app)
    else:
        check = jws.check if signatures is None else signatures.check
        payload, signed_by, digest = check(token, app)
        claims = _decode(_claims_decoder, payload)
    if claims.iss != app.id:
        raise TokenRefused(codes.TOKEN_SIGNATURE, "`iss` names another app.")
    named = claims.sub if is_user_id(claims.sub) else None
    if claims.aud not in (audience := purpose.audience(app), (audience,)):
        raise TokenRefused(codes.TOKEN_AUDIENCE, user=named)
    user = _subject(claims.sub, app, purpose)
    if now_s >= claims.exp:
        raise TokenRefused(codes.TOKEN_EXPIRED, user=named)
    if max(claims.iat, claims.nbf) > now_s + MAX_CLOCK_SKEW_S:
        raise TokenRefused(codes.TOKEN_NOT_YET, user=named)
    if claims.exp - claims.iat > app.max_token_s:
        raise TokenRefused(codes.TOKEN_LIFETIME, f"It allows {app.max_token_s} s.", named)
    if claims.iat * 1000 < app.revoked_before_ms:
        raise TokenRefused(codes.TOKEN_REVOKED, user=named)
    return Identity(user, claims.iat, claims.exp, signed_by, digest)


def mint(
    app_id: str,
    key: str | PrivateKey,
    region: str,
    user: str,
    now_s: float,
    lifetime_s: int = 86400,
) -> str:
    """A token as an app's back end makes it, good for `lifetime_s` seconds from `now_s`.

    `key` is a certificate of the app, or the private half of one of its public keys.

    Raises:
        ValueError: `user` is not a user id.
        jwt.InvalidKeyError: the certificate is too short to sign with.
    """
    if not is_user_id(user):
        raise ValueError("a user id is 1 to 64 of A-Z a-z 0-9 . _ @ + -")
    issued = int(now_s)
    claims = {
        "iss": app_id,
        "sub": user,
        "aud": f"homeport:{region}",
        "iat": issued,
        "exp": issued + lifetime_s,
    }
    payload = msgspec.json.encode(claims)
    if isinstance(key, str):
        return jws.signer.encode(payload, key, jws.HS256)
    kid = {"kid": key.public.kid} if key.public.kid else None
    return jws.signer.encode(payload, key.signer, key.public.algorithm, kid)


def contents(token: str) -> dict[str, Any]:
    """What a token says, by the names of JWT, for people to read. Nothing is verified.

    Raises:
        TokenRefused: TOKEN_TOO_LARGE or TOKEN_MALFORMED.
    """
    _check_size(token)
    if not _is_007(token):
        header, payload, _ = jws.parts_of(token)
        claims = _decode(msgspec.json.Decoder(dict[str, Any]), payload)
        return {"form": "JWT", "header": jws.header_of(header), **claims}
    found = _parse_007(token)
    return {
        "form": "007",
        "iss": found.app,
        "sub": found.user or None,
        "iat": found.issued_s,
        "exp": found.issued_s + found.lifetime_s,
    }


def _check_size(token: str) -> None:
    if len(token) > MAX_TOKEN_CHARS:
        raise TokenRefused(codes.TOKEN_TOO_LARGE, f"The limit is {MAX_TOKEN_CHARS} characters.")


def _subject(sub: str, app: App, purpose: Purpose) -> str:
    """The user whom a token for `purpose` names; "" where that is the app itself."""
    if purpose is Purpose.CONNECT:
        if not is_user_id(sub):
            raise TokenRefused(codes.TOKEN_MALFORMED, "`sub` must be a user id.")
        return sub
    if sub not in ("", app.id):
        raise TokenRefused(codes.TOKEN_MALFORMED, "`sub` must be the app id, or absent.")
    return ""


def _is_007(token: str) -> bool:
    return token.startswith(token007.PREFIX)


def _parse_007(token: str) -> token007.Token007:
    try:
        return token007.parse(token)
    except ValueError as error:
        raise TokenRefused(codes.TOKEN_MALFORMED, f"It is {error}.") from None


def _checked_007(token: str, app: App) -> tuple[_Claims, str, str]:
    """The claims of a token that was signed with a certificate of `app`, which one, and the
    token's digest.

    Raises:
        TokenRefused: TOKEN_MALFORMED or TOKEN_SIGNATURE.
    """
    found = _parse_007(token)
    for certificate in app.certificates:
        if is_signed_by(found, certificate):
            purpose = Purpose.CONNECT if found.user else Purpose.REST
            ends_s = found.issued_s + found.lifetime_s
            claims = _Claims(
                found.app, purpose.audience(app), found.issued_s, ends_s, sub=found.user
            )
            return claims, fingerprint(certificate), jws.digest(found.signed)
    raise TokenRefused(codes.TOKEN_SIGNATURE)


def _decode(decoder: msgspec.json.Decoder[_C], payload: bytes) -> _C:
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError as error:  # names claims and types, never a value
        raise TokenRefused(codes.TOKEN_MALFORMED, f"{error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TokenRefused(codes.TOKEN_MALFORMED, "Its claims are not JSON.") from None
