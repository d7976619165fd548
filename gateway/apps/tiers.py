"""What an app has paid for, as one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_DAY_MS: Final = 24 * 60 * 60 * 1000
_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_GIB: Final = 1024 * _MIB


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` requests at once, and `per_s` a second in the long run."""

    per_s: int
    burst: int


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier.

    `retention_ms` is how long a message waits, in milliseconds. `inbox_cap` is the most messages
    one user's inbox holds. `max_body` is the largest message body, in bytes. `group_members` is
    the most members of one group. `devices` is how many devices of a user are connected at once,
    `connections` how many of all the app's users together. `own_groups` and `own_rooms` are the
    most groups and rooms that one user may have made.
    `session` limits the requests of one session, `user` and `app` limit all sends of a user and of
    an app.
    """

    name: str
    retention_ms: int
    inbox_cap: int
    max_body: int
    group_members: int
    devices: int
    connections: int
    own_groups: int
    own_rooms: int
    app_bytes: int
    sender_bytes: int
    session: Rate
    user: Rate
    app: Rate


TIERS: Final[dict[str, Tier]] = {
    tier.name: tier
    for tier in (
        Tier(
            "free", 3 * _DAY_MS, 1_000, 8 * _KIB, 100, 2, 100, 50, 10,
            64 * _MIB, 16 * _MIB,
            Rate(50, 500), Rate(100, 1_000), Rate(1_000, 5_000),
        ),
        Tier(
            "basic", 7 * _DAY_MS, 5_000, 16 * _KIB, 250, 4, 2_000, 200, 50,
            4 * _GIB, 256 * _MIB,
            Rate(100, 1_000), Rate(200, 2_000), Rate(5_000, 20_000),
        ),
        Tier(
            "pro", 90 * _DAY_MS, 20_000, 32 * _KIB, 1_000, 8, 50_000, 500, 200,
            256 * _GIB, 4 * _GIB,
            Rate(500, 5_000), Rate(1_000, 10_000), Rate(20_000, 100_000),
        ),
        Tier(
            "enterprise", 180 * _DAY_MS, 100_000, 64 * _KIB, 5_000, 16, 1_000_000, 1_000, 1_000,
            1024 * _GIB, 32 * _GIB,
            Rate(5_000, 50_000), Rate(10_000, 100_000), Rate(100_000, 500_000),
        ),
    )
}  # fmt: skip

STRANGERS: Final = 16
"""What is stored for users who have never connected may be this part of either quota."""
