"""What a program iterates over, and the one task that waits for more of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
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


class Pages(AsyncIterator[_T]):
    """An asynchronous iterator over what the server is asked for page by page.

    A page is asked for when the iteration reaches it. Where that failed, or was cancelled, the next
    step asks for the same page again.
    """

    def __init__(self, limit: int | None, page: int) -> None:
        """`limit` of them, None: all; at most `page` in one answer."""
        self._left = limit
        self._size = page
        self._page: deque[_T] = deque()
        self._more = True

    async def __anext__(self) -> _T:
        """Raises what `Client.send` raises. Safe to cancel."""
        while not self._page:
            size = self._size if self._left is None else min(self._left, self._size)
            if not self._more or size <= 0:
                raise StopAsyncIteration
            items, self._more = await self.read(size)
            self._page.extend(items)
            if self._left is not None:
                self._left -= len(items)
        return self._page.popleft()

    async def read(self, size: int) -> tuple[Sequence[_T], bool]:
        """The next page, which may be shorter than `size`, and whether others follow."""
        raise NotImplementedError


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
