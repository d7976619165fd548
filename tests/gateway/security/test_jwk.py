"""Keys as files hold them: gateway/security/jwk.py."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from gateway.apps.app import with_key
from gateway.apps.errors import InvalidKey
from gateway.apps.public_keys import PublicKey
from gateway.security.jwk import read_private, read_public, verifier
from gateway.security.tokens import mint, verify
from tests.gateway.security.tokening import (
    APP,
    ED25519,
    NOW_S,
    P256,
    Private,
    b64,
    public_key,
)

KEYS = pytest.mark.parametrize("key", [P256, ED25519], ids=["P-256", "Ed25519"])


def members(key: Private, *, private: bool = False, **more: Any) -> dict[str, Any]:
    """The JWK of `key`, by RFC 7517."""
    point = public_key(key).point
    jwk: dict[str, Any] = {"kty": "OKP", "crv": "Ed25519", "x": b64(point)}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        jwk = {"kty": "EC", "crv": "P-256", "x": b64(point[:32]), "y": b64(point[32:])}
        secret = key.private_numbers().private_value.to_bytes(32, "big")
    else:
        secret = key.private_bytes_raw()
    return jwk | ({"d": b64(secret)} if private else {}) | more


def text(jwk: dict[str, Any]) -> bytes:
    return json.dumps(jwk).encode()


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def private_pem(key: Any, how: PrivateFormat = PrivateFormat.PKCS8) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, how, NoEncryption())
    return pem


def refused(data: bytes) -> str:
    """Why a file holds no public key; the reason shows nothing of it."""
    with pytest.raises(InvalidKey) as caught:
        read_public(data)
    assert caught.value.__cause__ is None
    return str(caught.value)


@KEYS
def test_a_public_key_is_read(key: Private) -> None:
    """HP-6.1-2: as JWK with a name or without, and as PEM."""
    assert read_public(text(members(key))) == public_key(key)
    assert read_public(text(members(key, kid="2026"))) == public_key(key, "2026")
    assert read_public(public_pem(key)) == public_key(key)
    assert verifier(public_key(key))


@KEYS
def test_what_a_jwk_says_besides_is_ignored(key: Private) -> None:
    """RFC 7517 section 4; HP-6.1-1: no address is asked."""
    more: dict[str, Any] = {
        "x5u": "https://127.0.0.1:1/",
        "jku": "https://127.0.0.1:1/",
        "use": "sig",
        "n": 1,
    }
    said = members(key, **more, key_ops=["verify"], alg=public_key(key).algorithm)
    assert read_public(text(said)) == public_key(key)


@KEYS
def test_a_private_key_is_not_registered(key: Private) -> None:
    """G8: whoever reads Redis' records would sign for any user. The text says what to do."""
    for data in (text(members(key, private=True)), private_pem(key)):
        assert "the private one, which the back end keeps" in refused(data)


@KEYS
def test_a_private_key_is_read(key: Private) -> None:
    """HP-6.1-1: what signs tokens, for trials."""
    for data in (
        text(members(key, private=True, kid="k", key_ops=["sign"])),
        private_pem(key),
    ):
        found = read_private(data)
        assert found.public.point == public_key(key).point
        assert "PrivateKey(public=PublicKey(" in repr(found)
        assert members(key, private=True)["d"] not in repr(found)
    with pytest.raises(InvalidKey, match="signs nothing"):
        read_private(text(members(key)))


def test_an_older_form_of_pem_is_read() -> None:
    """`openssl ecparam -genkey` writes it."""
    assert read_private(private_pem(P256, PrivateFormat.TraditionalOpenSSL)).public.curve == "P-256"


