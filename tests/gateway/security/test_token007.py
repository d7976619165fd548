"""Tokens of the form 007 at a gateway: gateway/security/token007.py.

They are packed by `tests.gateway.security.tokening`, which knows SPEC.md section 6.5 and nothing
of the gateway.
"""

from __future__ import annotations

import base64
import zlib
from typing import Any

import pytest
from homeport import codes
from hypothesis import given
from hypothesis import strategies as st

from gateway.apps.app import App, change, with_new_certificate, with_revoked
from gateway.security.errors import TokenRefused
from gateway.security.token007 import certificate_of
from gateway.security.tokens import Identity, Purpose, app_id_of, contents, verify
from tests.gateway.security.tokening import (
    APP,
    CERTIFICATE,
    NOW_S,
    OTHER,
    SIGNED_BY,
    Packing,
    derived,
    pack_007,
    refusal,
    token,
)

PACKED = Packing().packed()
KNOWN_CERTIFICATE_007 = "66bf2fe5a2516322bc8ccc78c12378b9"
KNOWN = (
    "007eJxTYLCS/G11y+uE31ruir4tj2rk5m7J5H/xa3XWIdNvySyRk9kVGAyMkw3S0lJTcZEMjSqZLcwMD"
    "ByapoyMDKwMjEAYwcQAZCXmZCanAgBmgx+J"
)
APPS_OWN: dict[str, Any] = {"user": b"", "privileges": ((2, 3600),)}


def test_a_good_token_names_its_user() -> None:
    """[HP-6.5-1], [HP-6.5-3], G8."""
    made = Packing().token()
    found = verify(made, APP, NOW_S)
    assert found == Identity("alice", NOW_S, NOW_S + 3600, SIGNED_BY, found.digest)
    assert app_id_of(made) == APP.id
    assert contents(made) == {
        "form": "007",
        "iss": APP.id,
        "sub": "alice",
        "iat": NOW_S,
        "exp": NOW_S + 3600,
    }


def test_a_known_token_stays_good() -> None:
    """[HP-6.5-1], [HP-6.5-3]: packed once, by hand, so that the encoder of these tests and the
    gateway can't go wrong together."""
    certificate = "00112233445566778899aabbccddeeff" * 2
    assert certificate_of(certificate) == derived(certificate)
    assert certificate_of(certificate) == KNOWN_CERTIFICATE_007
    app = App(
        id="03" + "c0ffee" * 5,
        name="known",
        region="eu",
        tier_name="free",
        account="global",
        salt=bytes(32),
        certificates=(certificate,),
        created_ms=0,
    )
    found = verify(KNOWN, app, 1_764_000_001)
    assert (found.user, found.issued_s, found.expires_s) == ("alice", 1_764_000_000, 1_764_000_600)


def test_certificates_007_go_with_the_apps_certificates() -> None:
    """[HP-6.5-3], HP-6.4-4: both are good, the first no more after a second rotation."""
    once = with_new_certificate(APP)
    twice = with_new_certificate(once)
    made = Packing().token()
    identity = verify(made, once, NOW_S)
    assert identity.signed_by == SIGNED_BY
    assert verify(Packing().token(once.certificates[0]), once, NOW_S).user == "alice"
    assert refusal(made, app=twice) is codes.TOKEN_SIGNATURE
    assert [identity.holds(app) for app in (APP, once, twice)] == [True, True, False]


def test_the_certificate_itself_signs_no_such_token() -> None:
    """[HP-6.5-3]: not its 64 digits, their first 32, nor the bytes that either stands for."""
    packing = Packing()
    for key in (CERTIFICATE, CERTIFICATE[:32], CERTIFICATE[32:]):
        made = pack_007(packing.text(packing.signature(key)) + packing.info())
        assert refusal(made) is codes.TOKEN_SIGNATURE


def test_a_certificate_007_signs_no_jwt() -> None:
    """G8: who has the shorter one, has not the longer one."""
    assert refusal(token(derived(CERTIFICATE))) is codes.TOKEN_SIGNATURE


def test_another_apps_token_is_refused() -> None:
    """[HP-6.5-3], G8: an app can't sign for another."""
    assert refusal(Packing().token(OTHER.certificates[0])) is codes.TOKEN_SIGNATURE
    assert refusal(Packing().token(), app=OTHER) is codes.TOKEN_SIGNATURE
    assert refusal(Packing(app=OTHER.id.encode()).token()) is codes.TOKEN_SIGNATURE


