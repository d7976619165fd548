"""What a worker reports: to the ops process how it is, four times a second; and to the metrics, once
a second, what it has counted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.ops.reports import METRICS, Mouth, Report
from gateway.runtime.probe import Probe
from gateway.runtime.status import Status

if TYPE_CHECKING:
    from gateway.ops.exporter import Exporter

EVERY_S: Final = 0.25
"""Seconds between two reports."""

EXPORT_EVERY: Final = 4
"""Reports between two exports of the metrics."""

LAG: Final = "homeport_runtime_loop_lag_seconds"
ROUND_TRIP: Final = "homeport_store_link_roundtrip_seconds"


class Reporter:
    """Reports how one worker is. `export` writes all that others have counted.

    `folder` is the run folder, `name` the worker's name there.
    """

    def __init__(
        self, folder: Path, name: str, status: Status, export: Callable[[Exporter], None]
    ) -> None:
        self._folder = folder
        self._name = name or str(os.getpid())
        self._status = status
        self._export = export
        self._round_trips: list[float] = []

    def round_trip(self, seconds: float) -> None:
        """A command to Redis took this long."""
        self._round_trips.append(seconds)

    async def run(self, probe: Probe) -> None:
        """Report until cancelled, and once more then. Says how `probe` stands."""
        exporter = _open(self._folder)
        mouth = Mouth(self._folder)
        loop = asyncio.get_running_loop()
        reports = 0
        try:
            while True:
                mouth.say(self._report(probe))
                if reports % EXPORT_EVERY == 0:
                    self._write(exporter)
                reports += 1
                due = loop.time() + EVERY_S
                await asyncio.sleep(EVERY_S)
                exporter.observe(LAG, max(loop.time() - due, 0.0))
        finally:
            mouth.say(self._report(probe))
            self._write(exporter)
            mouth.close()

    def _report(self, probe: Probe) -> Report:
        status = self._status
        return Report(
            self._name,
            os.getpid(),
            status.state,
            status.to_drain,
            status.left,
            probe.proof_s,
            probe.fault,
        )

    def _write(self, exporter: Exporter) -> None:
        self._export(exporter)
        round_trips, self._round_trips = self._round_trips, []
        for seconds in round_trips:
            exporter.observe(ROUND_TRIP, seconds)


def _open(folder: Path) -> Exporter:
    """The exporter, whose library decides at its import where it writes."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder / METRICS)
    from gateway.ops.exporter import Exporter

    return Exporter()
