"""Forking children."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from gateway.runtime.child import fork


def test_a_fork_that_fails_leaves_the_supervisor_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """It had its signals blocked from then on, and could neither drain nor take leave of anybody;
    and the next child had them blocked too."""

    def refuse() -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "fork", refuse)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    descriptors = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(BlockingIOError):
        fork(lambda _: None, [], [signal.SIGTERM, signal.SIGCHLD])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    assert sorted(Path("/proc/self/fd").iterdir()) == descriptors
