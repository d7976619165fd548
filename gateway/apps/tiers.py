"""What an app has paid for, as one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_DAY_MS: Final = 24 * 60 * 60 * 1000
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier.

    `retention_ms` is how long a message waits, in milliseconds. `inbox_cap` is the most messages
    one user's inbox holds. `max_body` is the largest message body, in bytes. `group_members` is
    the most members of one group.
    """

    name: str
    retention_ms: int
    inbox_cap: int
    max_body: int
    group_members: int


TIERS: Final[dict[str, Tier]] = {
    tier.name: tier
    for tier in (
        Tier("free", 3 * _DAY_MS, 1_000, 8 * _KIB, 100),
        Tier("basic", 7 * _DAY_MS, 5_000, 16 * _KIB, 250),
        Tier("pro", 90 * _DAY_MS, 20_000, 32 * _KIB, 1_000),
        Tier("enterprise", 180 * _DAY_MS, 100_000, 64 * _KIB, 5_000),
    )
}
