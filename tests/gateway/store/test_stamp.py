"""The stamp: one Redis is one region's, and one key file's."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from structlog.testing import capture_logs

from gateway.redis.errors import Unavailable
from gateway.redis.guard import Call
from gateway.redis.node_link import NodeLink
from gateway.redis.opening import open_redis
from gateway.redis.servers import server_of
from gateway.redis.url import RedisUrl
from gateway.runtime.core import Core
from gateway.security.keyring import Keyring
from gateway.store import stamp
from gateway.store.errors import (
    RegionMissing,
    StampError,
    WrongKeys,
    WrongRegionStamp,
    WrongSchema,
)
from gateway.store.keys import STAMP
from gateway.tasks import Tasks
from tests.clusters import client_of
from tests.gateway.redis.conftest import beginning, linked, until

NOW_MS = 1_764_000_000_000


async def greet(url: str, identity: stamp.RegionIdentity) -> None:
    """Connect as a gateway does that may begin the region, and leave again."""
    async with linked(url, identity):
        pass


async def announce(url: str, identity: stamp.RegionIdentity) -> frozenset[int]:
    """Say which keys are coming, as a gateway does."""
    async with linked(url, identity) as link:
        return await stamp.announce(link.call, identity)


def marks(url: str) -> dict[bytes, bytes]:
    """What the stamp says."""
    with client_of(url) as raw:
        found: Any = raw.hgetall(STAMP)
        return dict(found)


async def test_the_first_gateway_stamps_and_its_like_may_come(
    store_url: str, keyring: Keyring
) -> None:
    """G6: a fresh Redis becomes the region's; every gateway with the same keys is let in."""
    identity = stamp.RegionIdentity.of(keyring)
    await greet(store_url, identity)
    first = marks(store_url)
    value = keyring.check_value(1).encode()
    assert first == {b"region": b"sg", b"schema": b"%d" % stamp.SCHEMA, b"key:1": value}
    await greet(store_url, identity)
    assert marks(store_url) == first


async def test_another_region_is_refused(store_url: str, keyring: Keyring, tmp_path: Path) -> None:
    """G6: a gateway does not work on another region's Redis, and says what to do."""
    await greet(store_url, stamp.RegionIdentity.of(keyring))
    before = marks(store_url)
    other = Keyring.create(tmp_path / "eu.keys.json", "eu")
    with pytest.raises(WrongRegionStamp, match="point redis_url at the Redis of 'eu'") as refused:
        await greet(store_url, stamp.RegionIdentity.of(other))
    assert (refused.value.found, refused.value.expected) == ("sg", "eu")
    assert marks(store_url) == before


@pytest.mark.parametrize("found", ["", "0", str(stamp.SCHEMA + 1)])
async def test_another_schema_is_refused_and_told(
    store_url: str, keyring: Keyring, found: str
) -> None:
    """A Redis whose keys another version laid out would be misread: a stream taken for a list. A
    gateway and a command say what they found, what they read, and what to do; and leave no mark.
    A stamp without a number is another schema, too."""
    await greet(store_url, stamp.RegionIdentity.of(keyring))
    with client_of(store_url) as raw:
        if found:
            raw.hset(STAMP, "schema", found)
        else:
            raw.hdel(STAMP, "schema")
    before = marks(store_url)
    named = f"has schema {found}" if found else "has no schema number"
    with pytest.raises(WrongSchema, match=f"{named}.* reads schema {stamp.SCHEMA} ") as refused:
        await greet(store_url, stamp.RegionIdentity.of(keyring))
    assert "run the version that wrote it" in str(refused.value)
    assert (refused.value.found, refused.value.reads) == (found, stamp.SCHEMA)
    async with Core.at(store_url, keyring).admin() as admin:
        for command in (admin.region.check, admin.region.begin, admin.apps.all):
            with pytest.raises(WrongSchema):
                await command()
    assert marks(store_url) == before