@pytest.mark.parametrize("kind", ["P-256", "Ed25519"])
def test_openssl_makes_keys(tmp_path: Path, kind: str) -> None:
    """As the how-to has it: a private key, and from it the public one."""
    options = {"P-256": ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "Ed25519": ["ed25519"]}
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    make = ["openssl", "genpkey", "-quiet", "-algorithm", *options[kind], "-out", str(private)]
    if (
        "-quiet"
        not in subprocess.run(
            ["openssl", "genpkey", "-help"], capture_output=True, text=True, check=False
        ).stderr
    ):
        make.remove("-quiet")
    subprocess.run(make, check=True, capture_output=True)
    halve = ["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(public)]
    subprocess.run(halve, check=True, capture_output=True)
    assert read_private(private.read_bytes()).public == read_public(public.read_bytes())


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"key_ops": []},
        {"alg": "HS256"},
        {"alg": "none"},
        {"alg": "ES384"},
        {"use": 1},
        {"kid": 1},
        {"kid": "k" * 129},
        {"kid": "two\nlines"},
        {"x": 1},
        {"x": ""},
        {"x": b64(bytes(31))},
        {"x": "é"},
        {"crv": "P-384"},
        {"crv": "X25519"},
        {"crv": "secp256k1"},
        {"crv": None},
        {"kty": "oct", "k": b64(b"s" * 32)},
        {"kty": "RSA"},
        {"kty": None},
        {"kty": ["EC"]},
    ],
    ids=str,
)
@KEYS
def test_a_jwk_that_is_for_something_else_is_refused(key: Private, changes: dict[str, Any]) -> None:
    """G8, HP-6.1-2: another use, algorithm, curve or form."""
    assert "the key must" in refused(text(members(key, **changes)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"{}",
        b"[" * 5000,
        b"\xff\xfe",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN ",
        b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJ0 somebody",
        b'{"keys":[]}',
        b'{"kty":"EC","crv":"P-256"}',
        b'{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}',
    ],
    ids=lambda data: data[:20],
)
def test_what_is_no_key_is_refused(data: bytes) -> None:
    """G8: with one clear line."""
    assert refused(data) == "the key must be a JWK (RFC 7517) or PEM, of the curve P-256 or Ed25519"


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        ed448.Ed448PrivateKey.generate(),
        x25519.X25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
        dsa.generate_private_key(2048),
    ],
    ids=lambda key: type(key).__name__,
)
def test_keys_of_other_kinds_are_refused(key: Any) -> None:
    """HP-6.1-2: P-256 and Ed25519 only."""
    refused(public_pem(key))
    with pytest.raises(InvalidKey):
        read_private(private_pem(key))


def test_a_key_with_a_password_is_refused() -> None:
    """There is nobody to type it."""
    locked = P256.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
    )
    with pytest.raises(InvalidKey):
        read_private(locked)


def test_a_point_off_its_curve_is_refused() -> None:
    """G8: such a key is an attack on whoever uses it."""
    x, y = public_key(P256).point[:32], bytearray(public_key(P256).point[32:])
    y[31] ^= 1
    jwk = {"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(bytes(y))}
    refused(text(jwk))
    with pytest.raises(InvalidKey):
        verifier(PublicKey("P-256", x + bytes(y)))


@pytest.mark.parametrize("sign", [0, 0x80])
@pytest.mark.parametrize(
    "start",
    [
        bytes(32),
        b"\1" + bytes(31),
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        b"\xec" + b"\xff" * 30 + b"\x7f",
        b"\xed" + b"\xff" * 30 + b"\x7f",
        b"\xee" + b"\xff" * 30 + b"\x7f",
    ],
    ids=lambda start: start[:2].hex(),
)
def test_a_key_that_anybody_can_sign_for_is_refused(start: bytes, sign: int) -> None:
    """G8: with a buffer of zeros for a key, one signature in four would be good for any text."""
    x = start[:-1] + bytes((start[-1] | sign,))
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(x)}
    assert "anybody can sign" in refused(text(jwk)) or "JWK" in refused(text(jwk))


@given(st.binary(max_size=300))
def test_no_file_crashes_the_reader(data: bytes) -> None:
    """G8: nor does a signature of the library come through to a person."""
    for whole in (data, b"-----BEGIN PUBLIC KEY-----" + data):
        with pytest.raises(InvalidKey):
            read_public(whole)


@given(
    st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "d", "kid", "alg", "use", "key_ops", "n", "e"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=50)
        | st.sampled_from(["EC", "OKP", "RSA", "oct", "P-256", "Ed25519", b64(bytes(32))]),
    )
)
def test_no_object_crashes_the_reader(jwk: dict[str, Any]) -> None:
    """G8."""
    with pytest.raises(InvalidKey):
        read_public(text(jwk))


@KEYS
def test_what_is_minted_with_a_key_verifies(key: Private) -> None:
    """HP-6.1-2: for trials on the command line."""
    signing = read_private(text(members(key, private=True, kid="2026")))
    app = with_key(APP, signing.public)
    made = mint(app.id, signing, "eu", "bob", NOW_S, 60)
    found = verify(made, app, NOW_S)
    assert (found.user, found.signed_by) == ("bob", public_key(key).id)
