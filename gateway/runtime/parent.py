"""Children that do not outlive their parent, also when that is killed with SIGKILL. Linux only."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> Callable[[], None]:
    """What a child calls right after the fork: from then on it gets SIGTERM when this process ends.

    To be forked by the main thread: Linux goes by the end of the *thread* that forked (prctl(2),
    PR_SET_PDEATHSIG). Where that can't be had, the child ends at once, with 126, or with 125 where
    its parent is gone already.
    """
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork
    parent = os.getpid()

    def in_child() -> None:
        if prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
            os._exit(126)
        if os.getppid() != parent:  # it died before prctl: no signal will come any more
            os._exit(125)

    return in_child
