"""Two gateways on one store, which die at random while messages flow."""

from __future__ import annotations

import asyncio
import os
import random

import pytest
import redis.asyncio as redis

from tests.processes import GatewayProcess
from tests.system.load import Load
from tests.system.site import Front, OpenSite, Site

USERS = 8
EACH = 400
IN_FLIGHT = 12
GAPS = 20


async def _cut(site: Site) -> int:
    """Cut every pub/sub connection; returns how many there were."""
    async with redis.Redis.from_url(site.store.url) as client:
        return int(await client.client_kill_filter(_type="pubsub"))


async def _chaos(site: Site, load: Load, gateways: list[GatewayProcess], rng: random.Random) -> int:
    """Kill each gateway twice and cut pub/sub four times, in random order, as the load proceeds.

    Returns how many pub/sub connections were cut.
    """
    blows = [*gateways, *gateways, None, None, None, None]
    rng.shuffle(blows)
    step = USERS * EACH // (len(blows) + 1)
    cut = 0
    for number, blow in enumerate(blows):
        await load.until_accepted(number * step + rng.randrange(step // 2))
        if blow is None:
            cut += await _cut(site)
        else:
            blow.kill()
            await asyncio.to_thread(blow.start)
    return cut


@pytest.mark.timeout(180)
async def test_killed_gateways_and_cut_pubsub_lose_and_double_nothing(open_site: OpenSite) -> None:
    """G1, G2, G3, G10: what was answered ok arrives once and in order, whoever died on the way.

    Sends without an answer are repeated by the SDK with the same id, through the other gateway.
    """
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    rng = random.Random(seed)
    print(f"SEED={seed}")  # pytest shows it when the test fails
    site = await open_site()
    gateways = [await site.gateway("a"), await site.gateway("b")]
    async with Front(gateways, rng) as front:
        load = Load(site, front.url, USERS, rng)
        async with load.running():
            async with asyncio.TaskGroup() as group:
                group.create_task(load.send(EACH, IN_FLIGHT))
                chaos = group.create_task(_chaos(site, load, gateways, rng))
            assert chaos.result() > 0
            # A message that falls into the gap, with nothing behind it to show that it is missing.
            for _ in range(GAPS):
                await asyncio.gather(_cut(site), load.send(1, 1))
                await load.until_received()
            await load.check()
