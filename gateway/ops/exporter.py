"""A worker's side of the metrics: values that the ops process, and nobody else, adds up.

Each worker writes its values into memory-mapped files of its own in the run folder
(prometheus-client's multi-process mode), so counters outlive the worker.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values

from gateway.ops.datagrams import METRICS_FOLDER
from gateway.ops.metrics import METRICS, Metric
from gateway.tally import Tally

_MODES: Final[dict[str, Literal["livesum", "livemax", "livemin"]]] = {
    "sum": "livesum",
    "max": "livemax",
    "min": "livemin",
}


class _Tallied(Histogram):
    """A histogram to which many observations are added at once."""

    def add(self, cells: Sequence[int], total_s: float) -> None:
        """Add `cells[i]` observations to bucket i, and `total_s` to their sum."""
        # prometheus-client has no public way; tests/gateway/ops/test_exporter.py would fail.
        for bucket, count in zip(self._buckets, cells, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(total_s)


class Exporter:
    """The metrics of this process, in the run folder `folder`.

    What has not changed costs a look into a dict.
    """

    def __init__(self, folder: Path) -> None:
        # What prometheus-client does by itself where the variable is set before its first import.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder / METRICS_FOLDER)
        self._values = values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()  # nobody collects here
        self._last: dict[tuple[str, str], float] = {}
        self._cells: dict[str, tuple[list[int], int]] = {}
        self._metrics: dict[str, Counter | Gauge | _Tallied] = {}
        for name, metric in METRICS.items():
            # A gauge is made when there is something to tell: it would say 0 until then.
            if metric.over != "own" and metric.type != "gauge":
                self._metrics[name] = self._make(metric)

    def _make(self, metric: Metric) -> Counter | Gauge | _Tallied:
        name, meaning, registry = metric.name, metric.meaning, self._registry
        labels = (metric.label,) if metric.label else ()
        if metric.type == "counter":
            return Counter(name, meaning, labels, registry=registry)
        if metric.type == "gauge":
            mode = _MODES[metric.over]
            return Gauge(name, meaning, labels, registry=registry, multiprocess_mode=mode)
        return _Tallied(name, meaning, labels, registry=registry, buckets=metric.bounds_s)

    def tell(self, name: str, value: float, label: str = "") -> None:
        """A gauge's value, or what a counter has come to; `label` is its label's value."""
        key = (name, label)
        before = self._last.get(key)
        if before == value:
            return
        self._last[key] = value
        metric = self._metrics.get(name)
        if metric is None:
            metric = self._metrics[name] = self._make(METRICS[name])
        assert isinstance(metric, Counter | Gauge)
        child = metric.labels(label) if label else metric
        if isinstance(child, Gauge):
            child.set(value)
        else:
            child.inc(value - (before or 0))

    def observe(self, name: str, seconds: float) -> None:
        """One observation of a histogram."""
        metric = self._metrics[name]
        assert isinstance(metric, Histogram)
        metric.observe(seconds)

    def tally(self, name: str, tally: Tally) -> None:
        """What a `Tally` has come to."""
        metric = self._metrics[name]
        assert isinstance(metric, _Tallied)
        before, total_ms = self._cells.get(name, ([0] * len(tally.cells), 0))
        self._cells[name] = (list(tally.cells), tally.total_ms)
        if tally.cells != before:
            more = [now - then for now, then in zip(tally.cells, before, strict=True)]
            metric.add(more, (tally.total_ms - total_ms) / 1000)

    def close(self) -> None:
        """Close the files."""
        self._values.close_all_files()
