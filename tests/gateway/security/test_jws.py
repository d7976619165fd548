"""Which of an app's keys signed a JWT: gateway/security/jws.py."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from homeport import codes
from hypothesis import given
from hypothesis import strategies as st

from gateway.apps.app import App, with_key, without_key
from gateway.security.errors import TokenRefused
from gateway.security.tokens import Signatures, verify
from tests.gateway.security.tokening import (
    APP,
    CERTIFICATE,
    ED25519,
    KEYED,
    NOW_S,
    OTHER,
    P256,
    Private,
    algorithm_of,
    b64,
    claims_of,
    public_key,
    refusal,
    sign,
    token,
)

KEYS = pytest.mark.parametrize("key", [P256, ED25519], ids=["ES256", "EdDSA"])


def fresh(like: Private) -> Private:
    """Another key of the same curve."""
    if isinstance(like, ed25519.Ed25519PrivateKey):
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


@KEYS
def test_a_registered_key_lets_users_in(key: Private) -> None:
    """[HP-6.1-2], G8: its back end keeps the only secret, and the region could not sign for it."""
    found = verify(token(key), KEYED, NOW_S)
    assert (found.user, found.expires_s) == ("alice", NOW_S + 3600)
    assert found.signed_by == public_key(key).id
    assert verify(token(), KEYED, NOW_S).user == "alice"  # and so does the certificate still


@KEYS
def test_a_standard_library_signs_with_it(key: Private) -> None:
    """[HP-6.1-1]: an app's back end needs no code of ours."""
    made = jwt.encode(claims_of(), key, algorithm_of(key), headers={"kid": "2026"})
    assert verify(made, KEYED, NOW_S).user == "alice"


@KEYS
def test_a_key_that_is_not_the_apps_opens_nothing(key: Private) -> None:
    """[HP-6.1-2], G8: not before it is registered, nor after it was removed, nor in another app."""
    good = token(key)
    assert refusal(good, app=APP) is codes.TOKEN_SIGNATURE
    assert refusal(good, app=without_key(KEYED, public_key(key).id)) is codes.TOKEN_SIGNATURE
    assert refusal(token(fresh(key)), app=KEYED) is codes.TOKEN_SIGNATURE
    other = with_key(OTHER, public_key(fresh(key)))
    assert refusal(token(key, iss=OTHER.id), app=other) is codes.TOKEN_SIGNATURE


@KEYS
def test_an_app_cannot_sign_for_another_with_its_key(key: Private) -> None:
    """G8: two apps of one owner may register the same key; a token is for the app that it names."""
    other = with_key(OTHER, public_key(key))
    assert refusal(token(key), app=other) is codes.TOKEN_SIGNATURE


@KEYS
def test_an_identity_goes_with_its_key(key: Private) -> None:
    """HP-6.4-4: with the one that signed, and with no other."""
    found = verify(token(key), KEYED, NOW_S)
    assert found.holds(KEYED)
    assert not found.holds(APP)
    assert not found.holds(without_key(KEYED, public_key(key).id))
    kept = P256 if key is ED25519 else ED25519
    assert found.holds(without_key(KEYED, public_key(kept).id))


@KEYS
def test_a_remembered_signature_goes_with_its_key(key: Private) -> None:
    """G8: what is remembered counts for the keys that the app has, and no longer."""
    signatures = Signatures()
    verify(token(key), KEYED, NOW_S, signatures)
    without = without_key(KEYED, public_key(key).id)
    with pytest.raises(TokenRefused) as caught:
        verify(token(key), without, NOW_S, signatures)
    assert caught.value.code is codes.TOKEN_SIGNATURE


# --- the algorithm belongs to the key ------------------------------------------------------------


def encodings(key: Private) -> list[bytes]:
    """The ways in which an attacker may write a public key that anybody can know."""
    public, forms = key.public_key(), serialization.PublicFormat
    pem = public.public_bytes(serialization.Encoding.PEM, forms.SubjectPublicKeyInfo)
    der = public.public_bytes(serialization.Encoding.DER, forms.SubjectPublicKeyInfo)
    point = public_key(key).point
    return [pem, pem.strip(), der, point, b"\4" + point, point.hex().encode(), b64(point).encode()]


@KEYS
def test_a_public_key_is_no_hmac_secret(key: Private) -> None:
    """[HP-6.1-2], G8: HS256 with the public key's bytes, in any form, is the oldest trick."""
    text = token().rpartition(".")[0]
    for secret in encodings(key):
        forged = f"{text}.{b64(hmac.digest(secret, text.encode(), 'sha256'))}"
        assert refusal(forged, app=KEYED) is codes.TOKEN_SIGNATURE


