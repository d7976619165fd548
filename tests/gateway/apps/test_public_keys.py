"""Mirrors gateway/apps/public_keys.py."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from gateway.apps.app import App, create_app, from_bytes, to_bytes, with_key, without_key
from gateway.apps.errors import AppError, InvalidKey, UnknownKey
from gateway.apps.public_keys import PublicKey

APP = create_app("chat", "eu", "pro", "global", 0)
ONE, TWO = PublicKey("P-256", b"1" * 64, "one"), PublicKey("Ed25519", b"2" * 32)


def point(*texts: str) -> bytes:
    return b"".join(base64.urlsafe_b64decode(text + "=") for text in texts)


def test_an_id_is_the_standards_thumbprint() -> None:
    """RFC 8037 appendix A.3 has an example for Ed25519; the other was made by its rules."""
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert PublicKey("Ed25519", point(x)).id == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
    y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
    assert PublicKey("P-256", point(x, y)).id == "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"
    assert ONE.id == PublicKey("P-256", ONE.point, "another").id


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        (("P-384", b"1" * 96), "curves P-256 and Ed25519"),
        (("", b""), "curves P-256 and Ed25519"),
        (("P-256", b"1" * 65), "64 bytes"),
        (("Ed25519", b"1" * 64), "32 bytes"),
        (("Ed25519", b"1" * 32, "k" * 129), "128 printable"),
        (("Ed25519", b"1" * 32, "two\nlines"), "128 printable"),
    ],
)
def test_a_wrong_form_is_refused(fields: tuple[Any, ...], rule: str) -> None:
    """G8: a key's form is right before an app has it."""
    with pytest.raises(InvalidKey, match=rule):
        PublicKey(*fields)


def test_an_app_has_two_at_most() -> None:
    """HP-6.1-2: one follows the other, and a third must wait. The certificates stay as they are."""
    app = with_key(with_key(APP, ONE), TWO)
    assert app.keys == (ONE, TWO)
    assert app.certificates == APP.certificates
    with pytest.raises(InvalidKey, match="remove-key"):
        with_key(app, PublicKey("Ed25519", b"3" * 32))
    assert without_key(app, "one").keys == (TWO,)
    assert without_key(app, TWO.id).keys == (ONE,)
    assert without_key(without_key(app, ONE.id), TWO.id) == APP


def test_the_same_key_again_changes_nothing() -> None:
    """An operator whose answer was lost repeats the command."""
    assert with_key(with_key(APP, ONE), ONE) == with_key(APP, ONE)


@pytest.mark.parametrize(
    ("other", "rule"),
    [
        (PublicKey("P-256", ONE.point), "differ from"),
        (PublicKey("P-256", ONE.point, "two"), "differ from"),
        (PublicKey("Ed25519", b"2" * 32, "one"), "another `kid`"),
    ],
)
def test_two_keys_are_told_apart(other: PublicKey, rule: str) -> None:
    """HP-6.1-4: by what they are, and by the `kid` that they have."""
    with pytest.raises(InvalidKey, match=rule):
        with_key(with_key(APP, ONE), other)


@pytest.mark.parametrize("name", ["", "two", ONE.id[:-1], ONE.id.lower()])
def test_a_key_that_is_not_there_is_not_removed(name: str) -> None:
    """G8: a typo must not look like success; the key without a `kid` is not called ""."""
    app = with_key(with_key(APP, ONE), TWO)
    with pytest.raises(UnknownKey, match=f"homeport app keys {APP.id}"):
        without_key(app, name)


def test_keys_are_stored_with_the_app() -> None:
    """G8. An app without keys is stored as before there were any."""
    app = with_key(with_key(APP, ONE), TWO)
    assert from_bytes(to_bytes(app)) == app
    assert "keys" not in msgspec.msgpack.decode(to_bytes(APP))


@pytest.mark.parametrize(
    "keys",
    [
        [{"curve": "P-256", "point": b"short"}],
        [{"curve": "P-521", "point": b"1" * 132}],
        [{"curve": "Ed25519", "point": b"1" * 32, "extra": 1}],
        [{"curve": "Ed25519", "point": bytes((n,)) * 32} for n in range(3)],
        [{"curve": "Ed25519", "point": b"1" * 32}] * 2,
    ],
)
def test_a_damaged_record_is_no_app(keys: list[dict[str, Any]]) -> None:
    """G8: what no command could have stored is not read."""
    record = msgspec.msgpack.decode(to_bytes(APP)) | {"keys": keys}
    with pytest.raises(AppError):
        from_bytes(msgspec.msgpack.encode(record))


def test_an_app_shows_its_public_keys_and_no_secret() -> None:
    """G8."""
    app: App = with_key(APP, ONE)
    assert "kid='one'" in repr(app)
    assert app.certificates[0] not in repr(app)
