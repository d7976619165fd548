"""Time, passed in, so that a test can hold it still."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """Two clocks, both in seconds: `wall` since 1970, for tokens and messages; `steady`, which
    never jumps, for heartbeats and deadlines. A gateway's `wall` is the region's time
    (`gateway.store.region_clock`)."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic

    def wall_ms(self) -> int:
        """`wall` in whole milliseconds."""
        return int(self.wall() * 1000)
