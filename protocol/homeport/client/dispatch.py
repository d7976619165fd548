"""Gives events to the program's ``on_event``, one after the other."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

from homeport.client.events import Event

MAX_WAITING: Final = 10_000
"""Events that wait for a slow handler; of more, the oldest is dropped and that is logged."""

HANDLER_END_S: Final = 5.0
"""Seconds that a closing client waits for an asynchronous handler; then the handler is cancelled"""

Handler = Callable[[Event], object]
"""A function, or a coroutine function, of one event."""

_log = logging.getLogger("homeport.client")


class Dispatcher:
    """Calls the handler in a turn of the event loop of its own, so its errors harm nothing.

    Where the handler returns an awaitable, it is awaited before the next event is given.
    """

    def __init__(self, handler: Handler | None) -> None:
        self._handler = handler
        self._waiting: deque[Event] = deque()
        self._planned = False
        self._awaiting: asyncio.Task[None] | None = None
        self._dropping = False

    def tell(self, event: Event) -> None:
        """Give `event` to the handler soon, after those before it."""
        if self._handler is None:
            return
        if len(self._waiting) >= MAX_WAITING:
            if not self._dropping:
                _log.warning("on_event is too slow; events are dropped, the oldest first")
            self._dropping = True
            self._waiting.popleft()
        self._waiting.append(event)
        self._plan()

    async def close(self) -> None:
        """Wait until the handler has had all events, for `HANDLER_END_S` at most."""
        loop = asyncio.get_running_loop()
        end = loop.time() + HANDLER_END_S
        while self._waiting or self._awaiting is not None:
            task, left = self._awaiting, end - loop.time()
            if task is asyncio.current_task():
                return  # the handler itself closes the client
            if left <= 0:
                self._waiting.clear()
                if task is not None:
                    _log.warning("on_event did not end in time and was cancelled")
                    task.cancel()
                return
            if task is None:
                await asyncio.sleep(0)
            else:
                await asyncio.wait([task], timeout=left)
                await asyncio.sleep(0)  # `_ended` runs

    def _plan(self) -> None:
        if self._waiting and not self._planned and self._awaiting is None:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._give)

    def _give(self) -> None:
        assert self._handler is not None, "nothing is planned without one"
        self._planned = False
        event = self._waiting.popleft()
        try:
            result = self._handler(event)
            if inspect.isawaitable(result):
                self._awaiting = asyncio.create_task(_awaited(result))
                self._awaiting.add_done_callback(self._ended)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a callback's
            _report(error)
        finally:
            self._dropping = self._dropping and bool(self._waiting)
            self._plan()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._awaiting = None
        self._plan()
        try:
            task.result()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a callback's
            _report(error)


async def _awaited(result: Awaitable[Any]) -> None:
    await result


def _report(error: BaseException) -> None:
    _log.error("on_event raised %s", type(error).__name__, exc_info=error)