@pytest.mark.parametrize(
    ("keys", "version", "missing"),
    [
        ({1: "f" * 16}, 1, False),
        ({2: "f" * 16}, 1, True),
        ({1: "a" * 16, 2: "f" * 16}, 2, False),
        ({}, 1, True),
    ],
)
async def test_a_foreign_key_file_is_refused_and_leaves_no_mark(
    store_url: str, keys: dict[int, str], version: int, missing: bool
) -> None:
    """G6, G7: nothing is sealed with keys that the region's other gateways do not have."""
    await greet(store_url, stamp.RegionIdentity("sg", {1: "a" * 16, 2: "b" * 16}))
    before = marks(store_url)
    with pytest.raises(WrongKeys, match="key_file") as refused:
        await greet(store_url, stamp.RegionIdentity("sg", {**keys, 7: "7" * 16}))
    assert (refused.value.version, refused.value.missing) == (version, missing)
    assert marks(store_url) == before


async def test_a_rotated_key_file_adds_its_version(store_url: str, tmp_path: Path) -> None:
    """G7: keys rotate, and from then on a gateway that lacks the new key is refused."""
    path = tmp_path / "rotated.json"
    old = Keyring.create(path, "sg")
    await greet(store_url, stamp.RegionIdentity.of(old))
    new = Keyring.rotate(path)
    await greet(store_url, stamp.RegionIdentity.of(new))
    assert marks(store_url)[b"key:2"] == new.check_value(2).encode()
    with pytest.raises(WrongKeys) as refused:
        await greet(store_url, stamp.RegionIdentity.of(old))
    assert (refused.value.version, refused.value.missing) == (2, True)


async def test_a_key_that_is_coming_keeps_nobody_out(store_url: str, tmp_path: Path) -> None:
    """G10: while a new file is on its way to the gateways, those that lack it may still reconnect;
    once something is sealed under its key they may not."""
    path = tmp_path / "rotated.json"
    old = Keyring.create(path, "sg", NOW_MS)
    new = Keyring.rotate(path, 60, NOW_MS)
    coming = stamp.RegionIdentity.of(new, new.coming_at(NOW_MS))
    assert coming.coming == {2}
    await greet(store_url, coming)
    assert await announce(store_url, coming) == set()
    assert b"key:2" not in marks(store_url)
    assert marks(store_url)[b"next:2"] == new.check_value(2).encode()
    await greet(store_url, stamp.RegionIdentity.of(old))
    await greet(store_url, stamp.RegionIdentity.of(new, new.coming_at(NOW_MS + 60_000)))
    assert b"key:2" in marks(store_url)
    with pytest.raises(WrongKeys):
        await greet(store_url, stamp.RegionIdentity.of(old))
    await greet(store_url, coming)  # a gateway whose clock is behind


async def test_two_files_that_were_rotated_each_are_told_apart(
    store_url: str, tmp_path: Path
) -> None:
    """G5: before anything is sealed under a version that is another key elsewhere."""
    mine, theirs = tmp_path / "mine.json", tmp_path / "theirs.json"
    Keyring.create(mine, "sg", NOW_MS)
    shutil.copy(mine, theirs)
    identities = [
        stamp.RegionIdentity.of(Keyring.rotate(path, 60, NOW_MS), frozenset({2}))
        for path in (mine, theirs)
    ]
    for identity in identities:
        await greet(store_url, identity)
    assert [await announce(store_url, identity) for identity in identities] == [set(), {2}]


