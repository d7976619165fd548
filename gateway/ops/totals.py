"""The metrics of all workers as one: what each has reported last, and the counts of ended ones."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct, msgpack
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from gateway.ops.datagrams import Numbers
from gateway.ops.metrics import METRICS, Metric

FILE: Final = "totals"
"""In the run folder: what the last answer was made of."""

_MERGES: Final[dict[str, Callable[[float, float], float]]] = {
    "sum": operator.add,
    "max": max,
    "min": min,
}

_log = structlog.get_logger()

_WORKERS: Final = [metric for metric in METRICS.values() if metric.over != "own"]


class _State(Struct):
    """What is kept for an ops process that comes after this one."""

    ended: Numbers
    living: dict[int, Numbers]


class Totals(Collector):
    """Adds up the workers' numbers for Prometheus (prometheus-client's custom collectors).

    A worker's numbers are what it has counted since it began, so a report that is lost takes
    nothing along: the next one says it, too. The counts of a worker that has ended are kept.
    `folder` is the run folder, in which an earlier ops process may have left what it knew.

    Raises:
        OSError: what was left can't be read.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._state = _State(Numbers({}, {}), {})
        if self._file.exists():
            try:
                self._state = msgpack.decode(self._file.read_bytes(), type=_State)
            except msgspec.DecodeError:
                _log.error("totals_damaged", path=str(self._file))  # counters begin at 0 again

    @property
    def pids(self) -> set[int]:
        """The processes of the workers that have not ended, as far as this one knows."""
        return set(self._state.living)

    def take(self, pid: int, numbers: Numbers) -> None:
        """The worker `pid` has reported its numbers."""
        self._state.living[pid] = numbers

    def end(self, pid: int) -> None:
        """The process `pid` has ended: its counts stay, its gauges go."""
        gone, ended = self._state.living.pop(pid, None), self._state.ended
        if gone is None:
            return
        for metric in _WORKERS:
            if metric.type == "histogram":
                if both := _histogram(metric, (ended, gone)):
                    ended.histograms[metric.name] = both
            elif metric.type == "counter" and (values := _values(metric, (ended, gone))):
                ended.values[metric.name] = values

    def save(self) -> None:
        """Write all of it down. An ops process that is started anew then shows no less than this
        one has shown.

        Raises:
            OSError: it can't be written.
        """
        new = self._file.with_suffix(".new")
        new.write_bytes(msgpack.encode(self._state))
        new.replace(self._file)

    def collect(self) -> Iterator[Family]:
        """What Prometheus is told of the workers."""
        living = list(self._state.living.values())
        everybody = [self._state.ended, *living]
        for metric in _WORKERS:
            if metric.type == "histogram":
                if found := _histogram(metric, everybody):
                    yield _told(metric, *found)
            elif values := _values(metric, living if metric.type == "gauge" else everybody):
                family = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
                labels = [metric.label] if metric.label else []
                told = family(metric.name, metric.meaning, labels=labels)
                for label, value in values.items():
                    told.add_metric([label] if labels else [], value)
                yield told


def _values(metric: Metric, sources: Iterable[Numbers]) -> dict[str, float]:
    """One value for each of its label's values; under "" where it has no label."""
    merge, merged = _MERGES[metric.over], dict[str, float]()
    for numbers in sources:
        found = numbers.values.get(metric.name, {})
        for label, value in found.items() if isinstance(found, dict) else (("", found),):
            merged[label] = merge(merged[label], value) if label in merged else value
    return merged


def _histogram(metric: Metric, sources: Iterable[Numbers]) -> tuple[list[int], float] | None:
    """Its cells and the sum of what was observed; None where nobody has one."""
    found = [
        numbers.histograms[metric.name] for numbers in sources if metric.name in numbers.histograms
    ]
    if not found:
        return None
    cells = [sum(column) for column in zip(*(cells for cells, _ in found), strict=True)]
    return cells, sum(total_s for _, total_s in found)


def _told(metric: Metric, cells: list[int], total_s: float) -> Family:
    bounds = [*map(str, metric.bounds_s), "+Inf"]
    buckets = list(zip(bounds, map(float, accumulate(cells)), strict=True))
    return HistogramMetricFamily(metric.name, metric.meaning, buckets=buckets, sum_value=total_s)
