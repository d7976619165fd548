"""A `homeport dev`, and commands that are run on it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.gateway.cli.conftest import Ran

PROGRAM = str(Path(sys.executable).with_name("homeport"))


@dataclass(frozen=True, slots=True)
class Dev:
    """A running `homeport dev`, and what it printed up to `ready`."""

    process: subprocess.Popen[str]
    folder: Path
    lines: list[str]
    program: str

    def value(self, name: str) -> str:
        """What stands behind `name` in its output."""
        (line,) = [line for line in self.lines if line.startswith(name)]
        return line.removeprefix(name).strip()

    def after(self, title: str) -> str:
        """The line below `title`."""
        return self.lines[self.lines.index(title) + 1].strip()

    def homeport(self, *arguments: str) -> Ran:
        """Run `homeport` on this gateway, from another folder."""
        done = subprocess.run(
            [self.program, *arguments, "--data", str(self.folder)],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def end(self, by: signal.Signals) -> tuple[int, str]:
        """Send a signal; returns the exit code and what it said on stderr."""
        self.process.send_signal(by)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@contextmanager
def started(folder: Path, *options: str, program: str = PROGRAM) -> Iterator[Dev]:
    """A `homeport dev` that is ready, on free ports; `program` is the `homeport` to start."""
    process = subprocess.Popen(
        [program, "dev", "--data", str(folder), "--port", "0", "--wss-port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if lines[-1] == "ready":
                break
        else:
            pytest.fail(f"not ready: {process.communicate()[1]}")
        yield Dev(process, folder, lines, program)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)
