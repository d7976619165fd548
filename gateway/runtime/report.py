"""A worker's reports: its state to the ops process, four times per second, and its counts to the
metrics, once per second."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.ops.datagrams import Mouth, Report
from gateway.runtime.probe import Probe
from gateway.runtime.status import Status
from gateway.store.region_clock import RegionClock
from gateway.tasks import Tasks

if TYPE_CHECKING:
    from gateway.ops.exporter import Exporter

EVERY_S: Final = 0.25
"""Seconds between two reports."""

EXPORT_EVERY: Final = 4
"""Reports between two exports of the metrics."""


class Reporter:
    """Reports how one worker is. `measure` tells an exporter all that was counted here.

    `folder` is the run folder, `name` the worker's name there; `clock` knows whether this machine's
    clock is right.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        status: Status,
        tasks: Tasks,
        measure: Callable[[Exporter], None],
        clock: RegionClock,
    ) -> None:
        # Here, because only a gateway with an ops process needs it: 60 ms. Its supervisor has
        # imported it before.
        from gateway.ops.exporter import Exporter

        self._mouth = Mouth(folder)
        self._exporter = Exporter(folder)
        self._name = name
        self._status = status
        self._tasks = tasks
        self._measure = measure
        self._clock = clock

    def round_trip(self, seconds: float) -> None:
        """A command to Redis took this long."""
        self._exporter.observe("homeport_store_link_roundtrip_seconds", seconds)

    async def run(self, probe: Probe) -> None:
        """Report until cancelled, and once more then. Says how `probe` stands."""
        loop = asyncio.get_running_loop()
        reports = 0
        try:
            while True:
                self._say(probe)
                if reports % EXPORT_EVERY == 0:
                    self.export()
                reports += 1
                due = loop.time() + EVERY_S
                await asyncio.sleep(EVERY_S)
                late = max(loop.time() - due, 0.0)
                self._exporter.observe("homeport_runtime_loop_lag_seconds", late)
        finally:
            self._say(probe)
            self.export()

    def export(self) -> None:
        """Write what was counted so far."""
        self._measure(self._exporter)

    def close(self) -> None:
        """Close the files and the socket."""
        self._exporter.close()
        self._mouth.close()

    def _say(self, probe: Probe) -> None:
        status = self._status
        probe.look()
        self._mouth.say(
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
            )
        )