@KEYS
@pytest.mark.parametrize("said", ["HS256", "ES256", "EdDSA"])
def test_a_signature_counts_by_its_keys_algorithm_only(key: Private, said: str) -> None:
    """[HP-6.1-2]: whatever word stands over it."""
    if said != algorithm_of(key):
        assert refusal(token(key, {"alg": said}), app=KEYED) is codes.TOKEN_SIGNATURE
    if said != "HS256":
        assert refusal(token(header={"alg": said}), app=KEYED) is codes.TOKEN_SIGNATURE


@pytest.mark.parametrize("said", ["none", "None", "", "ES384", "ES512", "ES256K", "PS256", "RS256"])
@KEYS
def test_other_algorithms_are_refused(key: Private, said: str) -> None:
    """[HP-6.1-1]: `none` and those of other curves and keys, signed or not."""
    bad = token(key, {"alg": said})
    assert refusal(bad, app=KEYED) is codes.TOKEN_ALGORITHM
    assert refusal(bad.rpartition(".")[0] + ".", app=KEYED) is codes.TOKEN_ALGORITHM


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP256K1(), ec.SECP521R1()])
def test_a_key_of_another_curve_opens_nothing(curve: ec.EllipticCurve) -> None:
    """[HP-6.1-2], G8: also where it says ES256."""
    bad = token(ec.generate_private_key(curve), {"alg": "ES256"})
    assert refusal(bad, app=KEYED) is codes.TOKEN_SIGNATURE


def test_eddsa_of_another_curve_opens_nothing() -> None:
    """[HP-6.1-2]: EdDSA is the word for Ed448 as well."""
    claims = claims_of()
    made = jwt.encode(claims, ed448.Ed448PrivateKey.generate(), "EdDSA")
    assert refusal(made, app=KEYED) is codes.TOKEN_SIGNATURE


