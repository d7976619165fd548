"""Mirrors gateway/security/sealing.py."""

from __future__ import annotations

import hmac
import struct
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from homeport.limits import MAX_RECEIPT_ROWS
from hypothesis import given
from hypothesis import strategies as st

from gateway.apps.tiers import TIERS
from gateway.chat import prices
from gateway.security.keyring import Keyring
from gateway.security.sealing import (
    CACHED_KEYS,
    OVERHEAD,
    Kind,
    Owner,
    Sealer,
    SealError,
    Tampered,
    UnknownKeyVersion,
)
from tests.inside import cached_keys

HOUR_MS = 3_600_000
NOW_MS = 1_764_000_000_000
KEYS = {1: bytes(range(32)), 2: bytes(range(32, 64))}
SEALER = Sealer(Keyring("eu", {2: 0}, KEYS))
PLACE: dict[str, Any] = {
    "owner": Owner("03" + "ab" * 15, b"s" * 32),
    "kind": Kind.MESSAGE,
    "conversation": "d:alice:bob",
    "message_id": b"m" * 16,
}


def seal(plain: bytes = b"hello", now_ms: int = NOW_MS, **changes: Any) -> bytes:
    return SEALER.seal(**(PLACE | changes), plain=plain, now_ms=now_ms)


@given(
    plain=st.binary(max_size=2000),
    app_id=st.text(max_size=40),
    salt=st.binary(max_size=64),
    kind=st.sampled_from(Kind),
    conversation=st.text(max_size=200),
    message_id=st.binary(max_size=16),
    now_ms=st.integers(0, 2**24 * HOUR_MS - 1),
)
def test_what_is_sealed_opens_in_its_place(
    plain: bytes,
    app_id: str,
    salt: bytes,
    kind: Kind,
    conversation: str,
    message_id: bytes,
    now_ms: int,
) -> None:
    """G7: a round trip of anything, at any place, in any hour the header can name."""
    place = (Owner(app_id, salt), kind, conversation, message_id)
    sealed = SEALER.seal(*place, plain, now_ms)
    assert SEALER.open(*place, sealed) == plain
    assert len(sealed) == len(plain) + OVERHEAD


def test_the_store_sees_nothing_of_the_text() -> None:
    """G7: not even that two messages are the same."""
    secret = b"meet me at noon" * 4
    first, second = seal(secret), seal(secret)
    assert first != second
    assert not any(secret[i : i + 4] in first[17:] for i in range(len(secret) - 3))


@pytest.mark.parametrize(
    ("argument", "other"),
    [
        ("owner", Owner("03" + "cd" * 15, b"s" * 32)),
        ("owner", Owner("03" + "ab" * 15, b"t" * 32)),
        ("owner", Owner("03" + "ab" * 15)),
        ("kind", Kind.APP),
        ("conversation", "d:alice:carol"),
        ("conversation", ""),
        ("message_id", b"n" * 16),
        ("message_id", b""),
    ],
)
def test_a_value_does_not_open_at_another_place(argument: str, other: Any) -> None:
    """G6, G7: whoever can write to the store can't move a message to where it was not sent."""
    sealed = seal()
    with pytest.raises(Tampered):
        SEALER.open(**(PLACE | {argument: other}), sealed=sealed)
    elsewhere = seal(**{argument: other})
    with pytest.raises(Tampered):
        SEALER.open(**PLACE, sealed=elsewhere)


def test_a_value_does_not_open_in_another_region() -> None:
    """G6: a record copied across can't be opened, even by a gateway with the very same keys."""
    with pytest.raises(Tampered):
        Sealer(Keyring("sg", {2: 0}, KEYS)).open(**PLACE, sealed=seal())


def test_a_value_does_not_open_with_other_keys() -> None:
    """G6, G7: the same version number of another keyring is another key."""
    other = Keyring("eu", {2: 0}, {1: KEYS[2], 2: KEYS[1]})
    with pytest.raises(Tampered):
        Sealer(other).open(**PLACE, sealed=seal())


