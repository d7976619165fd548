"""What is no token at all, or one of another form: gateway/security/tokens.py."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from homeport import codes
from hypothesis import given
from hypothesis import strategies as st

from gateway.security.errors import TokenRefused
from gateway.security.tokens import Signatures, app_id_of, verify
from tests.gateway.security.tokening import (
    APP,
    DROP,
    HEADER,
    NOW_S,
    refusal,
    sign,
    token,
)

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
        "eyJhbGciOiJIUzI1NiJ9.!.AA",
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
