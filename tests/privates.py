"""Who uses what is private to somebody else: the rule that tests and sources are held to."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

PUBLIC: Final = {"_asdict", "_exit", "_fields", "_make", "_replace"}
"""Documented, and with an underscore for another reason: collections.namedtuple, os._exit."""

PATCHES: Final = {"setattr", "delattr", "getattr", "hasattr", "object", "patch"}
"""Calls that take the name of an attribute as a string."""


def private(name: str) -> bool:
    """Whether a name, or any part of a dotted one, is private to where it is defined."""
    return any(
        part.startswith("_") and not part.startswith("__") and part not in PUBLIC
        for part in name.split(".")
    )


def borrowed(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and the name of each use of something private to somebody else."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            of = node.value
            own = isinstance(of, ast.Name) and of.id in ("self", "cls")
            if not own and not (isinstance(of, ast.Call) and ast.unparse(of.func) == "super"):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names if private(each.name))
        elif isinstance(node, ast.ImportFrom):
            names = [name for each in node.names for name in (node.module or "", each.name)]
            yield from ((node.lineno, name) for name in names if private(name))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in PATCHES:
            # ("module.name", new) or (target, "name", new)
            words = [getattr(each, "value", None) for each in node.args[:2]]
            name = next((word for word in words if isinstance(word, str)), "")
            if private(name):
                yield node.lineno, name
