"""Time, as connections and sessions use it."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.clock import Clock
from gateway.wheel import Wheel


@dataclass(frozen=True, slots=True)
class Timing:
    """The clock, the wheel that calls what is due by it, and the seconds between heartbeats."""

    clock: Clock
    wheel: Wheel
    heartbeat_s: float
