"""Tokens: JWTs (RFC 7519) signed by an app's back end with the app's certificate.

The algorithm is HS256 and nothing else. It belongs to the key, so the token has no say in it
(RFC 8725 section 3.1), and keys that a token brings along or points to (`jku`, `jwk`, `x5u`) are
never looked at. Time is passed in.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

import jwt
import msgspec
from homeport import codes
from homeport.ids import is_app_id, is_user_id
from homeport.limits import MAX_INTEGER, MAX_TOKEN_CHARS

from gateway.apps.app import App

MAX_CLOCK_SKEW_S: Final = 5
"""How far ahead the clock of an app's back end may run, in seconds."""

REMEMBERED: Final = 8192
"""Signatures that a process remembers, at least; at most twice as many. Some 400 bytes each."""

_ALGORITHM: Final = "HS256"
_signer: Final = jwt.PyJWS([_ALGORITHM], {"enforce_minimum_key_length": True})

_C = TypeVar("_C")
_Signed = tuple[bytes, str]
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]


class _Issuer(msgspec.Struct):
    iss: str


class _Claims(msgspec.Struct):
    """Strict types: a bool, a float or text is not a time. An array of one is a single audience."""

    iss: str
    sub: str
    aud: str | tuple[str]
    iat: _Seconds
    exp: _Seconds
    nbf: _Seconds = 0


_issuer_decoder: Final = msgspec.json.Decoder(_Issuer)
_claims_decoder: Final = msgspec.json.Decoder(_Claims)


