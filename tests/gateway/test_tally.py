"""Durations in buckets."""

from __future__ import annotations

import pytest

from gateway.ops.metrics import FINE_S
from gateway.tally import BOUNDS_S, CELLS, Histogram, Tally


def test_a_tally_counts_into_the_buckets_that_it_names() -> None:
    """Every duration lies in the first bucket whose bound is above it."""
    for ms in (-5, 0, 1, 2, 3, 4, 1000, 65_535, 65_536, 10**9):
        tally = Tally()
        tally.add(ms)
        cell = tally.cells.index(1)
        assert cell == CELLS - 1 or ms / 1000 < BOUNDS_S[cell]
        assert cell == 0 or ms / 1000 >= BOUNDS_S[cell - 1]
        assert tally.total_ms == max(ms, 0)


@pytest.mark.parametrize(
    ("seconds", "cell"), [(0.0, 0), (0.0005, 0), (0.0006, 1), (0.25, 8), (5.0, 12), (5.1, 13)]
)
def test_a_bucket_includes_its_bound(seconds: float, cell: int) -> None:
    """As Prometheus has it: `le` is "less or equal"; the last bucket has no bound."""
    histogram = Histogram(FINE_S)
    histogram.observe(seconds)
    histogram.observe(seconds)
    assert [index for index, count in enumerate(histogram.cells) if count] == [cell]
    assert histogram.cells[cell] == 2
    assert histogram.total_s == pytest.approx(2 * seconds)
