"""A Redis that has lost what it had, or is another one: it is never taken for a new region."""

from __future__ import annotations

import asyncio
import shutil

import redis
from homeport import codes, frames

from gateway.store.keys import STAMP
from tests.harness import RawClient
from tests.processes import GatewayProcess
from tests.system.ops import Ops
from tests.system.site import OpenSite, Site, ws


async def refused_connect(site: Site, gateway: GatewayProcess) -> None:
    """A client that connects is asked to come back, and not told that its app is no more."""
    async with RawClient.open(ws(gateway)) as client:
        await client.send(frames.Connect(client.request_id(), "d1", site.token("alice")))
        error = await client.expect(frames.Error)
        assert error.code == codes.UNAVAILABLE.number
        assert error.retry_after is not None
        assert await client.closed() == codes.STORE_UNAVAILABLE.number


async def test_a_running_gateway_uses_no_redis_that_lost_everything(open_site: OpenSite) -> None:
    """G1, HP-5.1-11: its disk is gone, and it starts again, empty. Gateways were ready within three
    seconds, and told all who reconnected for good that there is no such app. Now /readyz and a
    metric say what is wrong, sessions stay, clients are told to come back; and once the right data
    is there, all of it heals without a restart."""
    site, ops = await open_site(), Ops()
    gateway = await site.gateway(ops_listen=ops.address)
    await ops.until("/readyz", 200)
    async with RawClient.open(ws(gateway)) as alice:
        await alice.connect(site.token("alice"))
        assert isinstance(await alice.say("bob", "kept", "c1"), frames.Ok)
        site.store.kill()
        backup = site.folder / "backup"
        shutil.copytree(site.store.aof, backup)
        shutil.rmtree(site.store.aof)
        site.store.start()
        await ops.fails("region", ["1"])
        await ops.metrics_until(lambda told: told["homeport_store_wrong_redis"] == 1)
        refused = await alice.say("bob", "not kept", "c2")
        assert isinstance(refused, frames.Error)
        assert refused.code == codes.UNAVAILABLE.number
        await refused_connect(site, gateway)
        with redis.Redis.from_url(site.store.url) as raw:
            assert raw.dbsize() == 0
        site.store.kill()
        shutil.copytree(backup, site.store.aof, dirs_exist_ok=True)
        site.store.start()
        await ops.until("/readyz", 200)
        assert isinstance(await alice.say("bob", "kept too", "c3"), frames.Ok)
    await ops.metrics_until(lambda told: told["homeport_store_wrong_redis"] == 0)
    assert "this Redis is empty: it is not that of region" in site.log.read_text()


async def test_a_redis_that_is_flushed_is_left_at_once(open_site: OpenSite) -> None:
    """The connection stays, and only what was there is gone."""
    site, ops = await open_site(), Ops()
    gateway = await site.gateway(ops_listen=ops.address)
    await ops.until("/readyz", 200)
    with redis.Redis.from_url(site.store.url) as raw:
        raw.flushall()
        await ops.fails("region", ["1"])
        await refused_connect(site, gateway)
        assert not raw.exists(STAMP)


async def test_a_gateway_that_starts_on_an_empty_redis_waits_and_says_why(
    open_site: OpenSite,
) -> None:
    """A wrong address in `redis_url`, or a restore that went wrong: it stays up, takes nobody in,
    names it, and goes on once the right Redis is there."""
    site, ops = await open_site(), Ops()
    with redis.Redis.from_url(site.store.url) as raw:
        records = {key: raw.dump(key) for key in raw.scan_iter()}
        raw.flushall()
        starting = asyncio.create_task(site.gateway(ops_listen=ops.address))
        try:
            await ops.fails("region", ["1"])
            assert (await ops.ask("/livez"))[0] == 200
            assert raw.dbsize() == 0
            for key, record in records.items():
                assert record is not None
                raw.restore(key, 0, record)
            gateway = await starting
        finally:
            starting.cancel()
    await ops.until("/readyz", 200)
    async with RawClient.open(ws(gateway)) as alice:
        await alice.connect(site.token("alice"))
