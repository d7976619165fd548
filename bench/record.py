"""Latencies: appended on the hot path, put into histograms off it.

A histogram has three significant digits from a microsecond to an hour. Values are nanoseconds
while they wait in a list, microseconds in the histogram.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from hdrh.histogram import HdrHistogram
from msgspec import Struct

HIGHEST_US: Final = 3_600_000_000
DIGITS: Final = 3

SHOWN: Final = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}
"""The percentiles of every table, by name."""


class Latency(Struct, frozen=True):
    """Percentiles in microseconds, by name (`SHOWN`, ``max``), their number and their mean.

    `hdr` is the whole histogram in HdrHistogram's own encoding.
    """

    count: int
    mean: float
    percentiles: dict[str, float]
    hdr: str


def new_histogram() -> HdrHistogram:
    """An empty histogram."""
    return HdrHistogram(1, HIGHEST_US, DIGITS)


class Recorder:
    """Values of one kind. The hot path calls `append` with nanoseconds."""

    __slots__ = ("_histogram", "_waiting", "append")

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self.append = self._waiting.append
        self._histogram = new_histogram()

    def fold(self) -> None:
        """Put what waits into the histogram. Call it a few times a second."""
        for value, count in Counter(_microseconds(self._waiting)).items():
            self._histogram.record_value(value, count)
        self._waiting.clear()

    def encoded(self) -> bytes:
        """The histogram, to be merged elsewhere; empty again afterwards."""
        self.fold()
        encoded: bytes = self._histogram.encode()
        self._histogram = new_histogram()
        return encoded


def _microseconds(values: Iterable[int]) -> list[int]:
    # Rounded to the histogram's own digits, so that equal ones are counted together.
    result = []
    for value in values:
        us = value // 1000
        if us < 1:
            us = 1
        elif us >= 2048:
            shift = us.bit_length() - 11
            us = us >> shift << shift
        result.append(us)
    return result


def merged(parts: Iterable[bytes]) -> Latency | None:
    """What the encoded histograms of all processes say together; None where they are empty."""
    histogram = new_histogram()
    for part in parts:
        histogram.decode_and_add(part)
    return summary(histogram)


def summary(histogram: HdrHistogram) -> Latency | None:
    """Percentiles of a histogram; None where it is empty."""
    if not histogram.total_count:
        return None
    percentiles = {name: float(histogram.get_value_at_percentile(at)) for name, at in SHOWN.items()}
    percentiles["max"] = float(histogram.get_max_value())
    return Latency(
        count=histogram.total_count,
        mean=float(histogram.get_mean_value()),
        percentiles=percentiles,
        hdr=histogram.encode().decode(),
    )


def decoded(latency: Latency) -> HdrHistogram:
    """The histogram of a latency."""
    return HdrHistogram.decode(latency.hdr)
