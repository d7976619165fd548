"""A cluster as gateways and the command line use it; test_cluster.py is about its changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.apps.app import create_app
from gateway.redis import rights
from gateway.redis.errors import Unavailable
from gateway.redis.opening import open_link
from gateway.redis.promises import Promises
from gateway.redis.slots import slot_of
from gateway.redis.url import RedisUrl
from gateway.runtime.core import Core
from gateway.security.keyring import Keyring
from gateway.store.keys import Keys
from gateway.store.server_facts import store_facts
from gateway.store.stamp import RegionIdentity
from gateway.tasks import Tasks
from tests.acl import rules_of
from tests.clusters import RedisCluster, cluster
from tests.gateway.redis.conftest import beginning
from tests.harness import make_settings, running_worker
from tests.ports import free_port
from tests.scenario import everything, refusals

APP = "02" + "0" * 30
IDENTITY = RegionIdentity("sg", {1: "a" * 16})
KEYS = Keys("sg")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisCluster]:
    """A cluster that the test may damage."""
    with cluster(tmp_path) as own:
        yield own


async def test_a_gateway_on_a_cluster_does_all_it_can(cluster_url: str, tmp_path: Path) -> None:
    """Everything a client and an operator may ask for, and no CROSSSLOT among the answers."""
    with capture_logs() as logs:
        async with running_worker(make_settings(cluster_url, tmp_path)) as running:
            await everything(running)
    assert refusals(logs) == []


async def test_the_command_line_sees_all_of_it(cluster_url: str, tmp_path: Path) -> None:
    """`homeport doctor` goes by the primary that keeps the least."""
    keyring = Keyring.create(tmp_path / "keys.json", "sg")
    async with Core.at(cluster_url, keyring).admin() as admin:
        facts = await store_facts(admin.link, admin.region)
    assert (facts.primaries, facts.replicas, facts.append_only) == (3, 1, False)


async def test_a_change_waits_for_the_replica_of_the_node_that_has_it(
    own: RedisCluster, keyring: Keyring
) -> None:
    """G8: a WAIT that goes to another node than the write counts replicas that have nothing to do
    with it. Here one primary's replica hangs, and what lies on the others is kept all the same."""
    app = create_app("shop", "sg", "free", "global", 1)
    async with Core.at(own.url, keyring).admin() as admin:
        await admin.region.begin()
        await admin.apps.create(app, 1)
    keys = {user: KEYS.user(app.id, user).revoked for user in map("user{}".format, range(20))}
    owners = {user: own.owner(slot_of(key.encode())) for user, key in keys.items()}
    primary = owners["user0"]
    ids = {node.ask("CLUSTER", "MYID"): node for node in own.nodes}
    there = primary.ask("CLUSTER NODES").values()
    [hanging] = [
        ids[n["node_id"]] for n in there if n["master_id"] == primary.ask("CLUSTER", "MYID")
    ]
    other = next(user for user, owner in owners.items() if owner is not primary)
    with hanging.frozen():
        for user, short in (("user0", 0), (other, None)):
            async with Core.at(own.url, keyring, Promises(replicas=1)).admin() as admin:
                await admin.access.revoke(app.id, user)
                assert admin.writes.short == short


async def test_a_change_follows_its_slot(own: RedisCluster, keyring: Keyring) -> None:
    """G8: the slot has moved since the command looked; it looks again, and writes there."""
    app = create_app("shop", "sg", "free", "global", 1)
    async with Core.at(own.url, keyring, Promises(replicas=1)).admin() as admin:
        await admin.region.begin()
        await admin.apps.create(app, 1)
        key = KEYS.user(app.id, "bob").revoked
        source = own.owner(slot_of(key.encode()))
        target = next(node for node in own.primaries() if node is not source)
        own.move(slot_of(key.encode()), target)
        await admin.access.revoke(app.id, "bob", 5)
        assert admin.writes.short is None
    assert target.ask("HGET", key, "before") == "5"


async def test_the_runbooks_operator_can_use_the_command_line(
    own: RedisCluster, keyring: Keyring
) -> None:
    """G8: the user that the runbook makes may do on a cluster what the commands do there."""
    for node in own.nodes:
        node.ask("ACL", "SETUSER", "op", "on", ">pw", *rules_of("operator").split())
    url = own.url.replace("://", "://op:pw@")
    app = create_app("shop", "sg", "free", "global", 1)
    async with Core.at(url, keyring).admin() as admin:
        await admin.region.begin()
        await admin.apps.create(app, 1)
        await admin.access.revoke(app.id, "bob", 5)
        await admin.access.kick(app.id, "bob")
        facts = await store_facts(admin.link, admin.region, cluster=True)
        await admin.apps.delete(app.id)
    assert (facts.primaries, facts.stamp_problem) == (3, None)
    assert rights.LISTENING.issuperset(facts.lacks)


async def test_the_command_line_works_on_what_is_there(own: RedisCluster) -> None:
    """G8: a token must be revoked also while some other primary is away."""
    holder = own.owner(slot_of("hp:region"))
    dead = next(node for node in own.primaries() if node is not holder)
    key = next(key for key in map(str, range(100)) if own.owner(slot_of(key)) is holder)
    dead.kill()
    link = open_link(RedisUrl.parse(own.url), beginning(IDENTITY), Tasks())
    await link.connect()
    assert await link.call("SET", key, "kept") == b"OK"
    await link.aclose()


async def test_the_command_line_says_that_none_answers(tmp_path: Path) -> None:
    """No traceback of redis-py, whose error for it is of another family."""
    keyring = Keyring.create(tmp_path / "keys.json", "sg")
    with pytest.raises(Unavailable, match="Connection refused"):
        async with Core.at(f"redis+cluster://127.0.0.1:{free_port()}", keyring).admin() as admin:
            await admin.apps.all()
