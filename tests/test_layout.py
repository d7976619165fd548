"""What holds for the source of the gateway and the SDK as a whole."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.privates import borrowed

ROOT = Path(__file__).parents[1]

PACKAGES = (ROOT / "gateway", ROOT / "protocol" / "homeport")

MODULE_LINES = 400
FUNCTION_LINES = 60
"""Lines that a module, and a function with its signature and docstring, have at most."""

MOST = 6
"""Positional arguments that a function takes at most, without self and cls."""


def too_many(tree: ast.AST) -> Iterator[str]:
    """The functions, also those inside others, that take too many arguments by position."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            names = [each.arg for each in (*node.args.posonlyargs, *node.args.args)]
            count = len(names) - (names[:1] in (["self"], ["cls"]))
            if count > MOST:
                yield f"{getattr(node, 'name', 'a lambda')} takes {count}"


def test_no_function_takes_a_long_list_of_positional_arguments() -> None:
    """A reader of a call can't tell the seventh argument from the sixth; a type that several of
    them make together has a name that the call shows."""
    paths = [path for room in ("gateway", "protocol") for path in (ROOT / room).rglob("*.py")]
    assert len(paths) > 100
    found = {
        f"{path.relative_to(ROOT)}: {one}"
        for path in paths
        for one in too_many(ast.parse(path.read_text()))
    }
    assert found == set()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def f(a, b, c, d, e, f, g): ...", ["f takes 7"]),
        ("async def f(a, b, /, c, d, e, f, g=1): ...", ["f takes 7"]),
        ("class C:\n def __init__(self, a, b, c, d, e, f, g): ...", ["__init__ takes 7"]),
        ("class C:\n @classmethod\n def m(cls, a, b, c, d, e, f, g): ...", ["m takes 7"]),
        ("def f():\n def g(a, b, c, d, e, f, g): ...", ["g takes 7"]),
        ("lambda a, b, c, d, e, f, g: 0", ["a lambda takes 7"]),
        ("def f(a, b, c, d, e, f): ...", []),
        ("class C:\n def m(self, a, b, c, d, e, f): ...", []),
        ("def f(a, b, c, d, e, f, *, g, h): ...", []),
    ],
)
def test_the_count_sees_each_way_to_take_an_argument(code: str, expected: list[str]) -> None:
    """It is what keeps the lists short."""
    assert list(too_many(ast.parse(code))) == expected


def long_functions(tree: ast.AST) -> Iterator[str]:
    """The functions with too many lines, also those inside others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{node.name} has {lines}"


def test_no_module_and_no_function_is_long() -> None:
    """A reader takes in a function on one screen, and a module in one sitting. What outgrows that
    has two themes, and the second one has a name."""
    sources = {
        str(path.relative_to(ROOT)): path.read_text()
        for package in PACKAGES
        for path in package.rglob("*.py")
    }
    assert len(sources) > 200
    modules = {name: len(text.splitlines()) for name, text in sources.items()}
    assert {name: lines for name, lines in modules.items() if lines > MODULE_LINES} == {}
    functions = {
        f"{name}: {one}"
        for name, text in sources.items()
        for one in long_functions(ast.parse(text))
    }
    assert functions == set()


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n" + " x\n" * FUNCTION_LINES,
        "async def f():\n" + " x\n" * FUNCTION_LINES,
        "class C:\n def f(self):\n" + "  x\n" * FUNCTION_LINES,
        "def g():\n def f():\n" + "  x\n" * FUNCTION_LINES,
    ],
)
def test_the_count_sees_each_kind_of_function(code: str) -> None:
    """It is what keeps them short, and one line less is short enough."""
    assert f"f has {FUNCTION_LINES + 1}" in list(long_functions(ast.parse(code)))
    shorter = code[: code.rstrip().rindex("\n")]
    assert not [one for one in long_functions(ast.parse(shorter)) if one.startswith("f has")]


def mirrored(test: Path) -> bool:
    """Whether the name of a test file begins with that of a module, or a package, of its folder."""
    mirrors = {ROOT / "tests" / "gateway": PACKAGES[0], ROOT / "tests" / "protocol": PACKAGES[1]}
    (source,) = (
        package / test.parent.relative_to(folder)
        for folder, package in mirrors.items()
        if test.is_relative_to(folder)
    )
    words = test.stem.removeprefix("test_").split("_")
    names = ["_".join(words[:count]) for count in range(1, len(words) + 1)]
    return any((source / f"{name}.py").exists() or (source / name).is_dir() for name in names)


def test_a_test_file_is_found_by_the_name_of_what_it_tests() -> None:
    """tests/gateway/x/test_y.py tests gateway/x/y.py, and test_y_theme.py a theme of it. A file
    that was left behind when its module went is seen too."""
    folders = (ROOT / "tests" / "gateway", ROOT / "tests" / "protocol")
    files = [file for folder in folders for file in folder.rglob("test_*.py")]
    assert len(files) > 150
    assert [str(file.relative_to(ROOT)) for file in files if not mirrored(file)] == []


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("gateway/store/test_inbox.py", True),
        ("gateway/store/test_inbox_ephemeral.py", True),
        ("gateway/store/test_region_clock.py", True),
        ("gateway/test_store.py", True),
        ("protocol/client/test_reconnector.py", True),
        ("gateway/store/test_ephemeral.py", False),
        ("gateway/chat/test_inbox.py", False),
        ("protocol/test_inbox.py", False),
    ],
)
def test_the_mirror_shows_what_stands_before_it(file: str, found: bool) -> None:
    """It is what keeps the two trees alike."""
    assert mirrored(ROOT / "tests" / file) is found


def logger_names(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Each call that gets a logger, structlog's or Python's own, and the name that it gives."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in ("get_logger", "getLogger"):
                yield called, ast.unparse(node.args[0]) if node.args else None


def test_a_logger_has_a_name_only_where_somebody_can_see_it() -> None:
    """The gateway's lines show the event and no logger, so a name there says something to nobody
    and goes wrong unseen: the connections to Redis called themselves the store for a while. The
    SDK's loggers are Python's, which programs select by their package."""
    gateway = {
        (path.name, name)
        for path in (ROOT / "gateway").rglob("*.py")
        for called, name in logger_names(ast.parse(path.read_text()))
        if called == "get_logger"
    }
    assert len(gateway) > 30
    assert {each for each in gateway if each[1] is not None} == set()
    sdk = {
        name
        for path in (ROOT / "protocol" / "homeport").rglob("*.py")
        for _, name in logger_names(ast.parse(path.read_text()))
    }
    assert {name for name in sdk if not (name or "").startswith("'homeport.client")} == set()
    assert sdk


UNDOCUMENTED = {("gateway/redis/servers.py", "connection._writer")}
"""The private names of other packages that are used, each in one place, which says why.

What breaks with redis-py's: every connection to Redis; tests/gateway/redis/test_connection.py fails
from its first test on."""


def test_nothing_private_of_another_package_is_used() -> None:
    """A library may change what is private in any release, and the gateway, or a program that uses
    the SDK, breaks at an update that promises to break nothing. Of Homeport's own modules, too, one
    knows no other's privates; the classes of one module may."""
    found = set()
    for room in ("gateway", "protocol", "bench", "deploy"):
        for path in (ROOT / room).rglob("*.py"):
            tree = ast.parse(path.read_text())
            own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            found |= {
                (str(path.relative_to(ROOT)), name)
                for _, name in borrowed(tree)
                if name.rpartition(".")[2] not in own
            }
    assert found == UNDOCUMENTED
