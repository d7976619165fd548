"""Gives events to the program: to ``on_event``, one after the other, and to those who iterate."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final
from weakref import WeakSet

from homeport.client.events import Event, EventsDropped
from homeport.client.loop import OwnLoop
from homeport.client.reading import Waiting

MAX_WAITING: Final = 10_000
"""Events that wait for a slow program; of more, the oldest are dropped, and it is told so."""

HANDLER_END_S: Final = 5.0
"""Seconds that a closing client waits for an asynchronous handler; then the handler is cancelled"""

Handler = Callable[[Event], object]
"""A function, or a coroutine function, of one event."""

_log = logging.getLogger("homeport.client")


class Backlog:
    """The events that nobody has taken yet, `MAX_WAITING` at most."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event) -> bool:
        """Add `event`; returns True if it is the first since a `take` that pushes another out."""
        full = len(self._events) >= MAX_WAITING
        first = full and not self._dropped
        if full:
            self._events.popleft()
            self._dropped += 1
        self._events.append(event)
        return first

    def take(self) -> Event:
        """The oldest event, or an `EventsDropped` in the place of those that were dropped.

        Raises:
            IndexError: there is none.
        """
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            return EventsDropped(dropped)
        return self._events.popleft()


class EventReader:
    """One stream of events, from when it is made to the client's end."""

    def __init__(self, own_loop: OwnLoop) -> None:
        self._own_loop = own_loop
        self._backlog = Backlog()
        self._waiting = Waiting()
        self._ended = False
        self._end: Exception | None = None

    async def next(self) -> Event:
        """Wait for the next event. Safe to cancel.

        Raises:
            RuntimeError: another task is waiting here, or this is another event loop.
            StopAsyncIteration: the caller closed the client.
            Exception: the error that ended the client.
        """
        self._own_loop.bind()
        self._waiting.check()
        while not self._backlog:
            if self._end is not None:
                raise self._end
            if self._ended:
                raise StopAsyncIteration
            await self._waiting.wait()
        return self._backlog.take()

    def put(self, event: Event) -> None:
        """Add an event."""
        self._backlog.put(event)
        self._waiting.wake()

    def close(self, end: Exception | None) -> None:
        """Nothing will come any more: after what is here, reading raises `end`, or stops."""
        self._ended, self._end = True, end
        self._waiting.wake()


class Dispatcher:
    """Gives each event to the handler and to all readers.

    The handler is called in a turn of the event loop of its own, so its errors harm nothing. Where
    it returns an awaitable, that is awaited before the next event is given.
    """

    def __init__(self, own_loop: OwnLoop, handler: Handler | None) -> None:
        self._own_loop = own_loop
        self._handler = handler
        self._readers: WeakSet[EventReader] = WeakSet()  # a reader ends when nobody has it
        self._over = False
        self._end: Exception | None = None
        self._waiting = Backlog()
        self._planned = False
        self._awaiting: asyncio.Task[None] | None = None

    def reader(self) -> EventReader:
        """Begin a stream of events."""
        reader = EventReader(self._own_loop)
        self._readers.add(reader)
        if self._over:
            reader.close(self._end)
        return reader

    def tell(self, event: Event) -> None:
        """Give `event` to the handler and to the readers, after those before it."""
        for reader in self._readers:
            reader.put(event)
        if self._handler is None:
            return
        if self._waiting.put(event):
            _log.warning("on_event is too slow; events are dropped, the oldest first")
        self._plan()

    def end(self, end: Exception | None) -> None:
        """The client has ended, by `end` or by its caller; the first end counts."""
        if not self._over:
            self._over, self._end = True, end
            for reader in self._readers:
                reader.close(end)

    async def close(self) -> None:
        """Wait until the handler has had all events, for `HANDLER_END_S` at most."""
        loop = asyncio.get_running_loop()
        end = loop.time() + HANDLER_END_S
        while self._waiting or self._awaiting is not None:
            task, left = self._awaiting, end - loop.time()
            if task is asyncio.current_task():
                return  # the handler itself closes the client
            if left <= 0:
                self._waiting = Backlog()
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
        event = self._waiting.take()
        try:
            result = self._handler(event)
            if inspect.isawaitable(result):
                self._awaiting = asyncio.create_task(_awaited(result))
                self._awaiting.add_done_callback(self._ended)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - a callback's
            _report(error)
        finally:
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
