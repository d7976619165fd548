"""Mirrors gateway/security/tokens.py.

The hostile tokens are signed here with `hmac` alone, so that a fault of PyJWT or of `mint` can't
hide itself.
"""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from homeport import codes
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import force_setattr

from gateway.apps.app import App, change, create_app, with_new_certificate, with_revoked
from gateway.security import tokens
from gateway.security.tokens import Identity, Signatures, TokenRefused, app_id_of, mint, verify

NOW_S = 1_764_000_000
APP = create_app("chat", "eu", "free", "global", NOW_S * 1000)
OTHER = create_app("other", "eu", "free", "global", NOW_S * 1000)
CERTIFICATE = APP.certificates[0]
SIGNED_BY = tokens.fingerprint(CERTIFICATE)
DROP = object()
HEADER = b'{"alg":"HS256"}'


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(header: bytes, payload: bytes, key: str = CERTIFICATE, digest: str = "sha256") -> str:
    text = f"{b64(header)}.{b64(payload)}"
    return f"{text}.{b64(hmac.digest(key.encode(), text.encode(), digest))}"


def token(key: str = CERTIFICATE, header: dict[str, Any] | None = None, **changes: Any) -> str:
    """A good token of APP, but for `changes`; a claim set to DROP is left out."""
    claims = {
        "iss": APP.id,
        "sub": "alice",
        "aud": "homeport:eu",
        "iat": NOW_S,
        "exp": NOW_S + 3600,
    } | changes
    kept = {name: value for name, value in claims.items() if value is not DROP}
    return sign(
        json.dumps({"alg": "HS256", "typ": "JWT"} | (header or {})).encode(),
        json.dumps(kept).encode(),
        key,
    )


def refusal(bad: str, app: App = APP, now_s: float = NOW_S) -> codes.ErrorCode:
    with pytest.raises(TokenRefused) as caught:
        verify(bad, app, now_s)
    text = str(caught.value)
    assert text.startswith(caught.value.code.meaning)
    for secret in (app.certificates[0], "alice", APP.id, str(NOW_S), "MARK"):
        assert secret not in text, "a refusal shows something of the token"
    return caught.value.code


def test_a_good_token_names_its_user() -> None:
    """G8: what the app signed is let in, and says who it is and for how long."""
    assert verify(token(), APP, NOW_S) == Identity("alice", NOW_S, NOW_S + 3600, SIGNED_BY)
    assert app_id_of(token()) == APP.id


def test_mint_makes_tokens_that_verify() -> None:
    """G8: the command line's tokens are ordinary ones."""
    minted = mint(APP.id, CERTIFICATE, "eu", "bob", NOW_S + 0.9, 60)
    assert verify(minted, APP, NOW_S) == Identity("bob", NOW_S, NOW_S + 60, SIGNED_BY)
    with pytest.raises(ValueError, match="a user id is"):
        mint(APP.id, CERTIFICATE, "eu", "two words", NOW_S)


def test_a_standard_library_makes_tokens_that_verify() -> None:
    """G8: an app's back end needs no code of ours; an `aud` array of one is what some write."""
    claims = {"iss": APP.id, "sub": "bob", "aud": ["homeport:eu"], "iat": NOW_S, "exp": NOW_S + 9}
    assert verify(jwt.encode(claims, CERTIFICATE, "HS256"), APP, NOW_S).user == "bob"


# --- who signed it -------------------------------------------------------------------------------


def test_a_changed_signature_is_refused() -> None:
    """[HP-6.1-2], G8: each character of the signature counts."""
    good = token()
    head, signature = good.rsplit(".", 1)
    for place in range(len(signature) - 1):  # the last one carries two unused bits
        other = "A" if signature[place] != "A" else "B"
        changed = f"{head}.{signature[:place]}{other}{signature[place + 1 :]}"
        assert refusal(changed) is codes.TOKEN_SIGNATURE
    assert refusal(head + ".") is codes.TOKEN_SIGNATURE


def test_changed_claims_are_refused() -> None:
    """[HP-6.1-2], G8: a user can't become another one."""
    header, _, signature = token().split(".")
    _, claims, _ = token(sub="admin").split(".")
    assert refusal(f"{header}.{claims}.{signature}") is codes.TOKEN_SIGNATURE


