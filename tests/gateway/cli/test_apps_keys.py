"""`homeport app add-key`, `remove-key` and `keys`, and `homeport token --key`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.security.jws import fingerprint
from tests.gateway.cli.conftest import Region, run
from tests.gateway.security.tokening import ED25519, P256, Private, b64, public_key

KEYS = pytest.mark.parametrize("key", [P256, ED25519], ids=["ES256", "EdDSA"])


def public_pem(key: Private) -> str:
    whole = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return whole.decode()


def private_pem(key: Private) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def keys(region: Region, app: str) -> list[dict[str, Any]]:
    lines = region.run("app", "keys", app, "--json").out.splitlines()
    return [json.loads(line) for line in lines]


@KEYS
def test_a_key_is_added_used_and_removed(region: Region, tmp_path: Path, key: Private) -> None:
    """HP-6.1-2: as an operator would. What is listed holds no secret."""
    app, mine = region.create(), public_key(key)
    private = write(tmp_path, "private.pem", private_pem(key))
    public = write(tmp_path, "public.pem", public_pem(key))

    made = region.run("token", "new", "--user", "alice", "--app", app["id"], "--key", private)
    token = made.out.strip()
    before = region.run("token", "check", token)
    assert (before.code, "signature" in before.err) == (1, True)

    assert region.run("app", "add-key", app["id"], public).code == 0
    own = {"id": fingerprint(app["certificate"]), "algorithm": "HS256", "kid": ""}
    added = {"id": mine.id, "algorithm": mine.algorithm, "kid": ""}
    assert keys(region, app["id"]) == [own, added]
    assert region.run("token", "check", token, "--json").json["signed_by"] == mine.id
    listed = region.run("app", "keys", app["id"]).out
    assert listed.splitlines()[1] == f"{mine.algorithm}  {mine.id}"
    for secret in (app["certificate"], app["certificate_007"]):
        assert secret not in listed

    assert region.run("app", "remove-key", app["id"], mine.id).code == 0
    assert keys(region, app["id"]) == [own]
    assert region.run("token", "check", token).code == 1
    noted = region.run("audit", "--json").out
    assert "app add-key" in noted
    assert "app remove-key" in noted


def test_a_jwk_comes_from_stdin_and_is_removed_by_its_kid(region: Region) -> None:
    """RFC 7517."""
    app = region.create()["id"]
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(public_key(ED25519).point), "kid": "2026"}
    added = region.run("app", "add-key", app, "-", stdin=json.dumps(jwk))
    assert added.out.splitlines()[1].endswith("  2026")
    assert region.run("app", "remove-key", app, "2026").code == 0
    assert len(keys(region, app)) == 1


def test_a_third_key_waits(region: Region, tmp_path: Path) -> None:
    """Two at a time; and what was there stays."""
    app = region.create()["id"]
    for number in range(3):
        pem = public_pem(ed25519.Ed25519PrivateKey.generate())
        ran = region.run("app", "add-key", app, write(tmp_path, f"{number}.pem", pem))
        assert ran.code == (2 if number == 2 else 0)
    assert "remove-key" in ran.err
    assert len(keys(region, app)) == 3


def test_what_is_no_public_key_is_refused(region: Region, tmp_path: Path) -> None:
    """G8: a private key least of all; nothing of it is shown."""
    app = region.create()["id"]
    ran = region.run("app", "add-key", app, write(tmp_path, "key.pem", private_pem(ED25519)))
    assert (ran.code, "which the back end keeps" in ran.err) == (2, True)
    assert "BEGIN" not in ran.err
    ran = region.run("app", "add-key", app, write(tmp_path, "none.pem", "nothing"))
    assert (ran.code, "JWK" in ran.err) == (2, True)
    assert region.run("app", "add-key", app, str(tmp_path / "missing")).code == 3
    public = write(tmp_path, "public.pem", public_pem(ED25519))
    assert region.run("app", "add-key", "03" + "0" * 30, public).code == 3
    assert len(keys(region, app)) == 1


def test_an_id_may_begin_with_a_dash(region: Region, tmp_path: Path) -> None:
    """One in 64 does, and was taken for an option."""
    key = ed25519.Ed25519PrivateKey.generate()
    while not public_key(key).id.startswith("-"):
        key = ed25519.Ed25519PrivateKey.generate()
    app = region.create()["id"]
    assert region.run("app", "add-key", app, write(tmp_path, "k.pem", public_pem(key))).code == 0
    assert region.run("app", "remove-key", app, public_key(key).id).code == 0
    assert len(keys(region, app)) == 1


def test_an_unknown_key_is_said(region: Region) -> None:
    """A typo must not look like success."""
    app = region.create()["id"]
    ran = region.run("app", "remove-key", app, "2026")
    assert (ran.code, f"homeport app keys {app}" in ran.err) == (2, True)
    assert region.run("app", "remove-key", "03" + "0" * 30, "2026").code == 3


def test_keys_are_no_setting(region: Region) -> None:
    """`app set` says what there is instead."""
    ran = region.run("app", "set", region.create()["id"], "keys", "x")
    assert (ran.code, "add-key" in ran.err) == (2, True)


@KEYS
def test_a_token_is_inspected(tmp_path: Path, region: Region, key: Private) -> None:
    """Without a gateway, a configuration or a key: nothing is verified."""
    app = region.create()["id"]
    private = write(tmp_path, "private.pem", private_pem(key))
    made = region.run("token", "new", "--user", "alice", "--app", app, "--key", private)
    token = made.out.strip()
    said = run("token", "inspect", token, "--json").json
    assert said["form"] == "JWT"
    assert said["header"] == {"alg": public_key(key).algorithm, "typ": "JWT"}
    assert (said["iss"], said["sub"], said["aud"]) == (app, "alice", "homeport:eu")
    shown = run("token", "inspect", "-", stdin=token).out
    assert "iat     20" in shown
    assert "sub     alice" in shown
