"""Whose turn is next: work that does not fit in one turn of the event loop, in order (G9)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

_Amount = TypeVar("_Amount", int, float)


class Turns(Generic[_Amount]):
    """Those that have more to do than fits in a turn of the loop, the longest waiting first.

    `budget` is what all of them together do in one turn, in any unit: writes, or seconds.
    """

    __slots__ = ("_budget", "_waiting")

    def __init__(self, budget: _Amount) -> None:
        self._budget: _Amount = budget
        self._waiting: deque[Callable[[_Amount], _Amount]] = deque()

    def ask(self, step: Callable[[_Amount], _Amount]) -> None:
        """Have `step` called with what is left of a turn's budget; it returns how much it took.

        A step that has more to do asks again, and is called in a later turn. It raises nothing.
        """
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._run)
        self._waiting.append(step)

    def _run(self) -> None:
        left, waiting = self._budget, self._waiting
        self._waiting = deque()  # whoever is not done asks for the next turn
        while waiting and left > 0:
            left -= waiting.popleft()(left)
        if waiting:
            if not self._waiting:
                asyncio.get_running_loop().call_soon(self._run)
            self._waiting.extendleft(reversed(waiting))
