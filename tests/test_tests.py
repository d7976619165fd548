"""What holds for all tests: they look at the gateway and the SDK from outside.

A test that spells a private name breaks when a class is put together in another way, although
nothing has changed that anybody can see.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

INSIDE = {TESTS / "inside.py"}
"""The one place that knows the inside of a worker."""

PUBLIC = {"_asdict", "_exit", "_fields", "_make", "_replace"}
"""Documented, and with an underscore for another reason: collections.namedtuple, os._exit."""

PATCHES = {"setattr", "delattr", "getattr", "hasattr", "object", "patch"}
"""Calls that take the name of an attribute as a string."""


def private(name: str) -> bool:
    """Whether a name, or the last part of a dotted one, is private to where it is defined."""
    last = name.rpartition(".")[2]
    return last.startswith("_") and not last.startswith("__") and last not in PUBLIC


def borrowed(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the name of each use of something private to somebody else."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            of = node.value
            own = isinstance(of, ast.Name) and of.id in ("self", "cls")
            if not own and not (isinstance(of, ast.Call) and ast.unparse(of.func) == "super"):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            names = [name for each in node.names for name in (node.module or "", each.name)]
            yield from ((node.lineno, name) for name in names if private(name))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in PATCHES:
            # ("module.name", new) or (target, "name", new)
            words = [getattr(each, "value", None) for each in node.args[:2]]
            name = next((word for word in words if isinstance(word, str)), "")
            if private(name):
                yield node.lineno, name


def test_no_test_uses_what_is_private_to_another_module() -> None:
    """See the module. What several tests need of a worker's inside is asked of `tests.inside`."""
    found = [
        f"{path.relative_to(TESTS)}:{line}: {name}"
        for path in sorted(TESTS.rglob("*.py"))
        if path not in INSIDE
        for line, name in borrowed(ast.parse(path.read_text()))
    ]
    assert found == []


@pytest.mark.parametrize(
    "code",
    [
        "running.worker._hub",
        "hub._topics[0].x",
        "from gateway.store.blocks import _BLOCK",
        "from gateway._x import y",
        "monkeypatch.setattr(store, '_tell', None)",
        "patch.setattr('gateway.store.x._tell', None)",
        "mock.patch.object(store, '_tell')",
        "getattr(store, '_tell')",
    ],
)
def test_what_is_private_is_seen(code: str) -> None:
    """Each way to borrow it."""
    assert list(borrowed(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        "self._hub",
        "super()._ask()",
        "found.__class__",
        "from __future__ import annotations",
        "row._replace(x=1)",
        "patch.setattr(store, 'tell', '_x y')",
    ],
)
def test_what_is_ones_own_or_public_is_not(code: str) -> None:
    """Nobody has to work around the rule."""
    assert not list(borrowed(ast.parse(code)))
