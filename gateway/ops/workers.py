"""The workers as the ops process knows them: by what they report, until their processes end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from gateway.ops.board import Board
from gateway.ops.datagrams import Ears
from gateway.ops.totals import Totals


def is_alive(pid: int) -> bool:
    """Whether there is a process `pid`."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Workers:
    """Hears the workers of the run folder `folder`; `expected` is how many there should be.

    Raises:
        OSError: the folder does not take the socket, or what is in it can't be read.
    """

    def __init__(
        self, expected: int, folder: Path, alive: Callable[[int], bool] = is_alive
    ) -> None:
        self.board = Board(expected, time.monotonic)
        self.totals = Totals(folder)
        self.ears = Ears(folder)
        self._alive = alive

    def hear(self) -> None:
        """Take the reports that have come."""
        for report in self.ears.hear():
            self.board.take(report)
            if report.numbers is not None:
                self.totals.take(report.pid, report.numbers)

    def reap(self) -> None:
        """Have done with the workers whose processes have ended."""
        ended = [pid for pid in self.board.pids | self.totals.pids if not self._alive(pid)]
        self.hear()  # their last words may lie there still; none can follow
        for pid in ended:
            self.board.end(pid)
            self.totals.end(pid)

    def close(self) -> None:
        """Hear nobody any more."""
        self.ears.close()