def test_one_argument_cannot_lend_bytes_to_the_next() -> None:
    """G7: the additional data is unambiguous: moving bytes across a border is a change."""
    sealed = seal(conversation="ab", message_id=b"c")
    for conversation, message_id in (("a", b"bc"), ("abc", b""), ("", b"abc")):
        with pytest.raises(Tampered):
            moved = PLACE | {"conversation": conversation, "message_id": message_id}
            SEALER.open(**moved, sealed=sealed)
    sealed = seal(owner=Owner("ab", b"s" * 32), conversation="c")
    for app_id, conversation in (("a", "bc"), ("abc", ""), ("", "abc")):
        with pytest.raises(Tampered):
            moved = PLACE | {"owner": Owner(app_id, b"s" * 32), "conversation": conversation}
            SEALER.open(**moved, sealed=sealed)


def test_every_bit_counts() -> None:
    """G7: format, key version, hour, nonce, text and tag: no flipped bit goes unseen."""
    sealed = seal()
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealError) as caught:
            SEALER.open(**PLACE, sealed=bytes(changed))
        version = struct.unpack_from(">H", changed, 1)[0]
        expected = Tampered if changed[0] != 1 or version in KEYS else UnknownKeyVersion
        assert type(caught.value) is expected


def test_a_swapped_hour_or_version_does_not_open() -> None:
    """G7: a header that names another key that we do have is found out."""
    sealed = seal()
    earlier = seal(now_ms=NOW_MS - HOUR_MS)
    assert SEALER.open(**PLACE, sealed=earlier) == b"hello"
    assert sealed[3:6] != earlier[3:6]
    with pytest.raises(Tampered):
        SEALER.open(**PLACE, sealed=sealed[:3] + earlier[3:6] + sealed[6:])
    with pytest.raises(Tampered):
        SEALER.open(**PLACE, sealed=sealed[:1] + b"\0\1" + sealed[3:])


@pytest.mark.parametrize("size", [0, 1, 5, 17, OVERHEAD - 1])
def test_a_value_cut_short_is_tampered_with(size: int) -> None:
    """G7: no length crashes the gateway."""
    with pytest.raises(Tampered):
        SEALER.open(**PLACE, sealed=seal()[:size])
    with pytest.raises(Tampered):
        SEALER.open(**PLACE, sealed=seal() + b"\0")


def test_an_unknown_key_version_is_not_called_tampering() -> None:
    """G7: an operator who forgot to copy the keyring is told that, and which version lacks."""
    sealed = seal()
    with pytest.raises(UnknownKeyVersion, match="key version 2") as caught:
        Sealer(Keyring("eu", {1: 0}, {1: KEYS[1]})).open(**PLACE, sealed=sealed)
    assert caught.value.version == 2
    assert not isinstance(caught.value, Tampered)


def test_a_version_that_is_met_first_is_looked_for() -> None:
    """G1: the key file may have it by now; then the value opens, and nothing is looked for more."""
    sealer, looked = Sealer(Keyring("eu", {1: 0}, {1: KEYS[1]})), []

    def look(found: Keyring | None) -> None:
        looked.append(found)
        if found is not None:
            sealer.adopt(found)

    sealer.on_unknown = lambda: look(None)
    with pytest.raises(UnknownKeyVersion):
        sealer.open(**PLACE, sealed=seal())
    sealer.on_unknown = lambda: look(Keyring("eu", {1: 0}, KEYS))
    assert sealer.open(**PLACE, sealed=seal()) == b"hello"
    assert sealer.open(**PLACE, sealed=seal()) == b"hello"
    assert len(looked) == 2
    assert sealer.seal(**PLACE, plain=b"", now_ms=NOW_MS)[1:3] == b"\0\1"  # it only reads with it


def test_what_an_unproven_key_does_not_open_is_not_called_tampering() -> None:
    """G5: other gateways may have another key of that version. To say that the message was changed
    would tell the client that it is lost, while it waits for the right key file."""
    sealer = Sealer(Keyring("eu", {1: 0}, {1: KEYS[1], 2: KEYS[1]}))
    sealer.unproven = frozenset({2})
    with pytest.raises(UnknownKeyVersion):
        sealer.open(**PLACE, sealed=seal())
    sealer.adopt(Keyring("eu", {1: 0}, KEYS))  # the wrong key's cipher is not kept
    assert sealer.open(**PLACE, sealed=seal()) == b"hello"
    sealer.unproven = frozenset()
    with pytest.raises(Tampered):
        sealer.open(**(PLACE | {"message_id": b""}), sealed=seal())


