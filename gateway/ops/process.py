"""The ops process of a gateway. Its HTTP side is to come; until then it only waits for its end."""

from __future__ import annotations

import signal
from pathlib import Path

from gateway.config import Settings


def run(settings: Settings, folder: Path) -> None:
    """Return at SIGTERM. `folder` is the supervisor's run folder."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.sigwait({signal.SIGTERM})
