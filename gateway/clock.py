"""Time, passed in, so that a test can hold it still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """Two clocks, both in seconds: `wall` since 1970, for tokens and messages; `steady`, which
    never jumps, for heartbeats and deadlines. A gateway's `wall` is the region's time
    (`gateway.store.region_clock`). `sleep` waits for so many seconds."""

    wall: Callable[[], float] = time.time
    steady: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def wall_ms(self) -> int:
        """`wall` in whole milliseconds."""
        return int(self.wall() * 1000)
