"""The generator processes, from the outside: start them, command them, read their counts."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Final, Self

from bench import worker
from bench.commands import Mark, Setup
from bench.options import BenchError

POLL_S: Final = 0.05


class Generators:
    """A context manager. `on_turn` is called at least every `POLL_S` while a command runs."""

    def __init__(self, setups: Sequence[Setup], on_turn: Callable[[Mark], None]) -> None:
        self._setups = setups
        self._on_turn = on_turn
        self._processes: list[SpawnProcess] = []
        self._pipes: list[Pipe] = []
        self._latest: dict[Pipe, Mark] = {}

    def __enter__(self) -> Self:
        # spawn, not fork: a child must not inherit the event loops and threads of this process.
        context = multiprocessing.get_context("spawn")
        for setup in self._setups:
            ours, theirs = context.Pipe()
            process = context.Process(target=worker.main, args=(theirs, setup), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)
            self._latest[ours] = Mark()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()

    @property
    def pids(self) -> list[int]:
        """The processes' ids."""
        return [process.pid for process in self._processes if process.pid is not None]

    def latest(self) -> Mark:
        """The counts of all processes, as last told."""
        return total(list(self._latest.values()))

    def call(self, command: str, *arguments: Any) -> list[Any]:
        """Have every process run a method of `Worker`; their results in the order of processes."""
        return self.call_each(command, [arguments] * len(self._pipes))

    def call_each(self, command: str, arguments: Sequence[Sequence[Any]]) -> list[Any]:
        """`call` with arguments for each process.

        Raises:
            BenchError: one of them could not do it, or ended.
        """
        for pipe, own in zip(self._pipes, arguments, strict=True):
            pipe.send((command, tuple(own)))
        results: dict[Pipe, Any] = {}
        turned = 0.0
        while len(results) < len(self._pipes):
            ready = wait(self._pipes, POLL_S)
            for pipe in [pipe for pipe in self._pipes if pipe in ready]:
                try:
                    word, value = pipe.recv()
                except (EOFError, OSError):
                    raise BenchError("a generator process ended by itself") from None
                if word == "tick":
                    self._latest[pipe] = value
                elif word == "failed":
                    raise BenchError(value)
                else:
                    results[pipe] = value
            if time.monotonic() - turned >= POLL_S:
                turned = time.monotonic()
                self._on_turn(self.latest())
        return [results[pipe] for pipe in self._pipes]


def total(marks: Sequence[Mark]) -> Mark:
    """The sum of marks of several processes."""
    return Mark(
        *(
            sum(getattr(mark, name) for mark in marks)
            for name in ("sent", "accepted", "delivered", "connected", "cpu_s")
        )
    )