class TokenRefused(Exception):
    """The token lets nobody in. `code` says why; the text shows nothing of the token.

    `user` is whom it names where the app did sign it.
    """

    def __init__(self, code: codes.ErrorCode, detail: str = "", user: str | None = None) -> None:
        super().__init__(f"{code.meaning} {detail}".rstrip())
        self.code = code
        self.user = user


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a good token names, and from when to when: seconds since 1970, the end excluded.

    `signed_by` is the `fingerprint` of the certificate that signed it.
    """

    user: str
    issued_s: int
    expires_s: int
    signed_by: str

    def holds(self, app: App) -> bool:
        """False where `app` has no such certificate any more, or has voided tokens of that age."""
        return self.issued_s * 1000 >= app.revoked_before_ms and self.signed_by in map(
            fingerprint, app.certificates
        )


def fingerprint(certificate: str) -> str:
    """Tells certificates apart, and nothing about them."""
    return hashlib.sha256(certificate.encode()).hexdigest()[:16]


def covering_ms(now_ms: int) -> int:
    """Up to when tokens must be voided so that all that there are at `now_ms` are.

    The clock of an app's back end may be as far ahead as a gateway accepts.
    """
    return now_ms + MAX_CLOCK_SKEW_S * 1000


def app_id_of(token: str) -> str:
    """The app a token claims to be from (`iss`). Nothing is verified: use it to find the app only.

    Raises:
        TokenRefused: TOKEN_TOO_LARGE or TOKEN_MALFORMED.
    """
    _check_size(token)
    segments = token.split(".")
    if len(segments) != 3:
        raise TokenRefused(codes.TOKEN_MALFORMED, "It does not have three parts.")
    try:
        payload = base64.b64decode(segments[1] + "==", altchars=b"-_")
    except (ValueError, binascii.Error):
        raise TokenRefused(codes.TOKEN_MALFORMED, "Its claims are not base64url.") from None
    app_id = _decode(_issuer_decoder, payload).iss
    if not is_app_id(app_id):
        raise TokenRefused(codes.TOKEN_MALFORMED, "`iss` must be an app id.")
    return app_id


class Signatures:
    """Remembers which tokens were signed by which certificates.

    Clients that come back all at once show the tokens they had, and checking an HMAC by way of
    PyJWT is most of what a token costs. Only that is remembered, by the token's hash and the
    certificates that the app has at the moment: times, audience and app are compared each time, and
    a signature by a certificate that was taken away is none any more. Only good ones are kept, so
    nobody can push them out with bad ones.
    """

    __slots__ = ("_new", "_old")

    def __init__(self) -> None:
        self._new: dict[tuple[bytes, tuple[str, ...]], _Signed] = {}
        self._old: dict[tuple[bytes, tuple[str, ...]], _Signed] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def payload(self, token: str, certificates: tuple[str, ...]) -> _Signed:
        """The claims as bytes, once one of `certificates` proves to have signed them, and the
        fingerprint of that one.

        Raises:
            TokenRefused: TOKEN_ALGORITHM, TOKEN_MALFORMED or TOKEN_SIGNATURE.
        """
        key = (hashlib.sha256(token.encode(errors="surrogatepass")).digest(), certificates)
        signed = self._new.get(key)
        if signed is None:
            signed = self._old.get(key) or _signed_payload(token, certificates)
            if len(self._new) >= REMEMBERED:
                self._old, self._new = self._new, {}
            self._new[key] = signed
        return signed


def verify(token: str, app: App, now_s: float, signatures: Signatures | None = None) -> Identity:
    """Check everything about a token: its signature, its audience and its times.

    Both certificates of `app` are tried; `signatures` remembers what was found before. The token is
    good while ``now_s < exp``, in seconds since 1970; its `iat` (and `nbf`, if any) may lie
    `MAX_CLOCK_SKEW_S` ahead.

    Raises:
        TokenRefused: with one of the codes TOKEN_TOO_LARGE to TOKEN_AUDIENCE, or TOKEN_REVOKED
            where the app's tokens of that age are void. The signature comes first: a token that
            the app did not sign learns nothing about its claims.
    """
    _check_size(token)
    signed = _signed_payload if signatures is None else signatures.payload
    payload, signed_by = signed(token, app.certificates)
    claims = _decode(_claims_decoder, payload)
    if claims.iss != app.id:
        raise TokenRefused(codes.TOKEN_SIGNATURE, "`iss` names another app.")
    if not is_user_id(claims.sub):
        raise TokenRefused(codes.TOKEN_MALFORMED, "`sub` must be a user id.")
    if claims.aud not in (audience := f"homeport:{app.region}", (audience,)):
        raise TokenRefused(codes.TOKEN_AUDIENCE, user=claims.sub)
    if now_s >= claims.exp:
        raise TokenRefused(codes.TOKEN_EXPIRED, user=claims.sub)
    if max(claims.iat, claims.nbf) > now_s + MAX_CLOCK_SKEW_S:
        raise TokenRefused(codes.TOKEN_NOT_YET, user=claims.sub)
    if claims.exp - claims.iat > app.max_token_s:
        raise TokenRefused(codes.TOKEN_LIFETIME, f"It allows {app.max_token_s} s.", claims.sub)
    if claims.iat * 1000 < app.revoked_before_ms:
        raise TokenRefused(codes.TOKEN_REVOKED, user=claims.sub)
    return Identity(claims.sub, claims.iat, claims.exp, signed_by)


def mint(
    app_id: str, certificate: str, region: str, user: str, now_s: float, lifetime_s: int = 86400
) -> str:
    """A token as an app's back end makes it, good for `lifetime_s` seconds from `now_s`.

    Raises:
        ValueError: `user` is not a user id.
        jwt.InvalidKeyError: `certificate` is too short to sign with.
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
    return _signer.encode(msgspec.json.encode(claims), certificate, _ALGORITHM)


def _check_size(token: str) -> None:
    if len(token) > MAX_TOKEN_CHARS:
        raise TokenRefused(codes.TOKEN_TOO_LARGE, f"The limit is {MAX_TOKEN_CHARS} characters.")


def _signed_payload(token: str, certificates: tuple[str, ...]) -> _Signed:
    """The claims as bytes, and the fingerprint of the certificate that signed them; not cached.

    Raises:
        TokenRefused: TOKEN_ALGORITHM, TOKEN_MALFORMED or TOKEN_SIGNATURE.
    """
    for certificate in certificates:
        try:
            payload: bytes = _signer.decode(token, certificate, [_ALGORITHM])
        except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
            continue
        except jwt.InvalidAlgorithmError:
            raise TokenRefused(codes.TOKEN_ALGORITHM) from None
        except (jwt.InvalidTokenError, UnicodeEncodeError):
            raise TokenRefused(codes.TOKEN_MALFORMED) from None
        return payload, fingerprint(certificate)
    raise TokenRefused(codes.TOKEN_SIGNATURE)


def _decode(decoder: msgspec.json.Decoder[_C], payload: bytes) -> _C:
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError as error:  # names claims and types, never a value
        raise TokenRefused(codes.TOKEN_MALFORMED, f"{error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TokenRefused(codes.TOKEN_MALFORMED, "Its claims are not JSON.") from None
