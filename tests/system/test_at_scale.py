"""A Redis of several servers: a primary dies, and slots move, while messages flow.

What is measured by the way is printed: how long nothing was accepted.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.redis.slots import slot_of
from gateway.store.keys import Keys
from tests.clusters import Node, RedisCluster, cluster, sentinels, wait_until
from tests.system.load import Load
from tests.system.site import OpenSite, Site, ws

USERS = 8
EACH = 200
TOTAL = USERS * EACH


class Stalls:
    """Watches how long nothing is accepted."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.longest = 0.0
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        seen, since = -1, time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            if self._load.accepted != seen:
                seen, since = self._load.accepted, time.monotonic()
            self.longest = max(self.longest, time.monotonic() - since)

    def end(self, what: str) -> None:
        """Say it."""
        self._task.cancel()
        print(f"{what}: nothing was accepted for {self.longest:.2f} s at the longest")


async def _its_primary_dies(site: Site, primary: Callable[[], Node], what: str) -> None:
    """Under load, and is started again once another is `primary`; then the account is made."""
    gateway = await site.gateway(durability="replica")
    load = Load(site, ws(gateway), USERS, random.Random(7))
    async with load.running():
        sending = asyncio.create_task(load.send(EACH, 1))
        await load.until_accepted(TOTAL // 3)
        stalls = Stalls(load)
        lost = primary()
        lost.kill()
        await asyncio.to_thread(wait_until, lambda: primary() is not lost, "the next")
        lost.start()
        await sending
        stalls.end(f"{what}, primary killed, replica")
        await load.until_received()
        print("came again:", load.check_told())


@pytest.mark.timeout(180)
async def test_a_sentinel_failover_under_load(open_site: OpenSite, tmp_path: Path) -> None:
    """G1, G2, G5, G10: the primary dies. With durability replica all that was accepted is on the
    next one, and sends go on once the dead one has come back as its replica."""
    with sentinels(tmp_path / "redis") as group:
        site = await open_site(servers=group)
        await _its_primary_dies(site, group.primary, "sentinel")


@pytest.mark.timeout(180)
async def test_a_cluster_failover_under_load(open_site: OpenSite, tmp_path: Path) -> None:
    """G1, G2, G5, G10: the same in a cluster, where the other two thirds go on meanwhile."""
    with cluster(tmp_path / "redis") as own:
        site = await open_site(servers=own)
        slot = slot_of(Keys("sg").inbox(site.app.id, "user0").refs)
        await _its_primary_dies(site, lambda: own.owner(slot), "cluster")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", ["move", "move_at_once"])
async def test_slots_move_under_load(
    open_site: OpenSite, cluster_url: str, _cluster: RedisCluster, way: str
) -> None:
    """G1, G2, G3, G10: the slots of all users go to other nodes and back while they write to each
    other; nobody is refused, told of a loss, or has to come back."""
    site = await open_site(servers=Shared(_cluster))
    gateway = await site.gateway()
    load = Load(site, ws(gateway), USERS, random.Random(7))
    slots = {slot_of(Keys("sg").inbox(site.app.id, user).refs) for user in load.users}
    async with load.running():
        sending = asyncio.create_task(load.send(EACH, 12))
        await load.until_accepted(TOTAL // 8)
        stalls = Stalls(load)
        for slot in slots:
            home = _cluster.owner(slot)
            away = next(node for node in _cluster.primaries() if node is not home)
            for to in (away, home):
                await asyncio.to_thread(getattr(_cluster, way), slot, to)
        moved = load.accepted
        await sending
        stalls.end(f"cluster, {2 * len(slots)} slots moved, {way}")
        await load.until_received()
        await load.check()
    assert moved > TOTAL // 8, "the slots moved too late to show anything"


class Shared:
    """A cluster of several tests, as a site's own."""

    def __init__(self, found: RedisCluster) -> None:
        self.url = found.url

    def close(self) -> None:
        """The session's fixture does."""
