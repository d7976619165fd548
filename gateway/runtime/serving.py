"""A serving process: signals, its start and drain, and what fails outside of its tasks."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import signal
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final

import structlog

from gateway.config import Settings, Source
from gateway.net.lost import is_lost
from gateway.runtime import logs
from gateway.runtime.process import Process
from gateway.runtime.starting import Listening
from gateway.runtime.worker import Worker
from gateway.tasks import Tasks

GC_THRESHOLD: Final = 10_000
"""New objects after which Python looks for cycles among them; about a millisecond's work."""

HURRY_AFTER_S: Final = 0.25
"""A signal that follows the first within this is the same one: where a process group or a service
is signalled as a whole, it comes directly, and by way of the supervisor."""

_log = structlog.get_logger()


async def serve(
    settings: Settings,
    *,
    on_ready: Callable[[Listening], None],
    folder: Path | None = None,
    source: Source | None = None,
    name: str = "",
    tasks: Tasks | None = None,
    kind: type[Process] = Worker,
) -> None:
    """Run one process of `kind` until SIGTERM or SIGINT, then drain it; a second signal hurries.

    `on_ready` is called when everything accepts. While Redis is away at the start, this waits.
    `folder` is the run folder if there is a supervisor, which calls this worker `name`; SIGINT is
    then left to the supervisor. If there is a `source` of the settings, SIGHUP reads them and all
    files again. `tasks` are the process'.

    Raises:
        StartError: the settings, files or Redis are not right for each other.
        TaskEnded: a task ended that the gateway needs; the caller should start a new gateway.
    """
    tasks = tasks or Tasks()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(log_fault)
    numbers = (signal.SIGTERM, signal.SIGINT) if folder is None else (signal.SIGTERM,)
    with _leaving_at(numbers, lambda: worker.hurry()) as leaving:
        worker = kind(settings, folder=folder, name=name, source=source, tasks=tasks)
        logs.name_gateway(worker.gateway)
        if source is not None:  # else whoever closes the terminal of `homeport dev` ends it
            loop.add_signal_handler(signal.SIGHUP, worker.reloading.ask)
        starting = asyncio.create_task(worker.start())
        stopped = asyncio.create_task(leaving.wait())
        failed = asyncio.create_task(tasks.failed())
        over: set[asyncio.Task[Any]] = {stopped, failed}
        try:
            await asyncio.wait({starting, *over}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                on_ready(starting.result())
                _calm_garbage_collector()
                await asyncio.wait(over, return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                worker.hurry()  # it can't serve while its clients leave in their turn
                failed.result()
        finally:
            for task in (starting, *over):
                task.cancel()
            await asyncio.gather(starting, *over, return_exceptions=True)
            await worker.stop()
            loop.remove_signal_handler(signal.SIGHUP)


@contextlib.contextmanager
def _leaving_at(
    numbers: Collection[signal.Signals], hurry: Callable[[], None]
) -> Iterator[asyncio.Event]:
    """The first of these signals sets the event, and a later one calls `hurry`."""
    loop = asyncio.get_running_loop()
    leaving = asyncio.Event()
    since = math.inf

    def leave() -> None:
        nonlocal since
        if not leaving.is_set():
            since = loop.time()
            leaving.set()
        elif loop.time() >= since + HURRY_AFTER_S:
            hurry()

    for number in numbers:
        loop.add_signal_handler(number, leave)
    try:
        yield leaving
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _calm_garbage_collector() -> None:
    """What a started process consists of stays, so it need not be looked through again and again;
    and a busy turn of the loop has more than Python's 700 objects in hand, none of them garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


def log_fault(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Take what the loop reports of a callback or a transport that failed (asyncio's
    `call_exception_handler`). Its own way of telling writes the repr of whatever was at hand.

    aiofastnet gives a class in place of an exception where a client leaves in its TLS handshake, as
    each health check by TCP does; that is no fault.
    """
    error, what = context.get("exception"), context.get("message", "")
    if error is ConnectionResetError or is_lost(error):
        _log.debug("connection_lost", what=what)
    else:
        _log.error("fault", what=what, exc_info=error if isinstance(error, Exception) else None)