def test_another_apps_certificate_is_refused() -> None:
    """[HP-6.1-2], G8: an app can't sign for another."""
    assert refusal(token(key=OTHER.certificates[0])) is codes.TOKEN_SIGNATURE
    assert refusal(token(), app=OTHER) is codes.TOKEN_SIGNATURE


def test_a_token_is_for_the_app_it_names() -> None:
    """G8: even the right certificate can't sign in another app's name."""
    assert refusal(token(iss=OTHER.id)) is codes.TOKEN_SIGNATURE


def test_both_certificates_are_accepted() -> None:
    """[HP-6.1-2]: a rotation cuts nobody off."""
    rotated = with_new_certificate(APP)
    assert verify(token(), rotated, NOW_S).user == "alice"
    assert verify(token(key=rotated.certificates[0]), rotated, NOW_S).user == "alice"


def test_after_two_rotations_the_first_certificate_is_refused() -> None:
    """[HP-6.1-2], G8: a leaked certificate can be got rid of."""
    twice = with_new_certificate(with_new_certificate(APP))
    assert refusal(token(), app=twice) is codes.TOKEN_SIGNATURE


# --- the algorithm belongs to the key ------------------------------------------------------------


@pytest.mark.parametrize(
    "algorithm",
    ["none", "None", "NONE", "", "hs256", "HS384", "RS256", "dir", None, 1, [], ["HS256"]],
)
def test_another_algorithm_is_refused_whatever_it_is_signed_with(algorithm: object) -> None:
    """[HP-6.1-1], G8: the header's word counts for nothing, unsigned least of all."""
    bad = token(header={"alg": algorithm})
    assert refusal(bad) is codes.TOKEN_ALGORITHM
    assert refusal(bad.rsplit(".", 1)[0] + ".") is codes.TOKEN_ALGORITHM


def test_a_missing_algorithm_is_refused() -> None:
    """[HP-6.1-1]."""
    assert refusal(sign(b"{}", b"{}")) is codes.TOKEN_ALGORITHM


def test_hs512_with_the_right_certificate_is_refused() -> None:
    """[HP-6.1-1]: a stronger hash is not HS256 either."""
    claims = json.loads(base64.urlsafe_b64decode(token().split(".")[1] + "=="))
    assert refusal(jwt.encode(claims, CERTIFICATE, "HS512")) is codes.TOKEN_ALGORITHM


def test_rs256_is_refused() -> None:
    """[HP-6.1-1]: an attacker's own key pair opens nothing."""
    private = rsa.generate_private_key(65537, 2048)
    claims = {"iss": APP.id, "sub": "alice", "aud": "homeport:eu", "iat": NOW_S, "exp": NOW_S + 9}
    assert refusal(jwt.encode(claims, private, "RS256")) is codes.TOKEN_ALGORITHM


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "kid"])
def test_a_key_in_the_header_is_never_used(name: str) -> None:
    """[HP-6.1-1], G8: an attacker's key in the token is ignored, and so is a harmless one."""
    attacker = "ee" * 32
    values: dict[str, object] = {
        "jwk": {"kty": "oct", "alg": "HS256", "k": b64(attacker.encode())},
        "jku": "https://attacker.example/keys",
        "x5u": "https://attacker.example/cert",
        "x5c": ["MIIB"],
        "kid": "../../dev/null",
    }
    assert refusal(token(key=attacker, header={name: values[name]})) is codes.TOKEN_SIGNATURE
    assert verify(token(header={name: values[name]}), APP, NOW_S).user == "alice"


def test_a_short_key_is_never_used() -> None:
    """G8 (RFC 7518 section 3.2): 31 bytes are too few, even if an app came to hold such a key."""
    weak = "ab" * 15 + "a"
    damaged = with_new_certificate(APP)
    force_setattr(damaged, "certificates", (weak,))  # the constructor would refuse it
    assert refusal(token(key=weak), app=damaged) is codes.TOKEN_SIGNATURE
    with pytest.raises(jwt.InvalidKeyError):
        mint(APP.id, weak, "eu", "alice", NOW_S)


# --- from when, until when, for where ------------------------------------------------------------


def test_a_token_ends_exactly_at_exp() -> None:
    """[HP-6.2-3], G8: good until just before, refused from that second on."""
    end = NOW_S + 3600
    assert verify(token(), APP, end - 0.001).expires_s == end
    assert refusal(token(), now_s=end) is codes.TOKEN_EXPIRED
    assert refusal(token(), now_s=end + 10**6) is codes.TOKEN_EXPIRED


