"""A child of the supervisor: how it is forked, and the words with which it reports its state.

======= ======================================================================
word    meaning
======= ======================================================================
beat    its loop turns; sent every `BEAT_S`
ready   it accepts connections
refused it must not or can't start, and why; its last word
failed  a task that it needs has ended, and which: it ends, too
======= ======================================================================

The words come through a pipe, one JSON line each: the word, and a text if it has one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import math
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import structlog
import uvloop

from gateway.config import Settings, Source
from gateway.runtime import logs, serving
from gateway.runtime.parent import die_with_parent
from gateway.runtime.process import Process
from gateway.runtime.reload import current
from gateway.runtime.starting import StartError, cannot_listen
from gateway.runtime.worker import Worker
from gateway.tasks import TaskEnded, Tasks

BEAT_S: Final = 5.0

TASK_ENDED: Final = 70
"""The exit code of a child whose own fault it was: EX_SOFTWARE of sysexits.h."""

_LONGEST: Final = 3000
"""Characters of a refusal's text: a line must fit into one write to a pipe (PIPE_BUF, pipe(7))."""

_log = structlog.get_logger()


class Pipe:
    """The child's end of the pipe. It never blocks: what does not fit in is dropped."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        os.set_blocking(pipe, False)

    def say(self, word: str, text: str = "") -> None:
        """Say one of the module's words."""
        line = json.dumps([word, text[:_LONGEST]]) + "\n"
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._pipe, line.encode())


class Child:
    """A forked process, as its supervisor sees it.

    Attributes:
        ready: it has reported that it accepts connections.
        refusal: why it must not start, once it has reported that.
        failure: the task that has ended, once it has reported that; and `failed_at`, when.
        heard: when it last reported anything, or was forked, in monotonic seconds.
        doubted: since when it has been silent for too long, if it has.
    """

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self._pipe = pipe
        self._read = b""
        self.ready = False
        self.refusal: str | None = None
        self.failure: str | None = None
        self.failed_at = math.inf
        self.heard = time.monotonic()
        self.doubted: float | None = None

    def fileno(self) -> int:
        """The pipe, for a selector."""
        return self._pipe

    def listen(self) -> bool:
        """Read the words that it has sent; False once it has closed the pipe, at its end."""
        try:
            while data := os.read(self._pipe, 65536):
                self._read += data
            return False
        except BlockingIOError:
            return True
        finally:
            *lines, self._read = self._read.split(b"\n")
            for line in lines:
                self._heard(*json.loads(line))

    def _heard(self, word: str, text: str) -> None:
        self.heard = time.monotonic()
        self.doubted = None
        if word == "ready":
            self.ready = True
        elif word == "refused":
            self.refusal = text
        elif word == "failed":
            self.failure = text
            self.failed_at = self.heard

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal. It is there until its supervisor has waited for it."""
        os.kill(self.pid, number)

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._pipe)


def fork(
    run: Callable[[Pipe], None], not_for_it: Collection[int], handled: Collection[signal.Signals]
) -> Child:
    """Fork a child that does `run` and ends; with 1 where that raises, which it logs.

    `not_for_it` are descriptors that the child closes; `handled` the signals that this process
    handles. Of those the child leaves the terminal's, SIGINT, and SIGHUP to its supervisor, which
    passes on what is meant for all.
    """
    die = die_with_parent()
    reading, writing = os.pipe()
    # A signal that finds the child with its parent's handlers would be taken for the parent's.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, handled)
    try:
        pid = os.fork()
    except OSError:  # too many processes, or no memory: the supervisor goes on, and must hear
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(reading)
        os.close(writing)
        raise
    if pid == 0:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in handled:
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            die()
            for descriptor in (reading, *not_for_it):
                os.close(descriptor)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            code = _do(run, Pipe(writing))
        finally:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            os._exit(code)  # what else there is to do at an exit is the parent's
    os.close(writing)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.set_blocking(reading, False)
    return Child(pid, reading)


def _do(run: Callable[[Pipe], None], words: Pipe) -> int:
    try:
        run(words)
    except StartError as error:
        words.say("refused", str(error))
        return 1
    except TaskEnded:  # which is in the log, and was said at once
        return TASK_ENDED
    except Exception as error:  # noqa: BLE001 - the boundary of a process
        _log.error("failed", exc_info=error)
        return 1
    return 0


# -- what they do ----------------------------------------------------------------------------------


def work(settings: Settings, source: Source | None, folder: Path, name: str, words: Pipe) -> None:
    """Serve until SIGTERM, as the worker called `name`."""
    _serve(settings, source, folder, name, words, kind=Worker)


def answer(settings: Settings, source: Source | None, folder: Path, name: str, words: Pipe) -> None:
    """Answer back ends until SIGTERM, as the process of the API called `name`."""
    # Here, because workers need nothing of it.
    from gateway.runtime.api import ApiProcess

    _serve(settings, source, folder, name, words, kind=ApiProcess)


def dispatch(
    settings: Settings, source: Source | None, folder: Path, name: str, words: Pipe
) -> None:
    """Send webhooks until SIGTERM, as the process called `name`."""
    Path("/proc/self/comm").write_text("homeport-hooks")  # what `ps` shows
    # Here, because workers need nothing of it.
    from gateway.runtime.hooks import HooksProcess

    _serve(settings, source, folder, name, words, kind=HooksProcess)


def _serve(
    settings: Settings,
    source: Source | None,
    folder: Path,
    name: str,
    words: Pipe,
    *,
    kind: type[Process],
) -> None:
    logs.configure(settings.log_level, settings.log_format, name)
    if source is not None:  # the supervisor may have read it long ago
        settings = current(settings, source)
        logs.set_level(settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(settings, source, folder, name, words, kind=kind))


async def _work(
    settings: Settings,
    source: Source | None,
    folder: Path,
    name: str,
    words: Pipe,
    *,
    kind: type[Process],
) -> None:
    tasks = Tasks(on_lost=lambda text: words.say("failed", text))
    beating = tasks.keep(_beat(words), "beat")
    try:
        await serving.serve(
            settings,
            on_ready=lambda _: words.say("ready"),
            folder=folder,
            name=name,
            source=source,
            tasks=tasks,
            kind=kind,
        )
    finally:
        tasks.dismiss(beating)


async def _beat(words: Pipe) -> None:
    while True:
        words.say("beat")
        await asyncio.sleep(BEAT_S)


def watch(settings: Settings, folder: Path, name: str, _: Pipe) -> None:
    """Show operators how the workers are, until SIGTERM."""
    logs.configure(settings.log_level, settings.log_format, name)
    # Here, because workers need nothing of it.
    from gateway.ops import process

    try:
        process.run(settings, folder)
    except OSError as error:
        known = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)
        if error.errno not in known and not isinstance(error, socket.gaierror):
            raise
        raise cannot_listen(str(settings.ops_listen), error) from error
