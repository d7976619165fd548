"""What holds for all tests: they look at the gateway and the SDK from outside.

A test that spells a private name breaks when a class is put together in another way, although
nothing has changed that anybody can see.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.privates import borrowed

TESTS = Path(__file__).parent

INSIDE = {TESTS / "inside.py"}
"""The one place that knows the inside of a worker."""


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
        "from gateway._x.z import y",
        "import gateway._x",
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