@pytest.mark.parametrize("claim", ["iat", "nbf"])
def test_a_token_from_the_future_is_refused(claim: str) -> None:
    """[HP-6.2-4]: five seconds ahead are a clock's fault, more is not."""
    five: dict[str, Any] = {claim: NOW_S + 5}
    six: dict[str, Any] = {claim: NOW_S + 6}
    assert verify(token(**five), APP, NOW_S).user == "alice"
    assert refusal(token(**five), now_s=NOW_S - 0.001) is codes.TOKEN_NOT_YET
    assert refusal(token(**six)) is codes.TOKEN_NOT_YET


def test_a_token_that_lives_too_long_is_refused() -> None:
    """[HP-6.2-5]: 24 hours, or what the app says, and not one second more."""
    short = change(create_app("short", "eu", "free", "global", NOW_S * 1000), "max_token_s", 60)
    for app, limit in ((APP, 86_400), (short, 60)):
        key = app.certificates[0]
        fits = token(key, iss=app.id, exp=NOW_S + limit)
        assert verify(fits, app, NOW_S).expires_s == NOW_S + limit
        over = token(key, iss=app.id, exp=NOW_S + limit + 1)
        assert refusal(over, app=app) is codes.TOKEN_LIFETIME


@pytest.mark.parametrize(
    "audience",
    ["homeport:sg", "homeport:EU", "homeport:eu ", "homeport", "eu", "", ["homeport:sg"]],
)
def test_another_audience_is_refused(audience: object) -> None:
    """[HP-6.2-2], G6: a token of another region, or for another service, opens nothing here."""
    assert refusal(token(aud=audience)) is codes.TOKEN_AUDIENCE


def test_another_regions_app_refuses_this_regions_token() -> None:
    """G6: the audience is the app's region, whichever gateway asks."""
    singapore = create_app("sg", "sg", "free", "global", NOW_S * 1000)
    key = singapore.certificates[0]
    assert refusal(token(key, iss=singapore.id), app=singapore) is codes.TOKEN_AUDIENCE
    there = token(key, iss=singapore.id, aud="homeport:sg")
    assert verify(there, singapore, NOW_S).user == "alice"


# --- its form ------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", ["iss", "sub", "aud", "iat", "exp"])
def test_a_missing_claim_is_refused(claim: str) -> None:
    """[HP-6.2-1]: all five are required, and the text names the one that lacks."""
    changes: dict[str, Any] = {claim: DROP}
    bad = token(**changes)
    assert refusal(bad) is codes.TOKEN_MALFORMED
    with pytest.raises(TokenRefused, match=f"`{claim}`"):
        verify(bad, APP, NOW_S)


@pytest.mark.parametrize("claim", ["iat", "exp", "nbf"])
@pytest.mark.parametrize(
    "value", [True, False, NOW_S + 0.5, float(NOW_S), 1e300, str(NOW_S), None, [], -1, 2**53, 2**64]
)
def test_a_time_that_is_no_whole_number_is_refused(claim: str, value: Any) -> None:
    """[HP-6.2-1]: bools, floats, text, negative and huge numbers are no times."""
    assert refusal(token(**{claim: value})) is codes.TOKEN_MALFORMED


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e400", b"9" * 2500, b"0x10", b"01"])
def test_a_number_that_json_does_not_have_is_refused(number: bytes) -> None:
    """[HP-6.2-1]: what Python's json would let through, and what would make it stumble."""
    payload = base64.urlsafe_b64decode(token(exp=DROP).split(".")[1] + "==")
    bad = payload[:-1] + b', "exp": ' + number + b"}"
    assert refusal(sign(HEADER, bad)) is codes.TOKEN_MALFORMED


@pytest.mark.parametrize(
    "user",
    ["", "a" * 65, "MARK x", "MARK\n", "MARK:x", "MARK/..", "ÄMARK", "MARK\0", 7, None, True, {}],
)
def test_a_sub_that_is_no_user_id_is_refused(user: object) -> None:
    """[HP-3.1-1], [HP-6.2-1]: a user id can't break out of a key or a log line."""
    assert refusal(token(sub=user)) is codes.TOKEN_MALFORMED


