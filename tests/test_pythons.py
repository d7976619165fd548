"""The run on other Pythons: which there are, what each runs, and what is said where there is none.

A run that finds nothing and says nothing looks like one that went well.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.pythons import GATEWAY_AND_SDK, ROOT, SDK, installed, oldest, passes, plan

OWN = sys.version_info[:2]


@pytest.fixture
def lonely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has this Python only; returns the root of its pyenv, which is empty."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(Path(sys.executable).resolve())
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    return tmp_path / "pyenv"


@pytest.mark.parametrize(
    ("own", "found", "expected"),
    [
        ((3, 11), [(3, 11)], {}),
        ((3, 11), [(3, 12), (3, 11)], {(3, 12): GATEWAY_AND_SDK}),
        (
            (3, 11),
            [(3, 11), (3, 12), (3, 13), (3, 14)],
            {(3, 14): GATEWAY_AND_SDK, (3, 13): SDK, (3, 12): SDK},
        ),
        ((3, 13), [(3, 11), (3, 12), (3, 13)], {(3, 12): GATEWAY_AND_SDK, (3, 11): SDK}),
    ],
)
def test_the_newest_other_python_runs_the_gateways_tests_too(
    own: tuple[int, int],
    found: list[tuple[int, int]],
    expected: dict[tuple[int, int], tuple[str, ...]],
) -> None:
    """And each other one the SDK's."""
    assert plan(own, found) == expected


def test_the_oldest_releases_are_those_of_the_ranges() -> None:
    """A range with an upper bound, or none, would make a requirement that nothing meets."""
    found = {
        requirement.name: str(requirement.specifier) for requirement in map(Requirement, oldest())
    }
    assert found.keys() == {"msgspec", "websockets"}
    assert all(specifier.startswith("==") for specifier in found.values())


def test_folders_that_are_planned_are_there() -> None:
    """A folder that was renamed would be missed by nobody, had pytest another one to run."""
    assert all((ROOT / folder).is_dir() for folder in GATEWAY_AND_SDK)


def test_a_python_on_the_path_is_found(lonely: Path) -> None:
    """Under whatever name."""
    assert installed() == {OWN: lonely.parent / "bin" / "python3"}


def test_a_python_of_pyenv_is_found_which_is_not_on_the_path(
    lonely: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyenv's names on PATH lead to the versions that are switched on, and to no other."""
    monkeypatch.setenv("PATH", str(lonely / "shims"))
    programs = lonely / "versions" / "its" / "bin"
    programs.mkdir(parents=True)
    (programs / "python3").symlink_to(Path(sys.executable).resolve())
    assert installed() == {OWN: programs / "python3"}


@pytest.mark.usefixtures("lonely")
def test_where_there_is_no_other_python_the_output_says_so() -> None:
    """It is no failure: the machine of somebody who works on Homeport may have one."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.pythons"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("No test ran on another Python")


@pytest.mark.parametrize("works", [True, False])
def test_a_test_that_fails_there_is_a_failure_here(works: bool, tmp_path: Path) -> None:
    """In the environment of this run, which is one like the others."""
    test = tmp_path / "test_it.py"
    test.write_text(f"def test_it():\n    assert {works}\n")
    assert passes(Path(sys.prefix), str(test)) is works
