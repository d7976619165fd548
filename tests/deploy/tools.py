"""Where deploy/ is, and the programs that these tests need: real ones, or a loud skip."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"

RUN_S = 60.0
"""How long a program that only checks something may take."""

# Debian has haproxy and nginx in a folder that is not on everyone's PATH.
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def program(name: str, package: str) -> str:
    """The path of a program; the test is skipped where Debian's `package` is not installed."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        pytest.skip(f"{name} is not installed: apt install {package}")
    return found


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. Its output is text, and it may fail."""
    options.setdefault("timeout", RUN_S)
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def read_yaml(path: Path) -> Any:
    """A YAML file that holds one document."""
    return yaml.safe_load(path.read_text())
