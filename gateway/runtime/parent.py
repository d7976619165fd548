"""Children that do not outlive their parent, also when that is killed with SIGKILL. Linux only."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> Callable[[], None]:
    """A function for a child to call right after the fork: it gets SIGTERM when this process ends.

    The main thread must fork: Linux sends the signal when the *thread* that forked ends (prctl(2),
    PR_SET_PDEATHSIG). If the child cannot arrange this, it exits at once: with 126, or with 125 if
    its parent is already gone.
    """
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork
    parent = os.getpid()

    def in_child() -> None:
        if prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
            os._exit(126)
        if os.getppid() != parent:  # it died before prctl: no signal will come any more
            os._exit(125)

    return in_child
