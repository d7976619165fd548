"""A Redis that is full, sick or set against its promises: what a gateway does, and what it says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import pytest
import redis
from homeport import codes, frames

from gateway.store.keys import Keys
from tests.harness import RawClient, until
from tests.system.ops import Ops
from tests.system.site import DEADLINE_S, OpenSite, Site, ws

LOOKS_OFTEN: Final = "import gateway.redis.link as link; link.LOOK_EVERY_S = 0.2"
"""A gateway that looks at Redis' settings more often than a test wants to wait."""


@dataclass
class Sickness:
    """What becomes of a Redis, how it gets well, and whether clients can still connect."""

    fault: str
    begin: Callable[[Site, redis.Redis], Any]
    end: Callable[[Site, redis.Redis], Any]
    settings: dict[str, Any] = field(default_factory=dict)
    connects: bool = True


def _set(name: str, value: str) -> Callable[[Site, redis.Redis], Any]:
    return lambda _, raw: raw.config_set(name, value)


def _disk_fails(site: Site, raw: redis.Redis) -> None:
    # A folder in the place of the snapshot: also root can't write it.
    (site.store.server.data_dir / "dump.rdb").unlink(missing_ok=True)
    (site.store.server.data_dir / "dump.rdb").mkdir()
    _snapshot(raw, "err")


def _disk_works(site: Site, raw: redis.Redis) -> None:
    (site.store.server.data_dir / "dump.rdb").rmdir()
    _snapshot(raw, "ok")


def _snapshot(raw: redis.Redis, status: str) -> None:
    raw.config_set("save", "3600 1")
    while raw.info("persistence")["rdb_last_bgsave_status"] != status:
        with contextlib.suppress(redis.ResponseError):  # one is under way
            raw.execute_command("BGSAVE")  # type: ignore[no-untyped-call]


SICKNESSES: Final = (
    Sickness("full", _set("maxmemory", "1"), _set("maxmemory", "0")),
    Sickness("disk", _disk_fails, _disk_works, connects=False),
    Sickness(
        "readonly",
        lambda _, raw: raw.replicaof("127.0.0.1", "1"),
        lambda _, raw: raw.replicaof("NO", "ONE"),
        connects=False,
    ),
    Sickness(
        "replicas",
        _set("min-replicas-to-write", "1"),
        _set("min-replicas-to-write", "0"),
        connects=False,
    ),
    Sickness(
        "acl",
        lambda _, raw: raw.acl_setuser("default", enabled=True, commands=["-set"]),
        lambda _, raw: raw.acl_setuser("default", enabled=True, commands=["+set"]),
        connects=False,
    ),
    Sickness(
        "eviction", _set("maxmemory-policy", "allkeys-lru"), _set("maxmemory-policy", "noeviction")
    ),
    Sickness(
        "durability",
        _set("appendfsync", "everysec"),
        _set("appendfsync", "always"),
        {"durability": "fsync"},
    ),
    Sickness(
        "durability", _set("appendonly", "no"), _set("appendonly", "yes"), {"durability": "fsync"}
    ),
)


@pytest.mark.parametrize("sickness", SICKNESSES, ids=lambda each: each.fault)
async def test_it_is_named_and_nothing_is_accepted_meanwhile(
    open_site: OpenSite, sickness: Sickness
) -> None:
    """G1, HP-7.1-6: for seven minutes nothing was accepted, and every gateway said ready; or `ok`
    was answered by a setting that Redis had no longer. Readiness is off with the name of what is
    wrong, sends are `unavailable`, and all of it ends with the sickness."""
    site, ops = await open_site(), Ops()
    gateway = await site.gateway(patch=LOOKS_OFTEN, ops_listen=ops.address, **sickness.settings)
    await ops.until("/readyz", 200)
    with redis.Redis.from_url(site.store.url) as raw:
        async with RawClient.open(ws(gateway)) as alice:
            await alice.connect(site.token("alice"))
            assert isinstance(await alice.say("bob", "before"), frames.Ok)
            await asyncio.to_thread(sickness.begin, site, raw)
            await ops.fails(sickness.fault, ["1"])
            refusal = await alice.say("bob", "meanwhile", "c-meanwhile")
            assert isinstance(refusal, frames.Error)
            assert refusal.code == codes.UNAVAILABLE.number
            name = f"homeport_runtime_probe_failing{{{sickness.fault}}}"
            await ops.metrics_until(lambda found: found[name] == 1)
            count = f"homeport_session_errors_total{{{codes.ERRORS[refusal.code].name}}}"
            await ops.metrics_until(lambda found: found[count] == 1)
            assert (await ops.ask("/livez"))[0] == 200  # a restart would mend nothing
            if sickness.connects:
                async with RawClient.open(ws(gateway)) as bob:  # what is there can be read
                    await bob.connect(site.token("bob"))
                    assert (await bob.until(frames.Push)).seq == 1
            await asyncio.to_thread(sickness.end, site, raw)
            await ops.until("/readyz", 200)
            await ops.metrics_until(lambda found: found[name] == 0)

            async def accepted() -> bool:
                return isinstance(await alice.say("bob", "meanwhile", "c-meanwhile"), frames.Ok)

            await until(accepted, within=DEADLINE_S)


