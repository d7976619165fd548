"""Which apps' webhooks this process sends: those of its shares, each of which one process has.

Redis gives every process the same number of shares, and those of one that has died go to others
once its lease is over. Who has lost a share without knowing, as its machine stood still, may send
an event once more, with its id; the logs take nothing from it twice (lua/hooks_log.lua).
"""

from __future__ import annotations

import secrets
import zlib
from typing import Final

from gateway.clock import Clock
from gateway.redis.link import Link
from gateway.store.keys import Keys
from gateway.store.scripts import script

_LEASE: Final = script("hooks_lease", "now")

SHARES: Final = 64
"""More than there are gateways, so that each has about as many apps as any other."""

LEASE_MS: Final = 10_000
RENEW_S: Final = 3.0


def share_of(app_id: str) -> int:
    """The share that an app is in."""
    return zlib.crc32(app_id.encode()) % SHARES


class Leases:
    """The shares of one process."""

    def __init__(self, link: Link, keys: Keys, clock: Clock) -> None:
        self._link = link
        self._keys = (keys.hook_leases, keys.hook_leases_clock)
        self._clock = clock
        self._id = secrets.token_hex(8)
        self._shares: frozenset[int] = frozenset()
        self._until = float("-inf")

    def has(self, app_id: str) -> bool:
        """Whether this process sends the webhooks of an app, now."""
        return self._clock.steady() < self._until and share_of(app_id) in self._shares

    async def renew(self) -> None:
        """Keep the shares, and take those that are free. To be called every `RENEW_S`."""
        asked = self._clock.steady()
        shares = await self._link.run(_LEASE, self._keys, self._id, LEASE_MS, SHARES)
        self._shares, self._until = frozenset(shares), asked + LEASE_MS / 1000

    async def give_up(self) -> None:
        """Leave all shares to others, at once."""
        self._until = float("-inf")
        await self._link.run(_LEASE, self._keys, self._id, 0, SHARES)