@pytest.mark.parametrize("audience", [[], ["homeport:eu", "homeport:sg"], {}, 1, None, True, [1]])
def test_an_aud_that_is_not_one_text_is_refused(audience: object) -> None:
    """[HP-6.2-1], G6: a token for two regions at once is none."""
    assert refusal(token(aud=audience)) is codes.TOKEN_MALFORMED


def test_an_aud_may_be_the_only_one_of_an_array() -> None:
    """[HP-6.2-1], [HP-6.2-2]: RFC 7519 section 4.1.3 lets an issuer write it so, and some do."""
    assert verify(token(aud=["homeport:eu"]), APP, NOW_S).user == "alice"
    assert refusal(token(aud=["homeport:sg"])) is codes.TOKEN_AUDIENCE


def test_an_oversized_token_is_refused() -> None:
    """[HP-6.1-3]: before anything is parsed, and to the character."""
    padded = 0
    while len(token(pad="x" * padded)) < 4096:
        padded += 1
    fits = token(pad="x" * padded)
    assert len(fits) == 4096
    assert verify(fits, APP, NOW_S).user == "alice"
    assert app_id_of(fits) == APP.id
    over = token(pad="x" * (padded + 1))
    assert refusal(over) is codes.TOKEN_TOO_LARGE
    with pytest.raises(TokenRefused) as caught:
        app_id_of(over)
    assert caught.value.code is codes.TOKEN_TOO_LARGE


def assert_malformed(bad: str) -> None:
    assert refusal(bad) is codes.TOKEN_MALFORMED
    with pytest.raises(TokenRefused) as caught:
        app_id_of(bad)
    assert caught.value.code is codes.TOKEN_MALFORMED


@pytest.mark.parametrize(
    "bad",
    [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "é.é.é",
        "\ud800",
        "!!!.e30.AAAA",
        "e30.!.AA",
    ],
    ids=ascii,
)
def test_what_is_no_jwt_is_refused(bad: str) -> None:
    """[HP-6.2-1], G8: also where only the app's id is wanted; nothing crashes."""
    assert_malformed(bad)


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"null", b"{", b'{"iss":"\xff"}', b'{"iss":1}', b"[" * 2900, b'{"x":' * 500],
    ids=range(8),
)
def test_signed_claims_that_are_no_object_are_refused(payload: bytes) -> None:
    """[HP-6.2-1], G8: a certificate is no licence to crash the gateway."""
    assert_malformed(sign(HEADER, payload))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"null",
        b"[" * 2900,
        b'{"alg":"HS256","kid":1}',
        b'{"alg":"HS256","crit":["exp"]}',
        b'{"alg":"HS256","crit":[]}',
        b'{"alg":"HS256","b64":false}',
        b'{"alg":"HS256","b64":false,"crit":["b64"]}',
    ],
)
def test_a_header_that_means_something_else_is_refused(header: bytes) -> None:
    """[HP-6.2-1] (RFC 7515 section 4.1.11): what must be understood and is not, is refused."""
    payload = base64.urlsafe_b64decode(token().split(".")[1] + "==")
    assert refusal(sign(header, payload)) is codes.TOKEN_MALFORMED


@pytest.mark.parametrize("issuer", ["", "MARK", "03" * 15, "../" * 10 + "xx", "03" + "AB" * 15])
def test_an_issuer_that_is_no_app_id_is_refused(issuer: str) -> None:
    """[HP-3.2-1]: nothing but an app id is ever looked up."""
    with pytest.raises(TokenRefused) as caught:
        app_id_of(token(iss=issuer))
    assert caught.value.code is codes.TOKEN_MALFORMED


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: sign(HEADER, data)))
def test_no_text_crashes_the_check(text: str) -> None:
    """G8: whatever comes over the wire, the answer is a refusal with a code."""
    for attempt in (
        lambda: verify(text, APP, NOW_S),
        lambda: verify(text, APP, NOW_S, Signatures()),
        lambda: app_id_of(text),
    ):
        with pytest.raises(TokenRefused):
            attempt()


def test_an_identity_cannot_be_edited() -> None:
    """G8: who a session is does not change after the check."""
    with pytest.raises(AttributeError):
        verify(token(), APP, NOW_S).user = "admin"  # type: ignore[misc]


# --- signatures that are remembered ------------------------------------------------------------


