"""When an event is sent again that was not taken.

The delays are those that Standard Webhooks 1.0.0 advises ("Deliverability and reliability"), for as
long as the event is kept. Each is a little longer or shorter, by chance, so that what failed
together does not come back together.
"""

from __future__ import annotations

import random
from typing import Final

from gateway.store.hook_queue import KEPT_MS

_S: Final = 1000
_H: Final = 3600 * _S

DELAYS_MS: Final = (
    5 * _S,
    300 * _S,
    1800 * _S,
    2 * _H,
    5 * _H,
    10 * _H,
    14 * _H,
    20 * _H,
    24 * _H,
)
"""After the first attempt, the second, and so on."""

JITTER: Final = 0.1


def next_ms(
    attempts: int, now_ms: int, since_ms: int, retry_after_s: float | None = None
) -> int | None:
    """When to try again after so many attempts, in ms since 1970; None: never.

    `since_ms` is when the event happened, and `retry_after_s` what the receiver asks for, at least.
    """
    if attempts > len(DELAYS_MS):
        return None
    delay = DELAYS_MS[attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311
    if retry_after_s is not None:
        delay = max(delay, retry_after_s * 1000)
    again = now_ms + round(delay)
    return again if again < since_ms + KEPT_MS else None
