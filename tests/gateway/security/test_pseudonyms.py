"""What users are called in logs."""

from __future__ import annotations

from pathlib import Path

from gateway.security.keyring import Keyring
from gateway.security.pseudonyms import Pseudonyms

APP = "02" + "0" * 30


def test_a_name_stays_over_a_rotation_and_tells_users_apart(tmp_path: Path) -> None:
    """A line of last month is found by the name that the command prints today."""
    path = tmp_path / "keys.json"
    before = Pseudonyms(Keyring.create(path, "sg"))
    after = Pseudonyms(Keyring.rotate(path))
    assert before.user(APP, "bob") == after.user(APP, "bob")
    assert before.app(APP) == after.app(APP)
    names = {before.user(APP, "bob"), before.user(APP, "alice"), before.user("03" + APP[2:], "bob")}
    assert len(names | {before.app(APP)}) == 4
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)


def test_another_region_has_other_names(tmp_path: Path) -> None:
    """Whoever has the logs of two regions can't follow a user from one to the other, nor, without
    the key, try out who it is."""
    one = Keyring.create(tmp_path / "one.json", "sg")
    two = Keyring.create(tmp_path / "two.json", "sg")
    same_key = Keyring("eu", one.active_from, one.keys)
    found = {Pseudonyms(keyring).user(APP, "bob") for keyring in (one, two, same_key)}
    assert len(found) == 3