# --- times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lifetime", "allowed", "ends"), [(60, 3600, 60), (3600, 60, 60), (60, 60, 60)]
)
def test_the_smaller_lifetime_counts(lifetime: int, allowed: int, ends: int) -> None:
    """[HP-6.5-4], [HP-6.2-3]: the token's and its privilege's."""
    made = Packing(lifetime=lifetime, privileges=((1, allowed),)).token()
    assert verify(made, APP, NOW_S + ends - 0.001).expires_s == NOW_S + ends
    assert refusal(made, now_s=NOW_S + ends) is codes.TOKEN_EXPIRED


@pytest.mark.parametrize("which", ["lifetime", "privilege"])
def test_a_lifetime_of_nothing_is_over(which: str) -> None:
    """[HP-6.5-4]: elsewhere 0 has meant "for ever"."""
    made = Packing(lifetime=0) if which == "lifetime" else Packing(privileges=((1, 0),))
    assert refusal(made.token()) is codes.TOKEN_EXPIRED


def test_times_are_compared_as_those_of_a_jwt() -> None:
    """[HP-6.5-4], [HP-6.2-4], [HP-6.2-5], HP-6.4-3: 5 s ahead, a day at most, revoked by time."""
    assert verify(Packing(issued=NOW_S + 5).token(), APP, NOW_S).user == "alice"
    assert refusal(Packing(issued=NOW_S + 6).token()) is codes.TOKEN_NOT_YET
    assert refusal(Packing(issued=2**32 - 1).token()) is codes.TOKEN_NOT_YET
    day = 24 * 3600
    assert verify(Packing(lifetime=day, privileges=((1, day),)).token(), APP, NOW_S)
    longer = Packing(lifetime=day + 1, privileges=((1, 2**32 - 1),)).token()
    assert refusal(longer) is codes.TOKEN_LIFETIME
    assert refusal(Packing().token(), change(APP, "max_token_s", 60)) is codes.TOKEN_LIFETIME
    revoked = with_revoked(APP, NOW_S * 1000 + 1)
    assert refusal(Packing().token(), revoked) is codes.TOKEN_REVOKED


# --- what it is for ------------------------------------------------------------------------------


def test_a_token_of_the_app_itself_lets_nobody_connect() -> None:
    """[HP-6.5-5], G8: it names no user, and could name any."""
    made = Packing(**APPS_OWN).token()
    assert refusal(made) is codes.TOKEN_AUDIENCE
    assert verify(made, APP, NOW_S, purpose=Purpose.REST).user == ""
    with pytest.raises(TokenRefused) as caught:
        verify(Packing().token(), APP, NOW_S, purpose=Purpose.REST)
    assert caught.value.code is codes.TOKEN_AUDIENCE


@pytest.mark.parametrize(
    "changes",
    [
        {"privileges": ()},
        {"privileges": ((0, 3600),)},
        {"privileges": ((3, 3600),)},
        {"privileges": ((0x0100, 3600),)},
        {"privileges": ((1, 3600), (2, 3600))},
        {"privileges": ((1, 3600), (1, 3600))},
        {"privileges": ((2, 3600),)},
        {"user": b""},
        {"services": 0},
        {"services": 2},
        {"service": 1},
        {"service": 2},
        {"service": 0x0500},
        {"services": 2, "more": Packing().u16(2) + bytes(4)},
        {"more": b"\0"},
        {"user": b"two words"},
        {"user": "jürgen".encode()},
        {"user": b"u" * 65},
        {"user": b"u" * 900},
        {"user": b"a\0b"},
        {"app": APP.id.upper().encode()},
        {"app": APP.id.encode()[:-1]},
        {"app": APP.id.encode() + b"0"},
        {"app": b""},
        {"app": b"\xff" * 32},
        {"order": "big"},
    ],
    ids=range(26),
)
def test_any_other_form_is_refused_though_it_is_signed(changes: dict[str, Any]) -> None:
    """[HP-6.5-1], G8: other privileges, services, orders of bytes, and whatever follows."""
    bad = Packing(**changes).token()
    expected = {codes.TOKEN_MALFORMED}
    if "app" in changes:  # of a right form, and no app's: then it is another app's
        expected |= {codes.TOKEN_SIGNATURE}
    assert refusal(bad) in expected


