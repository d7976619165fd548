"""Token buckets that all gateways of a region spend from: one per user, one per app.

A bucket is one number, the time at which it is full again: each token spent puts that off. A full
bucket is an absent key.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from gateway.apps.tiers import Rate
from gateway.redis.link import Link
from gateway.store.keys import Keys
from gateway.store.scripts import script

_SPEND: Final = script("spend")


class RateStore:
    """The buckets of a region."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    def spend(
        self, app_id: str, user: str, rate: Rate, count: int, now_ms: int
    ) -> asyncio.Future[Any]:
        """Take `count` tokens out of the bucket of `user`, or of the whole app where that is "".

        The future holds in how many milliseconds the bucket is full, as text of a float: more than
        a whole burst takes to come back where the bucket is in debt. It raises as `Link.call`.
        """
        bucket = self._keys.rate(app_id, user)
        return self._link.run(_SPEND, (bucket,), now_ms, repr(1000 / rate.per_s), count)