def test_a_remembered_signature_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that comes back with the token it had costs no second HMAC."""
    signatures, good = Signatures(), token()
    first = verify(good, APP, NOW_S, signatures)
    monkeypatch.setattr(jwt.PyJWS, "decode", lambda *_: pytest.fail("computed again"))
    assert verify(good, APP, NOW_S + 1, signatures) == first


def test_a_remembered_token_is_still_checked() -> None:
    """G8: only the signature is remembered. When it ends, for whom it is, and who may sign count at
    each connect."""
    signatures, good = Signatures(), token()
    renewed = with_new_certificate(APP)
    shorter = change(APP, "max_token_s", 60)
    for now_s, app, code in (
        (NOW_S + 3600, APP, codes.TOKEN_EXPIRED),
        (NOW_S - 6, APP, codes.TOKEN_NOT_YET),
        (NOW_S, shorter, codes.TOKEN_LIFETIME),
        (NOW_S, with_new_certificate(renewed), codes.TOKEN_SIGNATURE),
        (NOW_S, OTHER, codes.TOKEN_SIGNATURE),
    ):
        assert verify(good, APP, NOW_S, signatures).user == "alice"
        with pytest.raises(TokenRefused) as caught:
            verify(good, app, now_s, signatures)
        assert caught.value.code is code
    assert verify(good, renewed, NOW_S, signatures).user == "alice"  # the one before still counts


def test_a_changed_token_is_another_one() -> None:
    """G8: that a token was good says nothing of one that differs in a character."""
    signatures, good = Signatures(), token()
    verify(good, APP, NOW_S, signatures)
    header, _, signature = good.split(".")
    forged = f"{header}.{token(sub='bob').split('.')[1]}.{signature}"
    for bad in (forged, good[:-2] + ("A" if good[-2] != "A" else "B") + good[-1]):
        for _ in range(2):  # nor does a bad one become good by being shown again
            with pytest.raises(TokenRefused) as caught:
                verify(bad, APP, NOW_S, signatures)
            assert caught.value.code is codes.TOKEN_SIGNATURE
    assert len(signatures) == 1


def test_only_so_many_signatures_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory is bounded, and who was here lately is not forgotten for who is new."""
    monkeypatch.setattr("gateway.security.tokens.REMEMBERED", 10)
    signatures = Signatures()
    for number in range(100):
        verify(token(sub=f"u{number}"), APP, NOW_S, signatures)
        verify(token(), APP, NOW_S, signatures)
        assert len(signatures) <= 20
    monkeypatch.setattr(jwt.PyJWS, "decode", lambda *_: pytest.fail("computed again"))
    verify(token(), APP, NOW_S, signatures)


def test_an_identity_goes_with_its_certificate_and_with_its_apps_tokens() -> None:
    """HP-6.4-4: of two certificates the one that signed counts. HP-6.4-3: to the second."""
    identity = verify(token(), APP, NOW_S)
    once = with_new_certificate(APP)
    twice = with_new_certificate(once)
    newer = verify(token(twice.certificates[1]), twice, NOW_S)
    assert [identity.holds(app) for app in (APP, once, twice)] == [True, True, False]
    assert newer.holds(once) and newer.holds(twice)
    assert identity.holds(with_revoked(APP, NOW_S * 1000))
    assert not identity.holds(with_revoked(APP, NOW_S * 1000 + 1))


def test_a_revocation_of_the_app_voids_its_tokens_and_is_never_taken_back() -> None:
    """HP-6.4-3, also where the signature was seen before."""
    signatures = Signatures()
    verify(token(), APP, NOW_S, signatures)
    revoked = with_revoked(with_revoked(APP, (NOW_S + 1) * 1000), 0)
    with pytest.raises(TokenRefused) as caught:
        verify(token(), revoked, NOW_S, signatures)
    assert caught.value.code is codes.TOKEN_REVOKED
    assert verify(token(iat=NOW_S + 1), revoked, NOW_S).issued_s == NOW_S + 1


def test_what_is_revoked_now_covers_a_clock_that_is_ahead() -> None:
    """G8: a back end whose clock is ahead had made every token of five seconds immune."""
    ahead = verify(token(iat=NOW_S + tokens.MAX_CLOCK_SKEW_S - 1), APP, NOW_S)
    assert not ahead.holds(with_revoked(APP, tokens.covering_ms(NOW_S * 1000)))
