"""Plots of results as SVG text, to stand inside a page."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Sequence
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.record import decoded
from bench.result import Result, Sample

_SIZE: Final = (6.4, 3.4)
_TAIL: Final = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99)
_STYLES: Final = ("-", "--")
"""Of the first file and of the second."""

mpl.rcParams.update(
    {
        "svg.fonttype": "none",
        "font.size": 9,
        "axes.grid": True,
        "grid.alpha": 0.3,
        "lines.linewidth": 1.4,
    }
)


def latency(results: Sequence[tuple[str, Result]]) -> str | None:
    """The CDF of each latency, its tail stretched: 99 % is as far from 90 % as that is from 0."""
    figure, axes = _new("ms", "percentile")
    drawn = False
    for number, (name, result) in enumerate(results):
        axes.set_prop_cycle(None)
        for kind, one in result.latency.items():
            points = [
                (item.value_iterated_to / 1000, item.percentile_level_iterated_to)
                for item in decoded(one).get_percentile_iterator(5)
            ]
            points = [(value, _nines(at)) for value, at in points if at < 100]
            if len(points) > 1:
                label = f"{kind}{name}"
                axes.plot(*zip(*points, strict=True), _STYLES[number % 2], label=label)
                drawn = True
    if not drawn:
        return None
    axes.set_xscale("log")
    axes.set_yticks([_nines(at) for at in _TAIL], [f"{at:g} %" for at in _TAIL])
    axes.legend(loc="upper left")
    return _svg(figure)


def _nines(percent: float) -> float:
    return -math.log10(1 - percent / 100)


def over_time(results: Sequence[tuple[str, Result]]) -> str | None:
    """Messages and deliveries a second, and CPU in cores, over time."""
    if not any(len(result.series) > 1 for _, result in results):
        return None
    figure = Figure(figsize=(_SIZE[0], _SIZE[1] * 1.5), layout="constrained")
    rates, cores = figure.subplots(2, 1, sharex=True)
    for number, (name, result) in enumerate(results):
        style = _STYLES[number % 2]
        for axes, what in ((rates, ("sent", "delivered")), (cores, _CPU)):
            axes.set_prop_cycle(None)
            for field in what:
                at, values = _per_second(result.series, field)
                if any(values):
                    label = field.removesuffix("_cpu_s") + name
                    axes.plot(at, values, style, label=label)
    rates.set_ylabel("a second")
    cores.set_ylabel("cores")
    cores.set_xlabel("s")
    for axes in (rates, cores):
        if axes.lines:
            axes.legend(loc="best")
        axes.set_ylim(bottom=0)
    return _svg(figure)


_CPU: Final = ("gateway_cpu_s", "redis_cpu_s", "generator_cpu_s")


def _per_second(series: Sequence[Sample], field: str) -> tuple[list[float], list[float]]:
    at, values = [], []
    for before, after in itertools.pairwise(series):
        passed = after.at_s - before.at_s
        if passed > 0:
            at.append(after.at_s)
            values.append((getattr(after, field) - getattr(before, field)) / passed)
    return at, values


def memory(results: Sequence[tuple[str, Result]]) -> str | None:
    """The gateway's memory by connections, while they were opened and held."""
    figure, axes = _new("connections", "gateway, MiB")
    for number, (name, result) in enumerate(results):
        seen = [(one.connected, one.gateway_rss / 2**20) for one in result.series]
        seen = [(connected, rss) for connected, rss in seen if rss]
        if len({connected for connected, _ in seen}) > 2:
            label = f"{result.label}{name}"
            axes.plot(*zip(*seen, strict=True), _STYLES[number % 2] + "o", ms=3, label=label)
    if not axes.lines:
        return None
    axes.legend(loc="upper left")
    return _svg(figure)


def _new(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
