"""A worker's reports to the ops process: its state four times per second, and once per second also
what it has counted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.ops.datagrams import Mouth, Numbers, Report
from gateway.ops.metrics import FINE_S
from gateway.runtime.probe import Probe
from gateway.runtime.status import Status
from gateway.store.region_clock import RegionClock
from gateway.tally import Histogram
from gateway.tasks import Tasks

EVERY_S: Final = 0.25
"""Seconds between two reports."""

NUMBERS_EVERY: Final = 4
"""Every so many reports one has the numbers with it."""

LAST_TRIES: Final = 10
LAST_PAUSE_S: Final = 0.02
"""How often, and how long after each other, the last report is tried: no other one follows."""


class Reporter:
    """Reports how one worker is. `measure` returns all that was counted elsewhere.

    `folder` is the run folder, `name` the worker's name there; `clock` knows whether this machine's
    clock is right.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        status: Status,
        tasks: Tasks,
        measure: Callable[[], Numbers],
        clock: RegionClock,
    ) -> None:
        self._mouth = Mouth(folder)
        self._lag = Histogram(FINE_S)
        self._round_trips = Histogram(FINE_S)
        self._name = name
        self._status = status
        self._tasks = tasks
        self._measure = measure
        self._clock = clock

    def round_trip(self, seconds: float) -> None:
        """A command to Redis took this long."""
        self._round_trips.observe(seconds)

    async def run(self, probe: Probe) -> None:
        """Report until cancelled, and once more then. Says how `probe` stands."""
        loop = asyncio.get_running_loop()
        since = NUMBERS_EVERY
        try:
            while True:
                due = since >= NUMBERS_EVERY
                taken = self._say(probe, numbers=due)
                since = 1 if due and taken else since + 1
                wake = loop.time() + EVERY_S
                await asyncio.sleep(EVERY_S)
                self._lag.observe(max(loop.time() - wake, 0.0))
        finally:
            for _ in range(LAST_TRIES):
                if self._say(probe, numbers=True):
                    break
                await asyncio.sleep(LAST_PAUSE_S)

    def numbers(self) -> Numbers:
        """What was counted so far."""
        numbers = self._measure()
        for name, histogram in (
            ("homeport_runtime_loop_lag_seconds", self._lag),
            ("homeport_store_link_roundtrip_seconds", self._round_trips),
        ):
            numbers.histograms[name] = (histogram.cells, histogram.total_s)
        return numbers

    def close(self) -> None:
        """Close the socket."""
        self._mouth.close()

    def _say(self, probe: Probe, *, numbers: bool) -> bool:
        status = self._status
        probe.look()
        return self._mouth.say(
            Report(
                self._name,
                os.getpid(),
                status.state,
                status.to_drain,
                status.left,
                probe.proof_s,
                probe.fault,
                self._tasks.lost,
                0.0 if self._clock.right else self._clock.wall_off_s,
                self.numbers() if numbers else None,
            )
        )
