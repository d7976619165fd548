"""The SDK's distribution, in the project of a stranger.

A package that can't be had from the index fails a test with uv's own words.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")

SDK = {"homeport", "msgspec", "websockets"}
"""All that the SDK brings into an environment, itself included."""

DOCUMENTS = ("README.md", "protocol/README.md", "docs/tutorial.md")


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; it may fail."""
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=100, check=False
    )


def done(*command: str | Path, cwd: Path) -> str:
    """The output of a program that must not fail."""
    ran = run(*command, cwd=cwd)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SDK's wheel, made from its source distribution as a release makes it."""
    folder = tmp_path_factory.mktemp("dist")
    done(UV, "build", "--quiet", "--package", "homeport", "--out-dir", folder, cwd=ROOT)
    return next(folder.glob("homeport-*.whl"))


@pytest.fixture(scope="module")
def project(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with modules `protocol` and `gateway` of its own, and the wheel in its `.venv`."""
    folder = tmp_path_factory.mktemp("project")
    done(UV, "venv", "--quiet", "--python", sys.executable, ".venv", cwd=folder)
    done(UV, "pip", "install", "--quiet", "--python", ".venv", wheel, cwd=folder)
    for name in ("protocol", "gateway"):
        (folder / f"{name}.py").write_text("VERSION = 3\n")
    return folder


def test_three_distributions_are_installed(project: Path) -> None:
    """A bot's author takes no server, no event loop and no Redis along."""
    listed = done(UV, "pip", "list", "--python", ".venv", "--format", "json", cwd=project)
    assert {each["name"] for each in json.loads(listed)} == SDK


def test_a_project_keeps_its_own_module_names(project: Path) -> None:
    """The SDK was imported as `protocol`, which a file of that name in a project shadowed."""
    program = project / "own.py"
    program.write_text(
        "import gateway, protocol\nfrom homeport import Client\n"
        "print(protocol.VERSION + gateway.VERSION, Client.__name__)\n"
    )
    assert done(project / ".venv/bin/python", program, cwd=project) == "6 Client\n"


def check_types(project: Path, *programs: Path) -> subprocess.CompletedProcess[str]:
    """mypy --strict over programs, by what is installed in the project."""
    python = project / ".venv/bin/python"
    mypy = (sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-executable")
    return run(*mypy, python, *programs, cwd=project)


def test_the_documents_programs_are_typed(project: Path) -> None:
    """README's own program once did not pass, and nobody noticed: py.typed was missing."""
    programs: list[Path] = []
    for document in DOCUMENTS:
        text = (ROOT / document).read_text()
        found = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert found, document
        for program in found:
            name = re.sub(r"\W", "_", document)
            path = project / f"{name}_{len(programs)}.py"
            path.write_text(program)
            programs.append(path)
    checked = check_types(project, *programs)
    assert checked.returncode == 0, checked.stdout


def test_a_wrong_program_is_refused(project: Path) -> None:
    """Without py.typed, whatever is done with the SDK passes as Any."""
    program = project / "wrong.py"
    program.write_text("from homeport import Client\n\nclient: int = Client\n")
    checked = check_types(project, program)
    assert checked.returncode == 1
    assert "[assignment]" in checked.stdout


@pytest.mark.parametrize(
    "platform", ["windows", "x86_64-unknown-linux-musl", "aarch64-apple-darwin"]
)
def test_it_installs_elsewhere_without_a_compiler(wheel: Path, platform: str) -> None:
    """From wheels only, with the newest and with the oldest of what it depends on."""
    requirements = wheel.with_name(f"{platform}.in")
    requirements.write_text(f"{wheel}\n")
    wanted = [("3.11", "highest"), ("3.12", "highest"), ("3.13", "highest"), ("3.13", "lowest")]
    for python, resolution in wanted:
        found = done(
            *(UV, "pip", "compile", "--quiet", "--no-header", "--no-annotate"),
            *("--only-binary", ":all:", "--python-platform", platform),
            *("--python-version", python, "--resolution", resolution, requirements),
            cwd=wheel.parent,
        )
        names = {line.partition("==")[0] for line in found.splitlines()}
        assert names == {str(wheel)} | SDK - {"homeport"}


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_it_uses_what_other_systems_have(platform: str) -> None:
    """Windows has no os.fchmod and no O_NOFOLLOW: saving a cursor file failed there."""
    mypy = (sys.executable, "-m", "mypy", "--platform", platform, "--package", "homeport")
    checked = run(*mypy, cwd=ROOT)
    assert checked.returncode == 0, checked.stdout