@KEYS
def test_each_bit_of_a_signature_counts(key: Private) -> None:
    """[HP-6.1-2], G8; and a signature cut short, or longer, is none."""
    head, _, text = token(key).rpartition(".")
    signature = base64.urlsafe_b64decode(text + "==")
    for place in range(0, len(signature) * 8, 7):
        changed = bytearray(signature)
        changed[place // 8] ^= 1 << place % 8
        assert refusal(f"{head}.{b64(bytes(changed))}", app=KEYED) is codes.TOKEN_SIGNATURE
    others = (b"", signature[:-1], signature + b"\0", signature[:32], bytes(64), b"\xff" * 64)
    for other in others:
        assert refusal(f"{head}.{b64(other)}", app=KEYED) is codes.TOKEN_SIGNATURE


def test_a_signature_in_der_is_refused() -> None:
    """[HP-6.1-1] (RFC 7518 section 3.4): ES256 is r and s, of 32 bytes each."""
    head = token(P256).rpartition(".")[0]
    der = P256.sign(head.encode(), ec.ECDSA(hashes.SHA256()))
    assert refusal(f"{head}.{b64(der)}", app=KEYED) is codes.TOKEN_SIGNATURE


def test_the_other_signature_of_a_token_is_the_same_token() -> None:
    """G8: who has a token by ES256 can write it with another s. Its digest, by which one token is
    revoked, stays."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    made = token(P256)
    head, _, text = made.rpartition(".")
    signature = base64.urlsafe_b64decode(text + "==")
    s = order - int.from_bytes(signature[32:], "big")
    twin = f"{head}.{b64(signature[:32] + s.to_bytes(32, 'big'))}"
    assert twin != made
    assert verify(twin, KEYED, NOW_S) == verify(made, KEYED, NOW_S)


@pytest.mark.parametrize("key", [CERTIFICATE, P256, ED25519], ids=["HS256", "ES256", "EdDSA"])
def test_a_signature_is_written_in_one_way(key: str | Private) -> None:
    """RFC 7515 section 2: no padding, no other characters, and the bits that are left over are 0.
    Otherwise who has one token could fill the memory of signatures with it."""
    good = token(key)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    left_over = good[:-1] + letters[letters.index(good[-1]) + 1]
    for bad in (left_over, good + "=", good + "==", good + "!", good[:-2] + "\n" + good[-2:]):
        assert refusal(bad, app=KEYED) is codes.TOKEN_MALFORMED


# --- what else a header says ---------------------------------------------------------------------


@KEYS
@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "x5t", "jwks"])
def test_a_key_in_the_header_is_never_used(key: Private, name: str) -> None:
    """[HP-6.1-1], G8: an attacker's own key is ignored, and so is a harmless one."""
    attacker = fresh(key)
    point = public_key(attacker).point
    members = {"kty": "OKP", "crv": "Ed25519", "x": b64(point)}
    if isinstance(attacker, ec.EllipticCurvePrivateKey):
        members = {"kty": "EC", "crv": "P-256", "x": b64(point[:32]), "y": b64(point[32:])}
    values: dict[str, Any] = {"jwk": members, "jwks": {"keys": [members]}, "x5c": ["MIIB"]}
    header = {name: values.get(name, "https://127.0.0.1:1/keys")}
    assert refusal(token(attacker, header), app=KEYED) is codes.TOKEN_SIGNATURE
    assert verify(token(key, header), KEYED, NOW_S).user == "alice"


@KEYS
def test_a_kid_chooses_among_the_apps_keys_only(key: Private) -> None:
    """[HP-6.1-4]: a name that the key was given must fit; one that it was not given need not."""
    second = fresh(key)
    app = with_key(with_key(APP, public_key(key, "2025")), public_key(second, "2026"))
    for signing, kid, good in (
        (key, None, True),
        (second, None, True),
        (key, "2025", True),
        (second, "2026", True),
        (key, "2026", False),
        (second, "2025", False),
        (key, "2027", False),
    ):
        made = token(signing, {} if kid is None else {"kid": kid})
        if good:
            assert verify(made, app, NOW_S).signed_by == public_key(signing).id
        else:
            assert refusal(made, app=app) is codes.TOKEN_SIGNATURE
    nameless = with_key(APP, public_key(key))
    assert verify(token(key, {"kid": "whatever"}), nameless, NOW_S).user == "alice"
    assert verify(token(header={"kid": "2026"}), app, NOW_S).user == "alice"  # certificates


@KEYS
@pytest.mark.parametrize(
    "kid",
    ["../../../etc/passwd", "' OR '1'='1", "http://127.0.0.1:1/", "\0", "x" * 2000, "2025\n"],
)
def test_a_kid_is_a_word_to_compare_and_no_more(key: Private, kid: str) -> None:
    """[HP-6.1-4], G8: no path, query or address; an attacker's key stays an attacker's."""
    named = with_key(APP, public_key(key, "2025"))
    for app in (named, KEYED):
        assert refusal(token(fresh(key), {"kid": kid}), app=app) is codes.TOKEN_SIGNATURE


@KEYS
@pytest.mark.parametrize("kid", [1, None, ["2025"], {"2025": 1}, True])
def test_a_kid_that_is_no_text_is_refused(key: Private, kid: object) -> None:
    """[HP-6.1-4] (RFC 7515 section 4.1.4)."""
    named = with_key(APP, public_key(key, "2025"))
    for app in (named, KEYED):
        code = refusal(token(key, {"kid": kid}), app=app)
        assert code in (codes.TOKEN_MALFORMED, codes.TOKEN_SIGNATURE)


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"none","alg":"HS256"}',
        b'{"alg":"HS256","alg":"none"}',
        b'{"alg":"HS256","alg":"HS256"}',
        b'{"alg":"HS256","kid":"a","kid":"b"}',
        b'{"alg":"HS256","x":{"y":1,"y":2}}',
        b'{"alg":"HS256","\\u0061lg":"ES256"}',
    ],
)
def test_a_header_that_says_a_thing_twice_is_refused(header: bytes) -> None:
    """[HP-6.1-5]: two readers may each take another of the two."""
    payload = json.dumps(claims_of()).encode()
    assert refusal(sign(header, payload), app=KEYED) is codes.TOKEN_MALFORMED


def mutated(data: st.DataObject, text: str) -> str:
    """`text` with a few characters changed, taken out or put in."""
    chars = list(text)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(chars) - 1))
        new = data.draw(st.sampled_from(["", *"AZaz09-_.=+/ \n\0é"]))
        chars[place] = new if data.draw(st.booleans()) else chars[place] + new
    return "".join(chars)


@given(st.data(), st.sampled_from([CERTIFICATE, P256, ED25519]))
def test_a_changed_token_never_names_another(data: st.DataObject, key: str | Private) -> None:
    """G8: it is refused, or it is the same token written another way."""
    good = token(key)
    expected = verify(good, KEYED, NOW_S)
    changed = mutated(data, good)
    try:
        found = verify(changed, KEYED, NOW_S)
    except TokenRefused:
        return
    assert found == expected


@given(st.text(max_size=300), st.sampled_from([APP, KEYED]))
def test_no_text_crashes_the_check(text: str, app: App) -> None:
    """G8: whatever comes over the wire, the answer is a refusal with a code."""
    for head in ("", b64(b'{"alg":"ES256"}') + ".", b64(b'{"alg":"EdDSA"}') + "."):
        with pytest.raises(TokenRefused):
            verify(head + text, app, NOW_S)
