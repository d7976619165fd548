"""`homeport keys`."""

from __future__ import annotations

import socket
import time
from datetime import datetime
from pathlib import Path

import pytest

from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store import audit
from tests.gateway.cli.conftest import Region, run


def test_init_makes_a_private_file_and_shows_no_key(tmp_path: Path) -> None:
    """A new region's key file is mode 0600, and only a check value of its key is printed."""
    file = tmp_path / "keys.json"
    ran = run("keys", "init", file, "--region", "eu", "--json")
    assert ran.code == 0
    assert ran.json["region"] == "eu"
    assert file.stat().st_mode & 0o777 == 0o600
    assert not any(word in ran.out for word in file.read_text().split('"') if len(word) == 64)


def test_init_never_replaces_a_file(tmp_path: Path) -> None:
    """A key that is gone makes its data unreadable, so an existing file is left alone."""
    file = tmp_path / "keys.json"
    run("keys", "init", file, "--region", "eu")
    before = file.read_bytes()
    ran = run("keys", "init", file, "--region", "eu")
    assert ran.code == 1
    assert "exists already" in ran.err
    assert file.read_bytes() == before


def test_rotate_keeps_the_old_key_to_read_with(region: Region) -> None:
    """After a rotation the new version is active and the old one's check value is the same."""
    file = region.folder / "keys.json"
    first = run("keys", "check", file, "--region", "eu", "--json").json
    second = region.run("keys", "rotate", str(file), "--after", "0", "--json").json
    assert (first["active"], second["active"], second["coming"]) == (1, 2, {})
    assert second["check_values"]["1"] == first["check_values"]["1"]
    assert second["check_values"]["2"] != first["check_values"]["1"]
    assert run("keys", "check", file, "--region", "eu", "--json").json == second


def test_rotate_gives_gateways_a_minute(region: Region) -> None:
    """G4: by itself, the new key seals only once every gateway has seen the file."""
    file = str(region.folder / "keys.json")
    before = int(time.time())
    rotated = region.run("keys", "rotate", file, "--json").json
    assert rotated["active"] == 1
    assert set(rotated["check_values"]) == {"1", "2"}
    comes = datetime.fromisoformat(rotated["coming"]["2"]).timestamp()
    assert before + 60 <= comes <= time.time() + 60
    assert region.run("keys", "rotate", file, "--after", "-1").code == 2


def test_rotate_asks_redis_for_the_time_or_does_nothing(tmp_path: Path) -> None:
    """G12: it wrote the time by this machine's clock where nobody said which Redis; and that of
    another region's has nothing to say."""
    file = tmp_path / "keys.json"
    run("keys", "init", file, "--region", "eu")
    before = file.read_bytes()
    assert run("keys", "rotate", file).code == 3
    config = tmp_path / "homeport.toml"
    run("keys", "init", tmp_path / "sg.json", "--region", "sg")
    config.write_text(
        f'region = "sg"\nredis_url = "redis://localhost"\nkey_file = "{tmp_path}/sg.json"\n'
        'plain_listen = "127.0.0.1:0"\ndurability = "memory"\n'
    )
    ran = run("keys", "rotate", file, "--config", config)
    assert ran.code == 1
    assert "keyring of region eu" in ran.err
    assert file.read_bytes() == before


def test_rotate_goes_by_redis_time(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    """G4: by a clock that is behind, the new key would have sealed at once, and by one that is
    ahead for 200 days, not at all."""
    file = region.folder / "keys.json"
    before = int(time.time())
    monkeypatch.setattr(time, "time_ns", lambda: int((before + 200 * 86_400) * 1e9))
    comes = region.run("keys", "rotate", str(file), "--json").json["coming"]["2"]
    assert before + 60 <= datetime.fromisoformat(comes).timestamp() < before + 90


def test_check_says_what_to_do_about_an_open_mode(tmp_path: Path) -> None:
    """A key file that others may read is refused (G7)."""
    file = tmp_path / "keys.json"
    run("keys", "init", file, "--region", "eu")
    file.chmod(0o644)
    ran = run("keys", "check", file, "--region", "eu")
    assert ran.code == 1
    assert "chmod 600" in ran.err


def test_check_knows_another_regions_file(tmp_path: Path) -> None:
    """G6: a key file names its region."""
    file = tmp_path / "keys.json"
    run("keys", "init", file, "--region", "eu")
    ran = run("keys", "check", file, "--region", "sg")
    assert ran.code == 1
    assert "keyring of region eu" in ran.err


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    """Exit code 3, not 1: a script can tell them apart."""
    assert run("keys", "check", tmp_path / "keys.json", "--region", "sg").code == 3


def test_an_unknown_region_is_wrong_usage(tmp_path: Path) -> None:
    """Exit code 2, and the regions there are."""
    ran = run("keys", "init", tmp_path / "keys.json", "--region", "mars")
    assert ran.code == 2
    assert "cn, sg, eu, na" in ran.err


def test_who_made_and_rotated_the_keys_is_noted(region: Region) -> None:
    """In the file beside them, sealed with them: `homeport audit` shows it."""
    path = region.folder / "made.json"
    assert run("keys", "init", path, "--region", "eu").code == 0
    assert region.run("keys", "rotate", str(path), "--after", "0").code == 0
    notes = audit.opened(Sealer(Keyring.load(path, "eu")), audit.kept(audit.file_of(path)))
    assert [note.action for note in notes] == ["keys init", "keys rotate"]
    assert all(socket.gethostname() in note.by for note in notes)
