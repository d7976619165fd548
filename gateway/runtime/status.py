"""How a worker is: what it reports to the ops process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True)
class Status:
    """How a worker is: what it reports to the ops process."""

    state: Literal["starting", "ready", "draining"] = "starting"
    to_drain: int = 0
    """Sessions that were open when the drain began."""
    left: int = 0
    """Of those still open."""
