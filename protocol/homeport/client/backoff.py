"""How long to wait before the next attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import random as system_random
from typing import Final, NamedTuple

BASE_S: Final = 0.2
CAP_S: Final = 20.0


class Backoff(NamedTuple):
    """How a client waits between attempts: exponential backoff with full jitter.

    Attributes:
        sleep: waits that many seconds.
        random: returns a float in [0, 1).
    """

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = system_random

    def delay(self, failures: int) -> float:
        """Seconds to wait after `failures` failures in a row, 1 or more (SPEC.md HP-8.3-1).

        Evenly spread from 0 to a ceiling that doubles each time and stops at `CAP_S`. A whole fleet
        that lost its gateway at once comes back spread out, which a fixed backoff does not do.
        """
        # 2**10 * BASE_S is over the cap; the exponent must not grow for days.
        return self.random() * min(CAP_S, BASE_S * 2.0 ** min(failures, 10))
