"""What a program iterates over, and the one task that waits for more of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

_T = TypeVar("_T")


class Reading(AsyncIterator[_T]):
    """An asynchronous iterator of what `next` returns, and nothing else of its owner.

    It is no generator: one is finished after the first wait that is cancelled.
    """

    def __init__(self, next: Callable[[], Awaitable[_T]]) -> None:
        self._next = next

    def __anext__(self) -> Awaitable[_T]:
        return self._next()


class Waiting:
    """Where one task at a time waits until there is more to read."""

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None

    def check(self) -> None:
        """Check that nobody waits.

        Raises:
            RuntimeError: another task does.
        """
        if self._waiter is not None:
            raise RuntimeError("another task is already waiting here; one reader at a time")

    async def wait(self) -> None:
        """Wait for `wake`. Safe to cancel."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def wake(self) -> None:
        """Let the task that waits, if there is one, go on."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