async def test_of_two_first_gateways_with_different_keys_one_is_refused() -> None:
    """G6: two that find a Redis fresh at the same moment do not both stay."""
    kept: dict[str, bytes] = {}
    both_looked = asyncio.Barrier(2)

    async def call(*command: Any) -> Any:
        name, _, *rest = command
        if name == "HMGET":
            return [kept.get(field if isinstance(field, str) else field.decode()) for field in rest]
        if name == "HKEYS":
            found = [field.encode() for field in kept if field.startswith("key:")]
            await both_looked.wait()  # both find no key
            return found
        if name == "HSETNX":
            return int(kept.setdefault(rest[0], rest[1].encode()) is None)
        return kept.get(rest[0])

    results = await asyncio.gather(
        *(beginning(stamp.RegionIdentity("sg", {1: key * 16})).check(call) for key in "ab"),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["WrongKeys", "bool"]


async def test_check_values_do_not_tell_the_key(store_url: str, keyring: Keyring) -> None:
    """G7: Redis, which never sees a message, never sees a key either."""
    await greet(store_url, stamp.RegionIdentity.of(keyring))
    text = b"".join(marks(store_url).values())
    for key in keyring.keys.values():
        assert key not in text
        assert key.hex().encode()[:16] not in text


def test_errors_are_one_family() -> None:
    """Whoever starts a gateway catches StampError and shows its text."""
    assert issubclass(WrongKeys, StampError)
    assert issubclass(WrongRegionStamp, StampError)


# -- a region begins once --------------------------------------------------------------------------


async def test_a_region_begins_once(store_url: str, keyring: Keyring) -> None:
    """A Redis that had lost everything was taken for a new region: gateways were ready, and told
    all clients for good that their apps are unknown. The key file says that it has begun."""
    link = NodeLink(server_of(RedisUrl.parse(store_url), "test"), stamp.Stamp.of(keyring), Tasks())
    with capture_logs() as logs:
        await link.start()
    assert [log["region"] for log in logs if log["event"] == "region_begun"] == ["sg"]
    await link.aclose()
    assert keyring.path is not None
    file = Keyring.load(keyring.path, "sg")
    assert file.begun is not None
    empty(store_url)
    started = NodeLink(server_of(RedisUrl.parse(store_url), "test"), stamp.Stamp.of(file), Tasks())
    starting = asyncio.create_task(started.start())
    try:
        await until(lambda: started.refused is not None)
        assert isinstance(started.refused, RegionMissing)
        assert "homeport region init --again" in str(started.refused)
        assert not started.up
        assert marks(store_url) == {}
        restore(store_url, file)
        await starting  # and no restart was needed
        await until(lambda: started.up and started.refused is None)
    finally:
        starting.cancel()
        await started.aclose()


@pytest.mark.parametrize("kind", ["server", "cluster"])
async def test_what_a_process_has_met_it_never_takes_an_empty_redis_for(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Emptied under a running gateway, whose connection stays, and whose key file was replaced by a
    copy from before the region began: it notices within a second, uses nothing of it, and goes on
    when what was lost is back."""
    url = request.getfixturevalue("redis_url" if kind == "server" else "cluster_url")
    keyring = Keyring.create(tmp_path / "sg.keys.json", "sg")
    unmarked = (tmp_path / "sg.keys.json").read_bytes()
    link, _ = open_redis(url, stamp.Stamp.of(keyring), Tasks())
    await link.start()
    try:
        (tmp_path / "sg.keys.json").write_bytes(unmarked)
        empty(url)
        await until(lambda: link.refused is not None)
        assert isinstance(link.refused, RegionMissing)
        assert not link.up
        with pytest.raises(Unavailable):
            await link.call("SET", STAMP, 1)
        assert marks(url) == {}
        assert Keyring.load(tmp_path / "sg.keys.json", "sg").begun is None
        restore(url, keyring)
        await until(lambda: link.up and link.refused is None)
    finally:
        await link.aclose()


async def test_many_gateways_may_begin_a_region_at_once(store_url: str, tmp_path: Path) -> None:
    """All find it empty; one marks the file and sets the stamp, and none refuses it."""
    path = tmp_path / "sg.keys.json"
    Keyring.create(path, "sg")
    with capture_logs() as logs:
        links = [
            NodeLink(
                server_of(RedisUrl.parse(store_url), "test"),
                stamp.Stamp.of(Keyring.load(path, "sg")),
                Tasks(),
            )
            for _ in range(8)
        ]
        await asyncio.gather(*(link.start() for link in links))
    await asyncio.gather(*(link.aclose() for link in links))
    events = [log["event"] for log in logs]
    assert events.count("region_begun") == 1
    assert "redis_refused" not in events


async def test_a_key_file_that_cannot_be_marked_begins_no_region(store_url: str) -> None:
    """As in Kubernetes, where it is a copy: it could not tell the second empty Redis from the
    first. A person may begin the region with it, and it is used from then on."""
    keyring = Keyring("sg", {1: 0}, {1: bytes(32)})  # in no file
    first = stamp.Stamp.of(keyring)
    async with calls_to(store_url) as call:
        with pytest.raises(RegionMissing, match=r"Then run: homeport region init$"):
            await first.check(call)
        assert marks(store_url) == {}
        assert await stamp.Stamp.of(keyring).begin(call)
        await first.check(call)


async def test_an_older_regions_key_file_is_marked(store_url: str, tmp_path: Path) -> None:
    """Another machine's file, or one from before there was a mark, gets it with the stamp; and a
    stamp of other keys marks none."""
    mine, other = tmp_path / "mine.json", tmp_path / "other.json"
    Keyring.create(mine, "sg")
    shutil.copy(mine, tmp_path / "copy.json")
    Keyring.create(other, "sg")
    async with calls_to(store_url) as call:
        await stamp.Stamp.of(Keyring.load(mine, "sg")).check(call)
        await stamp.Stamp.of(Keyring.load(tmp_path / "copy.json", "sg")).check(call)
        with pytest.raises(WrongKeys):
            await stamp.Stamp.of(Keyring.load(other, "sg")).check(call)
    assert Keyring.load(tmp_path / "copy.json", "sg").begun is not None
    assert Keyring.load(other, "sg").begun is None


async def test_a_region_begins_again_only_when_a_person_says_so(
    store_url: str, keyring: Keyring
) -> None:
    """`homeport region init`, with and without `--again`."""
    async with calls_to(store_url) as call:
        assert await stamp.Stamp.of(keyring).begin(call)
        assert not await stamp.Stamp.of(keyring).begin(call)
        empty(store_url)
        with pytest.raises(RegionMissing):
            await stamp.Stamp.of(keyring).begin(call)
        with pytest.raises(RegionMissing):
            await stamp.Stamp.of(keyring).check(call, may_begin=False)
        assert marks(store_url) == {}
        assert await stamp.Stamp.of(keyring).begin(call, again=True)


async def test_a_gateway_that_lost_redis_while_it_began_goes_on(
    store_url: str, keyring: Keyring
) -> None:
    """The file is marked, Redis went away before it was stamped: the same process knows that."""
    begun = stamp.Stamp.of(keyring)

    async def lost(*command: Any) -> Any:
        if command[0] == "HSETNX":
            raise Unavailable("connection_lost")
        return [None, None] if command[0] == "HMGET" else None

    with pytest.raises(Unavailable):
        await begun.check(lost)
    async with calls_to(store_url) as call:
        await begun.check(call)
    assert marks(store_url)[b"region"] == b"sg"


@contextlib.asynccontextmanager
async def calls_to(url: str) -> AsyncIterator[Call]:
    """A Redis to be looked at by hand."""
    async with redis.asyncio.Redis.from_url(url) as raw:
        yield raw.execute_command


def empty(url: str) -> None:
    """As after the loss of its disk."""
    with client_of(url) as raw:
        raw.flushall()


def restore(url: str, keyring: Keyring) -> None:
    """As a backup does."""
    with client_of(url) as raw:
        kept = {"region": "sg", "schema": stamp.SCHEMA, "key:1": keyring.check_value(1)}
        raw.hset(STAMP, mapping=kept)
