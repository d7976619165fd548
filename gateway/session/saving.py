"""Acknowledgements are saved a moment after they came, those of many sessions with one timer.

A timer per session would cost half as much as the saving itself. The delay is the same for all
sessions, so they are due in the order in which they asked, and one queue with one timer is
enough.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

ACK_DELAY_S: Final = 0.5
"""Acknowledgements of this long go to the store together."""

TOGETHER_S: Final = 0.02
"""What is due within this long of the first is saved with it."""

SLICE: Final = 200
"""Saves in one turn of the loop; about a millisecond of it."""

_log = structlog.get_logger()


class Saving:
    """One per process. If a callback raises, that is logged, and the others are still called."""

    __slots__ = ("_line", "_waiting")

    def __init__(self) -> None:
        self._line: deque[tuple[float, Callable[[], None]]] = deque()
        self._waiting = False

    def later(self, save: Callable[[], None]) -> None:
        """Call `save` after `ACK_DELAY_S`, or up to `TOGETHER_S` sooner."""
        loop = asyncio.get_running_loop()
        self._line.append((loop.time() + ACK_DELAY_S, save))
        if not self._waiting:
            self._waiting = True
            loop.call_later(ACK_DELAY_S, self._due)

    def _due(self) -> None:
        loop, line = asyncio.get_running_loop(), self._line
        until = loop.time() + TOGETHER_S
        for _ in range(SLICE):
            if not line or line[0][0] > until:
                break
            _, save = line.popleft()
            try:
                save()
            except Exception as error:  # noqa: BLE001 - or nobody's cursor would be saved any more
                _log.error("save_failed", exc_info=error)
        self._waiting = bool(line)
        if line:
            loop.call_later(max(line[0][0] - loop.time(), 0), self._due)
