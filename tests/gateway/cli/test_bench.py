"""`homeport bench`: a hand-over to the bench, where there is one."""

from __future__ import annotations

import sys

import pytest

from tests.gateway.cli.conftest import run


def test_it_hands_over_all_that_follows() -> None:
    """Its own commands, options and help are the bench's."""
    ran = run("bench", "--help")
    assert ran.code == 0
    assert "homeport bench" in ran.out.splitlines()[0]
    assert "fanout" in ran.out
    assert run("bench", "chat", "--slo", "p50<5").code == 2


def test_without_the_source_tree_it_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3: the wheel holds no bench."""
    monkeypatch.setitem(sys.modules, "bench.cli", None)
    ran = run("bench", "chat")
    assert ran.code == 3
    assert "folder bench/" in ran.err