def test_another_format_is_not_read_as_this_one() -> None:
    """G7: what stands where a key version would is not one; the operator lacks no key."""
    with pytest.raises(Tampered):
        SEALER.open(**PLACE, sealed=b"\2\xff\xff" + seal()[3:])


def test_errors_show_nothing_of_the_place() -> None:
    """G7: user ids stand in the conversation, and must not get into a log."""
    with pytest.raises(Tampered) as caught:
        SEALER.open(**(PLACE | {"message_id": b""}), sealed=seal())
    assert "alice" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_nonces_do_not_repeat() -> None:
    """G7: a repeated nonce under one key would give the texts away (SP 800-38D section 8)."""
    nonces = {seal(b"")[6:18] for _ in range(20_000)}
    assert len(nonces) == 20_000
    for place in range(12):  # no byte of it stands still, as it would in a counter
        assert len({nonce[place] for nonce in nonces}) == 256


def documented_key(salt: bytes, hour: int) -> bytes:
    """The key of an app and an hour, by the module's text alone (HKDF, RFC 5869)."""
    extracted = hmac.digest(salt, KEYS[2], "sha256")
    info = b"homeport seal v1\0" + hour.to_bytes(3, "big")
    return hmac.digest(extracted, info + b"\1", "sha256")


def documented_bound(sealed: bytes) -> Any:
    """The additional data of what `seal` made, likewise."""
    app, conversation = PLACE["owner"].id.encode(), PLACE["conversation"].encode()
    return (
        bytes(sealed[:6])
        + b"\1"
        + b"\0\2eu"
        + b"\0\x20"
        + app
        + b"\0\x0b"
        + conversation
        + b"m" * 16
    )


def test_each_app_and_hour_has_its_own_key() -> None:
    """G7: the key is bound to salt and hour by HKDF, not only by the additional data."""
    places = [(salt, hour) for salt in (b"s" * 32, b"t" * 32) for hour in (1, 2)]
    for salt, hour in places:
        place = PLACE | {"owner": PLACE["owner"]._replace(salt=salt)}
        sealed = SEALER.seal(**place, plain=b"same", now_ms=hour * HOUR_MS)
        for other in places:
            cipher = AESGCM(documented_key(*other))
            if other == (salt, hour):
                assert (
                    cipher.decrypt(sealed[6:18], sealed[18:], documented_bound(sealed)) == b"same"
                )
            else:
                with pytest.raises(InvalidTag):
                    cipher.decrypt(sealed[6:18], sealed[18:], documented_bound(sealed))


def test_the_form_is_the_documented_one() -> None:
    """G7: opened here by the module's text alone, so that a later release still opens it."""
    sealed = seal(b"hello")
    form, version, hour, nonce = struct.unpack_from(">BH3s12s", sealed)
    assert (form, version, int.from_bytes(hour, "big")) == (1, 2, NOW_MS // HOUR_MS)
    key = documented_key(b"s" * 32, NOW_MS // HOUR_MS)
    assert AESGCM(key).decrypt(nonce, sealed[18:], documented_bound(sealed)) == b"hello"


def test_the_cache_is_bounded() -> None:
    """G9: hostile or many headers can't fill the memory with keys."""
    sealer = Sealer(Keyring("eu", {2: 0}, KEYS))
    for hour in range(5000):
        sealer.seal(**PLACE, plain=b"", now_ms=hour * HOUR_MS)
    assert cached_keys(sealer) == CACHED_KEYS


def test_no_key_seals_more_than_its_nonces_allow() -> None:
    """G7: random nonces are good for 2^32 seals of a key (NIST SP 800-38D, 8.3). A key of a whole
    day sealed 8.6 thousand million messages at the highest rate, twice that."""
    gateways = 100  # each may give a burst of its own (HP-17.2-2)
    # What makes the most seals for its price is a mark that a hundred others are told of.
    price = prices.CHANGE + prices.told(MAX_RECEIPT_ROWS)
    for tier in TIERS.values():
        tokens = tier.app.per_s * 3600 + tier.app.burst * gateways
        assert tokens * (MAX_RECEIPT_ROWS + 1) / price < 2**32
    assert seal(now_ms=HOUR_MS - 1)[3:6] != seal(now_ms=HOUR_MS)[3:6], "an hour, and no longer"
