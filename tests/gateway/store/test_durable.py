"""What the command line writes, and how many replicas have it before it counts as kept."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import redis

from gateway.apps.app import create_app
from gateway.dev.embedded import EmbeddedValkey
from gateway.redis import node_link as module
from gateway.redis.errors import RedisRefused, Unavailable
from gateway.redis.promises import Promises
from gateway.runtime.core import Core
from gateway.security.keyring import Keyring
from gateway.store.admin import Admin
from tests.acl import rules_of
from tests.gateway.conftest import Servers
from tests.gateway.redis.conftest import replicated

APP = create_app("shop", "sg", "free", "global", 1)
OTHER = create_app("other", "sg", "free", "global", 1)
CHANGES: dict[str, Callable[[Admin], Awaitable[object]]] = {
    "create": lambda admin: admin.apps.create(OTHER, 1),
    "rotate": lambda admin: admin.apps.rotate_certificate(APP.id, 2),
    "tier": lambda admin: admin.apps.change(APP.id, "tier", "pro", 2),
    "revoke": lambda admin: admin.access.revoke(APP.id, "ann"),
    "revoke app": lambda admin: admin.access.revoke_app(APP.id),
    "revoke region": lambda admin: admin.access.revoke_region(),
    "delete": lambda admin: admin.apps.delete(APP.id),
}


@pytest.fixture
async def pair(
    servers: Servers, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[EmbeddedValkey, EmbeddedValkey]]:
    """A primary with an app, and a replica that follows it."""
    monkeypatch.setattr(module, "BARRIER_TIMEOUT_MS", 100)
    primary, replica = await replicated(servers)
    async with Core.at(primary.url, keyring, Promises(replicas=1)).admin() as admin:
        await admin.apps.create(APP, 1)
    yield primary, replica


@pytest.mark.parametrize("name", CHANGES)
async def test_a_change_that_no_replica_has_is_said(
    pair: tuple[EmbeddedValkey, EmbeddedValkey], keyring: Keyring, name: str
) -> None:
    """G1, G8: operators revoked a token, were told that it was, and the failover a moment later
    made it good again. With `durability = "replica"` their writes wait as messages do."""
    primary, replica = pair
    os.kill(replica.pid, signal.SIGSTOP)
    try:
        async with Core.at(primary.url, keyring, Promises(replicas=1)).admin() as admin:
            await CHANGES[name](admin)
            assert admin.writes.short == 0
        async with Core.at(primary.url, keyring).admin() as admin:
            await admin.apps.all()
            assert admin.writes.short is None
    finally:
        os.kill(replica.pid, signal.SIGCONT)


async def test_a_change_that_is_told_as_done_is_on_the_replica(
    pair: tuple[EmbeddedValkey, EmbeddedValkey], keyring: Keyring
) -> None:
    """G8: when the command returns, the replica has it, and could be promoted."""
    primary, replica = pair
    with redis.Redis.from_url(primary.url) as raw, redis.Redis.from_url(replica.url) as copy:
        async with Core.at(primary.url, keyring, Promises(replicas=1)).admin() as admin:
            for name in ("rotate", "revoke", "delete"):
                await CHANGES[name](admin)
                assert admin.writes.short is None
                assert copy.exists(f"hp:sg:app:{APP.id}") == (name != "delete")
                assert copy.dbsize() == raw.dbsize()


async def test_a_user_that_may_not_wait_changes_nothing(
    pair: tuple[EmbeddedValkey, EmbeddedValkey], keyring: Keyring
) -> None:
    """A certificate that was made and then not shown, because WAIT was refused after it, would be
    a rotation that nobody has the certificate of."""
    primary, _ = pair
    with redis.Redis.from_url(primary.url) as raw:
        rules = rules_of("operator").split()
        raw.execute_command("ACL", "SETUSER", "op", "on", ">pw", *rules, "-wait")
    url = primary.url.replace("unix://", "unix://op:pw@")
    async with Core.at(primary.url, keyring).admin() as admin:
        before = await admin.apps.get(APP.id)
    with pytest.raises(RedisRefused, match="may not run WAIT"):
        async with Core.at(url, keyring, Promises(replicas=1)).admin() as admin:
            await admin.apps.rotate_certificate(APP.id, 2)
    async with Core.at(primary.url, keyring).admin() as admin:
        assert await admin.apps.get(APP.id) == before


async def test_a_change_that_redis_refused_is_not_told_as_done(
    pair: tuple[EmbeddedValkey, EmbeddedValkey], keyring: Keyring
) -> None:
    """G1: with a replica away and a full Redis, it is the refusal that counts, not the replica."""
    primary, replica = pair
    other = create_app("other", "sg", "free", "global", 1)
    os.kill(replica.pid, signal.SIGSTOP)
    try:
        with redis.Redis.from_url(primary.url) as raw:
            raw.config_set("maxmemory", 1)
            async with Core.at(primary.url, keyring, Promises(replicas=1)).admin() as admin:
                with pytest.raises(Unavailable, match="maxmemory"):
                    await admin.apps.create(other, 1)
                assert admin.writes.short is None
            raw.config_set("maxmemory", 0)
            assert not raw.sismember("hp:sg:apps", other.id)
    finally:
        os.kill(replica.pid, signal.SIGCONT)
