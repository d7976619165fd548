"""What users are called in logs."""

from __future__ import annotations

import ast
from pathlib import Path

from gateway.security.keyring import Keyring
from gateway.security.pseudonyms import Pseudonyms

APP = "02" + "0" * 30
SOURCE = Path(__file__).parents[3] / "gateway"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "often"}
WHOSE = {"app", "app_id", "user", "user_id", "device", "to", "sender", "group", "room"}
"""What a field of the log may be called that would hold an id."""


def names_somebody(node: ast.AST) -> list[ast.keyword]:
    """The arguments of a log call that say whose it is by anything but a hashed name."""
    if not (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
    ):
        return []
    whose = [each for each in node.keywords if each.arg in WHOSE]
    return [each for each in whose if not is_hashed(each.value)]


def is_hashed(value: ast.expr) -> bool:
    """True for a call of `Pseudonyms.app` or `.user`, or the variable that such a call went to."""
    if isinstance(value, ast.Name):
        return value.id == "name"
    return (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Attribute)
        and value.func.attr in {"app", "user"}
    )


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


def test_no_line_of_the_log_has_an_id_in_clear() -> None:
    """Lines of sessions had hashed names, while those of the sweeper, the hub and the directory
    gave the app's id away beside them: so the name of one told the id of the other."""
    found = [
        f"{path.relative_to(SOURCE)}:{each.value.lineno}: {ast.unparse(each)}"
        for path in sorted(SOURCE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        for each in names_somebody(node)
    ]
    assert found == []
