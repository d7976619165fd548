"""The rights of the Redis user: the runbook's are enough, and each that is missing is named."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

import gateway
from gateway.apps.app import create_app
from gateway.redis import rights
from gateway.redis.errors import CommandFault, RedisRefused
from gateway.runtime.core import Core
from gateway.security.keyring import Keyring
from gateway.store import stamp
from gateway.store.region_clock import TIME
from gateway.store.rights import rights_of
from gateway.store.server_facts import store_facts
from tests.acl import rules_of
from tests.gateway.conftest import Servers
from tests.gateway.redis.conftest import node_link, until
from tests.harness import make_settings, running_worker
from tests.scenario import everything, refusals

IDENTITY = stamp.RegionIdentity("sg", {1: "a" * 16})
GATEWAY = Path(gateway.__file__).parent
OPERATORS = {"access.py", "admin.py", "audit.py", "region.py", "registry.py", "server_facts.py"}
"""What only the command line runs."""


class Served:
    """A server, and the URL of its user `gw`."""

    def __init__(self, url: str) -> None:
        self.raw: Any = redis.Redis.from_url(url)
        self.url = url.replace("unix://", "unix://gw:pw@")

    def allow(self, rules: str) -> None:
        """Give the user these rights, and no others."""
        self.raw.execute_command("ACL", "SETUSER", "gw", "reset", "on", ">pw", *rules.split())


@pytest.fixture
def served(servers: Servers) -> Iterator[Served]:
    """With a user that may do what the runbook says of gateways."""
    made = Served(servers().url)
    made.allow(rules_of("gateway"))
    yield made
    made.raw.close()


async def test_the_runbooks_user_can_be_a_gateway(served: Served, tmp_path: Path) -> None:
    """G8: all that a gateway does, it may; and nobody outside the region's keys hears of it."""
    with capture_logs() as logs:
        async with running_worker(make_settings(served.url, tmp_path)) as running:
            await everything(running)
    assert refusals(logs) == []
    with redis.Redis.from_url(served.url) as raw:
        for command in (
            ["GET", "hp:eu:x"],
            ["FLUSHALL"],
            ["KEYS", "*"],
            ["CONFIG", "SET", "a", "b"],
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                raw.execute_command(*command)


async def test_a_user_made_of_categories_alone_can_be_a_gateway(
    served: Served, tmp_path: Path
) -> None:
    """A security team gives reads, writes, scripts and pub/sub. TIME is in none of these, and what
    needed it failed as `internal`, again and again: Redis' clock is told by the end of a key."""
    served.allow(
        "~hp:* &* -@all +@read +@write +@scripting +@pubsub +@connection +wait -@dangerous"
    )
    with capture_logs() as logs:
        async with running_worker(make_settings(served.url, tmp_path)) as running:
            await everything(running)
    assert refusals(logs) == []
    with redis.Redis.from_url(served.url) as raw:
        told: Any = raw.eval(TIME.text, 1, "hp:sg:{7}:clock", "leave nothing")
    assert abs(int(told) / 1000 - time.time()) < 2
    assert not served.raw.exists("hp:sg:{7}:clock")


async def test_the_runbooks_operator_can_use_the_command_line(
    served: Served, keyring: Keyring
) -> None:
    """Apps are made and changed, and all that doctor asks is told."""
    served.allow(rules_of("operator"))
    async with Core.at(served.url, keyring).admin() as admin:
        app = create_app("shop", "sg", "free", "global", 1)
        await admin.apps.create(app, 1)
        assert [found.id for found in await admin.apps.all()] == [app.id]
        await admin.apps.change(app.id, "tier", "pro", 2)
        await admin.access.revoke(app.id, "bob", 3)
        await admin.access.kick(app.id, "bob")
        facts = await store_facts(admin.link, admin.region)
        await admin.apps.delete(app.id)
    assert facts.append_only is not None
    assert facts.lacks
    assert rights.LISTENING.issuperset(facts.lacks)  # of what a gateway needs


@pytest.mark.parametrize(
    ("changed", "lacks"),
    [
        ("", ()),
        ("-spublish", ("SPUBLISH",)),
        ("-xadd -zadd", ("XADD", "ZADD")),
        ("-wait", ("WAIT",)),
        ("resetchannels", ("SPUBLISH", "SSUBSCRIBE")),
    ],
)
async def test_doctor_is_told_which_rights_are_missing(
    served: Served, keyring: Keyring, changed: str, lacks: tuple[str, ...]
) -> None:
    """A gateway was not ready for want of SPUBLISH, and doctor found nothing wrong with Redis."""
    served.allow(f"{rules_of('gateway')} {changed}")
    async with Core.at(served.url, keyring).admin() as admin:
        assert (await store_facts(admin.link, admin.region, replicas=True)).lacks == lacks


@pytest.mark.parametrize("changed", ["-evalsha", "-script"])
async def test_the_command_line_is_told_what_it_may_not_do_at_all(
    served: Served, keyring: Keyring, changed: str
) -> None:
    """Scripts are run as gateways run them, so a user needs the same rights for it; without, it is
    Redis that is named, in its own words, and nothing is done."""
    served.allow(f"{rules_of('operator')} {changed}")
    with pytest.raises(RedisRefused, match=changed.removeprefix("-")):
        async with Core.at(served.url, keyring).admin():
            raise AssertionError("it has connected")
    assert served.raw.keys() == []


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("-pttl", "PTTL"),
        ("-ssubscribe", "SSUBSCRIBE"),
        ("-xadd -zadd", "XADD, ZADD"),
        ("resetkeys ~hp:sg:*", "HGET on hp:region"),
        ("resetchannels", "SPUBLISH, SSUBSCRIBE"),
        ("-evalsha", "run the 'evalsha' command"),
        ("-script", "run the 'script|load' command"),
    ],
)
async def test_a_right_that_is_missing_is_named_at_the_start(
    served: Served, changed: str, named: str
) -> None:
    """A gateway without a right was ready, and all that needed the command failed as `internal`,
    again and again. Now it waits, says which, and begins once it may."""
    served.allow(f"{rules_of('gateway')} {changed}")
    link = node_link(served.url, IDENTITY)
    with capture_logs() as logs:
        starting = asyncio.create_task(link.start())
        await until(lambda: any(log["event"] == "redis_connect_failed" for log in logs))
    failed = next(log for log in logs if log["event"] == "redis_connect_failed")
    assert named in failed["reason"]
    assert (
        "'gw'" in failed["reason"] or "User gw" in failed["reason"] or "NOPERM" in failed["reason"]
    )
    assert not starting.done()
    served.allow(rules_of("gateway"))
    async with asyncio.timeout(20):
        await starting
    await link.aclose()


