"""What each app has in Redis, as it was counted: for an operator."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.apps.app import App
from gateway.redis.link import Link
from gateway.store.keys import Keys
from gateway.store.storage import TOLD, UNUSED_MS


@dataclass(frozen=True, slots=True)
class AppFacts:
    """What one app has. Bytes are those of `gateway.store.storage`; `users`, `groups` and `rooms`
    are as of `counted_ms`, and None where no walk has ended since the app was made."""

    app: App
    bytes: int
    strange: int
    connections: int
    users: int | None
    groups: int | None
    rooms: int | None
    counted_ms: int | None

    @property
    def full(self) -> float:
        """What part of its limit is used."""
        return self.bytes / self.app.tier.app_bytes


async def app_facts(link: Link, keys: Keys, apps: Sequence[App], now_ms: int) -> list[AppFacts]:
    """Of each app, the one with the most bytes first: two commands for each.

    Raises:
        Unavailable: Redis is away.
    """
    if not apps:
        return []
    ids = [app.id for app in apps]
    told = [
        link.run(TOLD, (keys.stored(app.id, ""),), now_ms, app.tier.retention_ms, UNUSED_MS, 0)
        for app in apps
    ]
    counted = [
        link.call("HMGET", keys.stored(app_id, ""), "users", "groups", "rooms", "at")
        for app_id in ids
    ]
    connections = await link.call("HMGET", keys.connections, *ids)
    facts = []
    for app, sums, found, here in zip(
        apps, await asyncio.gather(*told), await asyncio.gather(*counted), connections, strict=True
    ):
        users, groups, rooms, at = (None if each is None else int(each) for each in found)
        total, strange = sums
        facts.append(AppFacts(app, total, strange, int(here or 0), users, groups, rooms, at))
    return sorted(facts, key=lambda each: (-each.bytes, each.app.id))
