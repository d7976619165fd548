"""Time, as connections and sessions use it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self

from gateway.clock import Clock
from gateway.wheel import RESOLUTION_S, Wheel


@dataclass(frozen=True, slots=True)
class Timing:
    """The clock, the wheel that calls what is due by it, and the seconds between heartbeats."""

    clock: Clock
    wheel: Wheel
    heartbeat_s: float

    @classmethod
    def by(cls, clock: Clock, heartbeat_s: float) -> Self:
        """With a wheel that begins now."""
        return cls(clock, Wheel(clock.steady()), heartbeat_s)

    async def run(self) -> None:
        """Turn the wheel as time goes by. Never returns."""
        while True:
            await asyncio.sleep(RESOLUTION_S)
            self.wheel.advance(self.clock.steady())
