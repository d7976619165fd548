"""A process' tasks: none that it needs ends unseen.

asyncio says of a task that failed only that its exception was never retrieved, and of one that was
cancelled or returned nothing at all. So every task is one of these:

- one that the process needs: `Tasks.keep`. However it ends, the log says so, and the process leaves
  to be started anew: without what it did, the process would stand there and serve nobody;
- one that does something once, for a session or a change: `Tasks.spawn`, which says that it failed
  and has something done about it;
- one that whoever made it waits for. `tests/gateway/test_tasks.py` lists those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

_log = structlog.get_logger()


class TaskEnded(Exception):
    """A task that this process needs has ended; `name` is the task's. The process must leave.

    What the task raised, if it did, is the cause.
    """

    def __init__(self, name: str, how: str) -> None:
        super().__init__(f"the task {name}, which this process needs, has ended: {how}")
        self.name = name
        self.how = how


class Tasks:
    """One a process. `on_lost` is told at once, in words, that a needed task has ended.

    Attributes:
        lost: the name of the first of them; empty while all are there.
    """

    def __init__(self, on_lost: Callable[[str], None] | None = None) -> None:
        self.lost = ""
        self._on_lost = on_lost
        self._kept: set[asyncio.Task[None]] = set()
        self._may_end: set[asyncio.Task[None]] = set()
        self._spawned: set[asyncio.Task[None]] = set()
        self._failure: TaskEnded | None = None
        self._failed = asyncio.Event()

    def keep(
        self, work: Coroutine[Any, Any, None], name: str, *, may_end: bool = False
    ) -> asyncio.Task[None]:
        """Run `work`, which the process needs until `dismiss`.

        `may_end` says that it returns once its work is done; then only an error, or a cancellation
        by somebody else, is an end that must not be.
        """
        task = asyncio.create_task(work, name=name)
        self._kept.add(task)
        if may_end:
            self._may_end.add(task)
        task.add_done_callback(self._ended)
        return task

    def dismiss(self, task: asyncio.Task[None]) -> None:
        """The process needs this one no more: cancel it. Whoever wants to know waits for it."""
        self._kept.discard(task)
        task.cancel()

    def spawn(
        self, work: Coroutine[Any, Any, None], on_fault: Callable[[], None]
    ) -> asyncio.Task[None]:
        """Run `work` beside everything else. If it raises, log it and call `on_fault`."""
        task = asyncio.create_task(work)
        self._spawned.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._spawned.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("task_failed", exc_info=error)
                on_fault()

        task.add_done_callback(ended)
        return task

    async def end_spawned(self) -> None:
        """Cancel what was spawned, and wait for its end."""
        for task in self._spawned:
            task.cancel()
        await asyncio.gather(*self._spawned, return_exceptions=True)

    async def failed(self) -> None:
        """Wait until a needed task has ended.

        Raises:
            TaskEnded: it has; this never returns.
        """
        await self._failed.wait()
        assert self._failure is not None, "it is set first"
        raise self._failure

    def _ended(self, task: asyncio.Task[None]) -> None:
        may_end = task in self._may_end
        self._may_end.discard(task)
        error = None if task.cancelled() else task.exception()
        if task not in self._kept:  # dismissed
            if error is not None:
                _log.error("task_failed", task=task.get_name(), exc_info=error)
            return
        self._kept.discard(task)
        if may_end and error is None and not task.cancelled():
            return
        how = "it was cancelled" if task.cancelled() else "it returned"
        if error is not None:
            how = type(error).__name__
        name = task.get_name()
        _log.error("needed_task_ended", task=name, how=how, exc_info=error)
        if self._failure is None:
            self.lost = name
            self._failure = TaskEnded(name, how)
            self._failure.__cause__ = error
            self._failed.set()
            if self._on_lost is not None:
                self._on_lost(str(self._failure))


def nothing_to_undo() -> None:
    """For `Tasks.spawn`: what failed is in the log, and comes round again."""