@pytest.mark.parametrize(
    ("changed", "command", "named"),
    [
        ("-spublish", ["SPUBLISH", "hp:sg:private", "m"], "'spublish'"),
        ("-hget", ["HGET", "hp:sg:private", "f"], "'hget'"),
        ("", ["GET", "hp:eu:private"], "key"),
        ("", ["SPUBLISH", "hp:eu:private", "m"], "channel"),
    ],
)
async def test_a_right_that_is_taken_away_later_is_named(
    served: Served, changed: str, command: list[str], named: str
) -> None:
    """The log said `NOPERM` and not of what, though the runbook sends people there to see it. Which
    key it was, is in no log."""
    link = node_link(served.url, IDENTITY)
    await link.start()
    served.allow(f"{rules_of('gateway')} {changed}")
    with capture_logs() as logs, pytest.raises(CommandFault):
        await link.call(*command)
    await link.aclose()
    told = next(log for log in logs if log["event"] == "redis_refused_command")
    assert named in told["detail"]
    assert "private" not in told["detail"]


@pytest.mark.parametrize("changed", ["-xadd", "-spublish", "-evalsha", "resetchannels"])
async def test_a_gateway_waits_for_a_right_that_was_taken_away(
    served: Served, changed: str
) -> None:
    """Somebody took XADD from the user of a running gateway: it was ready, and every send failed
    as `internal`. It waits now, as at the start, and goes on by itself."""
    link = node_link(served.url, IDENTITY)
    await link.start()
    with capture_logs() as logs:
        served.allow(f"{rules_of('gateway')} {changed}")
        await link.look()
        await until(lambda: any(log["event"] == "redis_connect_failed" for log in logs))
        assert not link.up
        served.allow(rules_of("gateway"))
        await until(lambda: link.up)
    assert await link.call("PING") == b"PONG"
    await link.aclose()


def test_every_command_that_is_used_is_asked_for(served: Served) -> None:
    """Those of the scripts and those of the sources; with words that fit each, because Redis
    panics where they don't."""
    commands = [each.words for each in rights_of("sg").needed(replicas=True, cluster=True)]
    asked = {words[0] for words in commands}
    lua = "".join(path.read_text() for path in GATEWAY.glob("*/lua/*.lua"))
    used = set(re.findall(r"redis\.p?call\('([A-Z]+)'", lua))
    for path in GATEWAY.rglob("*.py"):
        if path.name not in OPERATORS:
            text = path.read_text()
            used |= set(re.findall(r"(?:\bcall|\bask|everywhere)\(\s*\"([A-Z]+)\"", text))
            used |= set(re.findall(r"(?:pack\(\(|_send\()\"([A-Z]+)\"", text))
    assert used - asked == {"INFO", "CONFIG"}
    arities: Any = {each["name"]: each["arity"] for each in _infos(served.raw)}
    for words in commands:
        arity = arities[words[0].lower()]
        assert len(words) == arity or len(words) >= -arity > 0, words


def _infos(raw: Any) -> list[Any]:
    return list(raw.command().values())
