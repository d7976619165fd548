"""Programs that run on a terminal of their own, as in tmux or `docker run -t`."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

_SPAWN: Final = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def on_a_terminal(program: str, timeout: float = 30) -> str:
    """Run Python's `program` there, with nobody to type, and return what the terminal shows.

    Raises subprocess.TimeoutExpired where it waits for somebody, and CalledProcessError.
    """
    ran = subprocess.run(
        [sys.executable, "-c", _SPAWN, sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=True,
    )
    return ran.stdout
