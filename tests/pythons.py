"""Runs tests on the other Pythons of this machine: ``python -m tests.pythons``.

`make test` runs everything on one Python. Of the others that Homeport supports, the newest runs the
tests of the gateway and of the SDK, and the rest run those of the SDK: it lives in other people's
programs, and a gateway in an environment of its own. Each has a fresh environment, made from
uv.lock and removed again. The rest also have the oldest releases that the SDK's ranges allow, as
those other programs may.

Where the machine has no other Python, the output says so. Exits with 1 when a test failed, or when
an environment can't be made.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
UV: Final = Path(sys.executable).with_name("uv")

SDK: Final = ("tests/protocol",)
GATEWAY_AND_SDK: Final = ("tests/gateway", *SDK)

Version = tuple[int, int]
"""Major and minor."""


def supported() -> str:
    """The Pythons that the SDK is for, as in ``>=3.11``."""
    project = tomllib.loads((ROOT / "protocol" / "pyproject.toml").read_text())["project"]
    return str(project["requires-python"])


def installed() -> dict[Version, Path]:
    """The supported Pythons of this machine, each in its newest release. uv knows those on PATH and
    its own; pyenv puts only chosen ones on PATH."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    path = os.pathsep.join([os.environ["PATH"], *map(str, pyenv.glob("versions/*/bin"))])
    listed = subprocess.run(
        [UV, "python", "list", "--only-installed", "--output-format", "json", supported()],
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a warning about each name of pyenv's that leads nowhere
        check=True,
    )
    found: dict[Version, tuple[int, str]] = {}
    for each in json.loads(listed.stdout):
        major, minor, patch = (each["version_parts"][part] for part in ("major", "minor", "patch"))
        released = each["version"] == f"{major}.{minor}.{patch}"
        if released and (each["implementation"], each["variant"]) == ("cpython", "default"):
            this = (patch, each["path"])
            found[major, minor] = max(this, found.get((major, minor), this))
    return {version: Path(path) for version, (_, path) in found.items()}


def plan(own: Version, found: Iterable[Version]) -> dict[Version, tuple[str, ...]]:
    """The folders of tests that each Python beside `own` runs; the newest Python comes first."""
    others = sorted(set(found) - {own}, reverse=True)
    return {each: SDK if number else GATEWAY_AND_SDK for number, each in enumerate(others)}


def make_environment(folder: Path, python: Path) -> None:
    """Make an environment in `folder` with what uv.lock has for `python`.

    Raises:
        subprocess.CalledProcessError: it can't be made; uv has said why.
    """
    subprocess.run(
        [UV, "sync", "--frozen", "--quiet", "--no-python-downloads", "--python", python],
        cwd=ROOT,
        env=os.environ | {"UV_PROJECT_ENVIRONMENT": str(folder)},
        check=True,
    )


def oldest() -> list[str]:
    """The oldest release that the SDK allows of each dependency, as ``name==version``."""
    project = tomllib.loads((ROOT / "protocol" / "pyproject.toml").read_text())["project"]
    return [requirement.replace(">=", "==") for requirement in project["dependencies"]]


def install_oldest(folder: Path) -> None:
    """Replace what uv.lock has of the SDK's dependencies in an environment by the `oldest`.

    Raises:
        subprocess.CalledProcessError: one can't be had; uv has said why.
    """
    command: list[str | Path] = [UV, "pip", "install", "--quiet", "--no-deps", "--python", folder]
    subprocess.run([*command, *oldest()], cwd=ROOT, check=True)


def passes(environment: Path, *arguments: str) -> bool:
    """Whether the tests pass in an environment that these arguments of pytest choose."""
    command: list[str | Path] = [environment / "bin" / "pytest", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def main() -> int:
    """Run what `plan` says; returns the exit status."""
    own, found = sys.version_info[:2], installed()
    planned = plan(own, found)
    if not planned:
        alone = f"{own[0]}.{own[1]}"
        print(f"No test ran on another Python: of {supported()}, this machine has {alone} only.")
    failed = False
    for version, tests in planned.items():
        python = found[version]
        print(f"Python {version[0]}.{version[1]} ({python}) runs {' and '.join(tests)}", flush=True)
        (ROOT / "build").mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="python-", dir=ROOT / "build") as folder:
            make_environment(Path(folder), python)
            if tests == SDK:
                install_oldest(Path(folder))
                print(f"with {' and '.join(oldest())}", flush=True)
            failed |= not passes(Path(folder), "-n", "auto", "--dist", "worksteal", *tests)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
