"""``homeport serve`` as processes of its own, to be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from gateway.runtime import runfolder

START_S = 30.0
"""How long `homeport serve` may take until it accepts."""

PROGRAM = Path(sys.executable).with_name("homeport")
"""The command line, of the environment that the tests run in."""


class GatewayProcess:
    """``homeport serve`` as processes of its own, to be killed and started again.

    They are a process group: `kill` ends the supervisor and its workers at one stroke, like the
    machine they run on. To kill one of them only, see `pid` and `workers`. `patch` is Python that
    runs before anything else, for what no setting changes.
    """

    def __init__(self, config: Path, log: Path, patch: str = "") -> None:
        self._command = [str(PROGRAM), "serve", "--config", str(config)]
        if patch:
            main = "from gateway.cli.main import main; main()"
            self._command[:1] = [sys.executable, "-c", f"{patch}\n{main}"]
        self._log = log
        self._process: subprocess.Popen[str] | None = None
        self.urls: list[str] = []

    def start(self) -> Self:
        """Start it and wait until it accepts."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self.urls = []
        # Not select(): a line may wait in the file's buffer.
        too_late = threading.Timer(START_S, os.killpg, (self._process.pid, signal.SIGKILL))
        too_late.start()
        try:
            for line in self._process.stdout:
                if line.strip() == "ready":
                    return self
                self.urls.append(line.strip())
        finally:
            too_late.cancel()
        self.kill()
        raise AssertionError(f"homeport serve did not start: {self._log.read_text()}")

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def workers(self) -> list[int]:
        """The process ids of those that serve: the supervisor's children, the oldest first. Where
        there is an ops process, it is the last of the first ones. The sender of webhooks is not
        among them."""
        return [pid for pid in children(self.pid) if not _sends_webhooks(pid)]

    def wait(self, timeout: float) -> int:
        """Wait until it has ended by itself; returns its exit code."""
        assert self._process is not None
        return self._process.wait(timeout)

    def kill(self) -> None:
        """SIGKILL for all of them: they get no chance to do anything."""
        self._end(os.killpg, signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM: it drains. Returns its exit code."""
        return self._end(os.kill, signal.SIGTERM)

    def _end(self, send: Callable[[int, int], None], number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.poll() is None:
            send(process.pid, number)
        assert process.stdout is not None
        with process.stdout:
            process.stdout.read()  # to its end: none of those who hold it is left
        code = process.wait(30)
        runfolder.sweep()  # a supervisor that was killed leaves it for the next start
        return code


def children(pid: int) -> list[int]:
    """The child processes of `pid`, in the order of their start (proc(5), children)."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _sends_webhooks(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text() == "homeport-hooks\n"
    except FileNotFoundError:
        return False
