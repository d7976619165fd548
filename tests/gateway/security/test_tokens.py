"""Mirrors gateway/security/tokens.py.

The hostile tokens are signed here with `hmac` alone, so that a fault of PyJWT or of `mint` can't
hide itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from homeport import codes
from msgspec.structs import force_setattr

from gateway.apps.app import change, create_app, with_new_certificate, with_revoked
from gateway.security import tokens
from gateway.security.errors import TokenRefused
from gateway.security.tokens import Identity, Signatures, app_id_of, mint, verify
from tests.gateway.security.tokening import (
    APP,
    CERTIFICATE,
    NOW_S,
    OTHER,
    SIGNED_BY,
    b64,
    refusal,
    sign,
    token,
)


def test_a_good_token_names_its_user() -> None:
    """G8: what the app signed is let in, and says who it is and for how long."""
    good = token()
    digest = hashlib.sha256(good.rpartition(".")[0].encode()).hexdigest()[:32]
    identity = Identity("alice", NOW_S, NOW_S + 3600, SIGNED_BY, digest)
    assert verify(good, APP, NOW_S) == identity
    assert app_id_of(token()) == APP.id


def test_mint_makes_tokens_that_verify() -> None:
    """G8: the command line's tokens are ordinary ones."""
    minted = mint(APP.id, CERTIFICATE, "eu", "bob", NOW_S + 0.9, 60)
    found = verify(minted, APP, NOW_S)
    assert (found.user, found.issued_s, found.expires_s) == ("bob", NOW_S, NOW_S + 60)
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
