"""Which gateways of the region live, as this one believes."""

from __future__ import annotations

from typing import Final

from gateway.store.presence import LEASE_MS, RENEW_S

LATE_S: Final = 2 * RENEW_S
"""Not having heard for this long, a gateway may be the one that was away."""

GRACE_S: Final = LEASE_MS / 1000
"""How long the others then have to renew their leases."""


class Alive:
    """Told what Redis says, with the steady clock `now` in seconds.

    While Redis was away, nobody could renew a lease. So after a pause, one that has ended proves
    nothing until the others had their time.
    """

    def __init__(self) -> None:
        self.gateways: frozenset[str] = frozenset()
        self._told_at: float | None = None
        self._grace_until = 0.0

    def learn(self, gateways: frozenset[str], now: float) -> bool:
        """These have a lease. Returns true where another one has died, or left, since."""
        if self._told_at is not None and now - self._told_at > LATE_S:
            self._grace_until = now + GRACE_S
        self._told_at = now
        died = self.gateways - gateways
        if now < self._grace_until:
            self.gateways |= gateways
            return False
        self.gateways = gateways
        return bool(died)