def test_a_token_of_a_builder_that_sorts_or_salts_otherwise_is_good() -> None:
    """[HP-6.5-1]: any salt, any compression of zlib."""
    for salt in (0, 1, 99_999_999, 2**32 - 1):
        assert verify(Packing(salt=salt).token(), APP, NOW_S).user == "alice"
    digests = {verify(Packing().token(level=level), APP, NOW_S).digest for level in range(10)}
    assert len({Packing().token(level=level) for level in range(10)}) > 1
    assert len(digests) == 1, "the same token, written in several ways, has several names"


# --- its bytes -----------------------------------------------------------------------------------


def test_each_bit_counts() -> None:
    """[HP-6.5-1], [HP-6.5-3], G8: of the signature and of what it is of."""
    for place in range(len(PACKED) * 8):
        changed = bytearray(PACKED)
        changed[place // 8] ^= 1 << place % 8
        code = refusal(pack_007(bytes(changed)))
        assert code in (codes.TOKEN_SIGNATURE, codes.TOKEN_MALFORMED)


def test_each_length_counts() -> None:
    """[HP-6.5-1]: cut short anywhere, before it is packed and after, or with more behind it."""
    for size in range(len(PACKED)):
        assert refusal(pack_007(PACKED[:size])) is codes.TOKEN_MALFORMED
    good = Packing().token()
    for size in range(3, len(good)):
        assert refusal(good[:size]) is codes.TOKEN_MALFORMED
    for more in ("=", "A", "AAAA", " ", "\n", "."):
        assert refusal(good + more) is codes.TOKEN_MALFORMED
    assert refusal(pack_007(PACKED + b"\0")) is codes.TOKEN_MALFORMED


@given(st.binary(max_size=1500) | st.binary(max_size=200).map(lambda tail: PACKED[:34] + tail))
def test_no_bytes_crash_the_check(data: bytes) -> None:
    """G8: also where they are packed as they should be."""
    with pytest.raises(TokenRefused):
        verify(pack_007(data), APP, NOW_S)
    with pytest.raises(TokenRefused):
        verify(pack_007(data)[: len(data)], APP, NOW_S)


@given(st.text(max_size=300))
def test_no_text_crashes_the_check(text: str) -> None:
    """G8: nor does it name an app."""
    for attempt in (lambda: verify("007" + text, APP, NOW_S), lambda: app_id_of("007" + text)):
        with pytest.raises(TokenRefused) as caught:
            attempt()
        assert caught.value.code is codes.TOKEN_MALFORMED


@given(
    st.builds(
        Packing,
        user=st.text("abcXYZ019._@+-", min_size=1, max_size=64).map(str.encode),
        issued=st.integers(NOW_S - 1800, NOW_S + 5),
        lifetime=st.integers(1801, 86_400),
        salt=st.integers(0, 2**32 - 1),
    ),
    st.integers(1801, 86_400),
)
def test_what_was_packed_is_read(packing: Packing, allowed: int) -> None:
    """[HP-6.5-1], [HP-6.5-4]."""
    packing.privileges = ((1, allowed),)
    found = verify(packing.token(), APP, NOW_S)
    assert found.user == packing.user.decode()
    assert found.issued_s == packing.issued
    assert found.expires_s == packing.issued + min(packing.lifetime, allowed)


def test_a_bomb_is_not_unpacked() -> None:
    """[HP-6.5-2], G9: 3 KiB that would become 3 MiB, before anybody knows who sent them."""
    for data in (bytes(3_000_000), PACKED + bytes(1025 - len(PACKED)), bytes(1025)):
        bomb = pack_007(data, 9)
        assert len(bomb) <= 4096, "it would be too large anyway"
        assert refusal(bomb) is codes.TOKEN_MALFORMED


def test_zlib_that_says_otherwise_is_refused() -> None:
    """[HP-6.5-1]: raw deflate, gzip, a preset dictionary, a wrong checksum, two streams."""

    def text(data: bytes) -> str:
        return "007" + base64.b64encode(data).decode()

    good = zlib.compress(PACKED)
    with_dictionary = zlib.compressobj(zdict=b"alice")
    for bad in (
        good[2:-4],
        zlib.compress(PACKED, wbits=31),
        with_dictionary.compress(PACKED) + with_dictionary.flush(),
        good[:-1] + bytes((good[-1] ^ 1,)),
        good + good,
        good[:-4],
    ):
        assert refusal(text(bad)) is codes.TOKEN_MALFORMED
    assert verify(text(good), APP, NOW_S).user == "alice"
