"""Whose frames are handed on next: each connection's share, one after the other (G9).

One read can hold thousands of frames. If all were worked off at once, everybody else would wait for
one client. So a connection hands on `SHARE` frames, and the rest has to wait for its turn here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

SHARE: Final = 32
"""Frames that one connection hands on before the others are heard."""

BUDGET_S: Final = 0.002
"""Seconds of one turn of the loop that all connections together may take for what they still have.
What has just come from clients that ask for little is not counted, and never waits for these."""


class Waiting(Protocol):
    """A connection with frames that were read and not handed on."""

    def take_turn(self) -> None:
        """Hand on a share; `Turns.add` again if more is left. It raises nothing."""


class Turns:
    """The connections that wait for a turn, the longest first. `steady` is in seconds."""

    __slots__ = ("_scheduled", "_steady", "_waiting")

    def __init__(self, steady: Callable[[], float]) -> None:
        self._steady = steady
        self._waiting: deque[Waiting] = deque()
        self._scheduled = False

    def add(self, connection: Waiting) -> None:
        """Give `connection` a turn after those that wait; it must not be among them."""
        self._waiting.append(connection)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        ends = self._steady() + BUDGET_S
        for _ in range(len(self._waiting)):
            self._waiting.popleft().take_turn()
            if self._steady() >= ends:
                break
        if self._waiting:
            self._schedule()
