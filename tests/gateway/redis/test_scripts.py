"""Mirrors gateway/redis/scripts.py."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from gateway.redis import scripts
from gateway.redis.scripts import SCRIPTS, load


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package `planted`, for scripts."""
    folder = tmp_path / "planted" / "lua"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "planted", raising=False)
    monkeypatch.setattr(scripts, "SCRIPTS", {})
    return folder


def test_a_script_brings_the_functions_that_it_uses(package: Path) -> None:
    """They come behind the first line, which Redis reads for itself, and Redis knows the whole by
    its SHA-1."""
    (package / "one.lua").write_text("#!lua flags=no-writes\nreturn twice(2)\n")
    (package / "twice.lua").write_text("local function twice(n) return 2 * n end\n")
    found = load("planted", "one", "twice")
    assert found.text.splitlines() == [
        "#!lua flags=no-writes",
        "local function twice(n) return 2 * n end",
        "return twice(2)",
    ]
    assert found.sha == hashlib.sha1(found.text.encode()).hexdigest()
    assert {"one": found} == scripts.SCRIPTS


def test_a_script_says_what_it_may_do_on_a_full_redis(package: Path) -> None:
    """G1: without the line, Redis would run it half and refuse its first write that adds."""
    (package / "silent.lua").write_text("return 1\n")
    with pytest.raises(ValueError, match=r"silent\.lua"):
        load("planted", "silent")


def test_every_script_has_a_side() -> None:
    """All that a gateway loads: see the module."""
    sides = {script.text.partition("\n")[0] for script in SCRIPTS.values()}
    assert sides <= {"#!lua", "#!lua flags=allow-oom", "#!lua flags=no-writes"}
