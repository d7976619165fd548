"""Durations, counted where they happen for the price of an integer.

What runs for each message must not pay for a metric. So it adds one to a cell here, and once a
second somebody else looks at the cells.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

CELLS: Final = 18
"""Up to a duration of 65.536 s, and one cell for whatever is longer."""


class Tally:
    """Counts whole milliseconds by their number of binary digits.

    Cell 0 counts 0 ms, cell n those from 2^(n-1) to 2^n - 1 ms, and the last cell all above.
    """

    __slots__ = ("cells", "total_ms")

    def __init__(self) -> None:
        self.cells = [0] * CELLS
        self.total_ms = 0

    def add(self, ms: int) -> None:
        """Count one duration; a negative one, of two clocks that differ, counts as 0."""
        if ms > 0:
            self.total_ms += ms
            digits = ms.bit_length()
            self.cells[digits if digits < CELLS else CELLS - 1] += 1
        else:
            self.cells[0] += 1


BOUNDS_S: Final = tuple((1 << n) / 1000 for n in range(CELLS - 1))
"""The upper bound of each cell but the last, in seconds: 0.001, 0.002, 0.004 … 65.536."""


class Histogram:
    """Counts seconds in buckets of any `bounds_s`, for what happens a few times per second.

    `cells[i]` counts those up to `bounds_s[i]` and above the bound before, and the last cell all
    above.
    """

    __slots__ = ("_bounds_s", "cells", "total_s")

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self._bounds_s = bounds_s
        self.cells = [0] * (len(bounds_s) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration, which is not negative."""
        self.cells[bisect_left(self._bounds_s, seconds)] += 1
        self.total_s += seconds
