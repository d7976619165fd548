"""The supervisor: `homeport serve` itself, which forks the workers and keeps them there.

It imports everything first, so that the memory of it is shared and a worker is there at once. It
serves nobody; it sleeps until a signal or a child's word comes, or something is due.

========================= ==========================================================================
what happens              what it does
========================= ==========================================================================
a child dies              forks another after a moment, which doubles with each recent death
one dies `DEATHS` times   in `WITHIN_S`: leaves, and says so; another start would not help. Only
                          the ops process and the sender of webhooks are tried on, once the gateway
                          has been ready
one refuses to start      at first: leaves. Later, because a file is wrong by now: it is tried
                          every `REFUSED_S`, and the others go on
a loop hangs for `HANG_S` kills that worker
one lacks a task          waits `FAILED_S` for its end, and kills it then; another follows
SIGTERM, SIGINT           SIGTERM for all workers: they drain; a second one hurries them
`homeport drain`          the same as SIGTERM, by the control socket; a second one hurries nobody
SIGHUP                    SIGHUP for all children: workers read their files again
`drain_s` are over        kills the workers that are still there
the workers are gone      ends the ops process, the sender of webhooks, and itself
it is killed              the kernel sends SIGTERM to its children: they drain, where systemd or a
                          container does not kill them with it
========================= ==========================================================================
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import random
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from gateway.address import Address
from gateway.config import Settings, Source
from gateway.runtime.child import Child, Pipe, answer, dispatch, fork, watch, work
from gateway.runtime.control import Control, name_of
from gateway.runtime.starting import Listening, StartError, cannot_listen
from gateway.sockets import reserve

DEATHS: Final = 5
WITHIN_S: Final = 60.0
RESTART_S: Final = 0.2
"""How long the first restart waits, at the most; each further one within `WITHIN_S` twice that."""

REFUSED_S: Final = 5.0
"""How long the restart of a child waits that refused to start, while others serve."""

HANG_S: Final = 30.0
FAILED_S: Final = 10.0
"""How long a worker may take to exit after it has reported that a task it needs has ended."""

GRACE_S: Final = 5.0
"""How long a worker that has been silent for `HANG_S` is then waited for: where the whole machine
stood still, it has a word waiting, or says one at once."""

OPS_END_S: Final = 3.0
"""How long the ops process may take to end, once the workers have."""

OPS: Final = "ops"
HOOKS: Final = "hooks"
_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})

_log = structlog.get_logger()


class CrashLoop(StartError):
    """A child died again and again. `name` is its name, `how` the way of its last end."""

    def __init__(self, name: str, how: str) -> None:
        super().__init__(
            f"worker {name} died {DEATHS} times within {WITHIN_S:.0f} s, at last {how}: "
            "its log says why; this gateway has stopped"
        )
        self.name = name
        self.how = how


class _Place:
    """Where a child is to be: `run` is what it does."""

    def __init__(self, name: str, run: Callable[[Pipe], None]) -> None:
        self.name = name
        self.run = run
        self.child: Child | None = None
        self.restart_at = math.inf
        self.deaths: deque[float] = deque(maxlen=DEATHS)
        self.first = True


def supervise(
    settings: Settings,
    folder: Path,
    on_ready: Callable[[Listening], None],
    source: Source | None = None,
) -> None:
    """Run a gateway, its workers and its API, until SIGTERM or SIGINT, which drain it.

    `folder` is the run folder. `on_ready` is called once, when all workers accept. Workers read
    `source` again, where there is one. Must be called in the main thread of a process that has no
    other one and no event loop.

    Raises:
        StartError: a worker must not, or can't, start; or (`CrashLoop`) it does not stay.
    """
    with contextlib.ExitStack() as held:
        listening = Listening(
            _reserve(settings.wss_listen, held),
            _reserve(settings.plain_listen, held),
            _reserve(settings.api_listen, held),
        )
        shared = settings.model_copy(
            update={
                "wss_listen": ",".join(map(str, listening.all_wss)) or None,
                "plain_listen": ",".join(map(str, listening.all_plain)) or None,
                "api_listen": ",".join(map(str, listening.all_api)) or None,
            }
        )
        gc.collect()
        gc.freeze()  # what is never looked through is never copied into a child
        name = name_of(settings, None if source is None else source.file)
        _Supervisor(shared, source, folder, name, partial(on_ready, listening), held).run()


def _reserve(where: str | None, held: contextlib.ExitStack) -> tuple[Address, ...]:
    found = []
    for wanted in Address.parse_all(where):
        try:
            address, sockets = reserve(wanted)
        except OSError as error:
            raise cannot_listen(str(wanted), error) from error
        for one in sockets:
            held.enter_context(one)
        found.append(address)
    return tuple(found)


class _Supervisor:
    def __init__(
        self,
        settings: Settings,
        source: Source | None,
        folder: Path,
        name: str,
        on_ready: Callable[[], None],
        held: contextlib.ExitStack,
    ) -> None:
        self._on_ready: Callable[[], None] | None = on_ready
        self._drain_s = settings.drain_s
        self._workers = [
            _Place(name, partial(does, settings, source, folder, name))
            for name, does in _serving(settings)
        ]
        ops = settings.ops_listen is not None
        self._ops = [_Place(OPS, partial(watch, settings, folder, OPS))] if ops else []
        self._ops.append(_Place(HOOKS, partial(dispatch, settings, source, folder, HOOKS)))
        self._places = [*self._workers, *self._ops]
        self._failure: StartError | None = None
        self._leaving = False
        self._kill_at = math.inf
        self._ops_told = False
        self._selector = held.enter_context(selectors.DefaultSelector())
        self._wakeup, self._woken = socket.socketpair()
        for sock in (self._wakeup, self._woken):
            sock.setblocking(False)
            held.enter_context(sock)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._control = Control(folder, name, self._selector, self._drain)
        held.callback(self._control.close)

    def run(self) -> None:
        """Fork the children, and keep them running until a signal ends the gateway.

        Raises:
            StartError: a worker must not, or can't, start; or (`CrashLoop`) it does not stay.
        """
        with self._signals():
            for place in self._places:
                self._start(place)
            while self._is_needed():
                due = self._due()
                wait = None if due == math.inf else max(due - time.monotonic(), 0)
                ready = self._selector.select(wait)
                for key, _ in ready:
                    if isinstance(key.fileobj, Child):
                        self._listen(key.fileobj)
                    elif key.data is not None:
                        key.data()
                self._hear_signals()  # last: whoever has ended is listened to no more
                self._do_what_is_due()
        if self._failure is not None:
            raise self._failure

    def _is_needed(self) -> bool:
        return not self._leaving or any(place.child is not None for place in self._places)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Have signals wake the selector up (signal.set_wakeup_fd)."""
        before = {number: signal.signal(number, _ignore) for number in _SIGNALS}
        old = signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)

    # -- children ----------------------------------------------------------------------------------

    def _start(self, place: _Place) -> None:
        place.restart_at = math.inf
        others = [other.child.fileno() for other in self._places if other.child is not None]
        own = [self._selector.fileno(), self._wakeup.fileno(), self._woken.fileno()]
        own += self._control.descriptors
        try:
            child = fork(place.run, [*others, *own], _SIGNALS)
        except OSError as error:  # too many processes, or no memory
            self._lost(place, f"as it can't be forked: {error.strerror}")
            return
        place.child = child
        self._selector.register(child, selectors.EVENT_READ)

    def _listen(self, child: Child) -> None:
        if not child.listen():
            self._selector.unregister(child)  # it is ending: SIGCHLD follows
        if self._on_ready is not None and all(
            place.child is not None and place.child.ready for place in self._workers
        ):
            on_ready, self._on_ready = self._on_ready, None
            on_ready()

    def _reap(self) -> None:
        """Reap the children that have ended; as process 1 of a container, also others' children."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for place in self._places:
                if place.child is not None and place.child.pid == pid:
                    self._died(place, place.child, status)

    def _died(self, place: _Place, child: Child, status: int) -> None:
        child.listen()
        with contextlib.suppress(KeyError):
            self._selector.unregister(child)
        child.close()
        place.child = None
        first, place.first = place.first, False
        if self._leaving:
            return
        needed = place not in self._ops or self._on_ready is not None
        if first and needed and child.refusal is not None:
            self._leave(StartError(child.refusal))
            return
        if child.refusal is not None:
            place.restart_at = time.monotonic() + REFUSED_S
            _log.error("start_refused", refused=place.name, problem=child.refusal)
            return
        self._lost(place, child.failure or _how(status))

    def _lost(self, place: _Place, how: str) -> None:
        """There is none in `place` now: fork another, unless that has been of no use."""
        now = time.monotonic()
        place.deaths.append(now)
        recent = sum(died > now - WITHIN_S for died in place.deaths)
        wait = RESTART_S * 2 ** (recent - 1) * random.uniform(0.5, 1)  # noqa: S311 - jitter
        if recent == DEATHS:
            if place not in self._ops or self._on_ready is not None:
                _log.error("crash_loop", died=place.name, how=how, deaths=recent)
                self._leave(CrashLoop(place.name, how))
                return
            wait = REFUSED_S  # workers serve, even if nobody can see how they are
        place.restart_at = now + wait
        _log.error("died", died=place.name, how=how, restart_s=round(wait, 2))

    # -- signals -----------------------------------------------------------------------------------

    def _hear_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._woken.recv(4096):
                if number == signal.SIGCHLD:
                    self._reap()
                elif number == signal.SIGHUP:
                    self._tell(self._places, signal.SIGHUP)
                elif self._leaving:
                    self._tell(self._workers, signal.SIGTERM)  # hurry
                else:
                    _log.info("leaving", signal=signal.Signals(number).name)
                    self._leave(None)

    def _drain(self) -> None:
        if not self._leaving:
            _log.info("leaving", asked="homeport drain")
            self._leave(None)

    def _leave(self, failure: StartError | None) -> None:
        self._leaving = True
        self._failure = failure
        self._kill_at = time.monotonic() + self._drain_s
        for place in self._places:
            place.restart_at = math.inf
        self._tell(self._workers, signal.SIGTERM)

    def _tell(self, places: list[_Place], number: signal.Signals) -> None:
        for place in places:
            if place.child is not None:
                place.child.signal(number)

    # -- time --------------------------------------------------------------------------------------

    def _due(self) -> float:
        """When something is to be done that nobody will say, in monotonic seconds."""
        restarts = [place.restart_at for place in self._places]
        hangs = [_patience(place.child) for place in self._workers if place.child is not None]
        return min(self._kill_at, *restarts, *hangs)

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if now >= place.restart_at:
                self._start(place)
        for place in self._workers:
            if place.child is None or now < _patience(place.child):
                continue
            if place.child.failure is not None:
                _log.error("does_not_end", failed=place.name, patience_s=FAILED_S)
                place.child.signal(signal.SIGKILL)
                place.child.failed_at = math.inf  # once is enough
            elif place.child.doubted is None:
                place.child.doubted = now
            else:
                _log.error("hangs", hangs=place.name, silent_s=round(now - place.child.heard, 1))
                place.child.signal(signal.SIGKILL)
                place.child.doubted = math.inf  # once is enough
        if not self._leaving:
            return
        if not self._ops_told and all(place.child is None for place in self._workers):
            self._ops_told = True
            self._kill_at = now + OPS_END_S
            self._tell(self._ops, signal.SIGTERM)
        if now >= self._kill_at:
            self._kill_at = math.inf
            late = [place for place in self._places if place.child is not None]
            if not self._ops_told:
                late = [place for place in late if place in self._workers]
            _log.error("killed", killed=[place.name for place in late], drain_s=self._drain_s)
            self._tell(late, signal.SIGKILL)


def _serving(settings: Settings) -> Iterator[tuple[str, Callable[..., None]]]:
    """The processes that serve clients and back ends: the name of each, and what it does."""
    for number in range(1, settings.workers + 1):
        yield str(number), work
    if settings.api_listen is not None:
        for number in range(1, settings.api_workers + 1):
            yield f"api-{number}", answer


def _ignore(*_: object) -> None:
    """What is to be done about a signal is done where it wakes the selector up."""


def _patience(child: Child) -> float:
    """Until when a worker may be silent, or take to end, in monotonic seconds."""
    if child.failure is not None:
        return child.failed_at + FAILED_S
    return child.heard + HANG_S if child.doubted is None else child.doubted + GRACE_S


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