async def test_a_full_redis_is_seen_before_it_is_full(open_site: OpenSite) -> None:
    """What Redis uses of its memory, how its settings stand and whether its disk works are in the
    metrics, from INFO: nobody has to run another exporter to be warned."""
    site, ops = await open_site(), Ops()
    await site.gateway(patch=LOOKS_OFTEN, ops_listen=ops.address)
    await ops.until("/readyz", 200)
    with redis.Redis.from_url(site.store.url) as raw:
        limit = 10 * int(raw.info("memory")["used_memory"])
        raw.config_set("maxmemory", limit)
        await ops.metrics_until(
            lambda found: found.get("homeport_store_memory_limit_bytes") == limit
        )
        found = await ops.metrics()
        assert 0.05 < found["homeport_store_memory_used_bytes"] / limit < 0.5
        for setting in ("appendonly", "appendfsync", "maxmemory-policy"):
            assert found[f"homeport_store_setting{{{setting}}}"] == 0
        assert found["homeport_store_persistence_failing{rdb}"] == 0
        await asyncio.to_thread(_disk_fails, site, raw)
        await ops.metrics_until(lambda now: now["homeport_store_persistence_failing{rdb}"] == 1)
        await asyncio.to_thread(_disk_works, site, raw)
        raw.config_set("appendonly", "no")
        await ops.metrics_until(lambda now: now["homeport_store_setting{appendonly}"] == 2)
        raw.acl_setuser("default", enabled=True, commands=["-info"])
        for setting in ("appendonly", "maxmemory-policy"):
            unknown = f"homeport_store_setting{{{setting}}}"
            await ops.metrics_until(partial(_is_one, unknown))


def _is_one(name: str, found: dict[str, float]) -> bool:
    return found[name] == 1


async def test_a_redis_that_evicts_is_refused_unless_that_is_meant(open_site: OpenSite) -> None:
    """Managed servers come with a policy that throws keys away. A gateway started there as if all
    were well, and lost what it had accepted. It says so, and takes no message, until the policy is
    another; or the configuration says that it is meant."""
    site, ops = await open_site(store_options=("--maxmemory-policy", "volatile-lru")), Ops()
    gateway = await site.gateway(patch=LOOKS_OFTEN, ops_listen=ops.address)
    await ops.fails("eviction", ["1"])
    log = site.log.read_text()
    assert "maxmemory-policy is volatile-lru" in log and "allow_eviction" in log
    async with RawClient.open(ws(gateway)) as alice:
        await alice.connect(site.token("alice"))
        refusal = await alice.say("bob", "x")
        assert isinstance(refusal, frames.Error) and refusal.code == codes.UNAVAILABLE.number
    meant = Ops()
    other = await site.gateway("b", ops_listen=meant.address, allow_eviction=True)
    await meant.until("/readyz", 200)
    async with RawClient.open(ws(other)) as alice:
        await alice.connect(site.token("alice"))
        assert isinstance(await alice.say("bob", "x"), frames.Ok)


async def test_a_session_whose_numbering_is_gone_is_told(open_site: OpenSite) -> None:
    """G3: somebody, or an eviction, took the hash beside an inbox away. Its session ends with the
    message that shows it, and the next one is told of a new numbering, gets what was not
    acknowledged, and what comes then; and the gateway says that a key is gone."""
    site, ops = await open_site(), Ops()
    gateway = await site.gateway(ops_listen=ops.address)
    await ops.until("/readyz", 200)
    keys = Keys("sg").inbox(site.app.id, "bob")
    with redis.Redis.from_url(site.store.url) as raw:
        async with RawClient.open(ws(gateway)) as alice, RawClient.open(ws(gateway)) as bob:
            await alice.connect(site.token("alice"))
            first = await bob.connect(site.token("bob"))
            await alice.say("bob", "one")
            at = await bob.until(frames.Push)
            raw.delete(keys.rows)
            await alice.say("bob", "two")
            assert await bob.closed() == codes.STORE_UNAVAILABLE.number
            async with RawClient.open(ws(gateway)) as again:
                cursor = frames.Cursor(first.cursor.epoch, at.ms, at.number)
                told = await again.connect(site.token("bob"), cursor=cursor)
                assert (told.resumed, told.lost) == (False, None)
                assert told.cursor.epoch != first.cursor.epoch
                pushed = [(await again.until(frames.Push)).number for _ in range(2)]
                await alice.say("bob", "three")
                pushed.append((await again.until(frames.Push)).number)
                assert pushed == [1, 2, 3]
        await ops.metrics_until(lambda found: found["homeport_store_lost_keys_total"] >= 1)
