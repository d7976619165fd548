"""The gateway's distribution, on a machine that has no checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.cli.devgateway import started

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")


@pytest.mark.timeout(300)
def test_what_is_built_delivers_a_message(tmp_path: Path) -> None:
    """With the extra `dev`, which brings the Redis that `homeport dev` starts."""
    dist, home = tmp_path / "dist", tmp_path / "home"
    home.mkdir()
    commands: list[list[str | Path]] = [
        [UV, "build", "--quiet", "--all-packages", "--wheel", "--out-dir", dist],
        [UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv"],
        [
            *(UV, "pip", "install", "--quiet", "--python", tmp_path / "venv"),
            *("--find-links", dist, "homeport-gateway[dev]"),
        ],
    ]
    for command in commands:
        ran = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
        )
        assert ran.returncode == 0, ran.stderr
    program = str(tmp_path / "venv/bin/homeport")
    with started(home / "data", program=program) as dev:
        sent = dev.homeport("send", "--as", "alice", "--to", "bob", "Hello, Bob!")
        assert sent.code == 0, sent.err
        heard = dev.homeport("listen", "--as", "bob", "--device", "laptop", "--count", "1")
        assert "alice: Hello, Bob!" in heard.out, heard.err
