"""The stamp: one Redis is one region's, and one key file's."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.security.keyring import Keyring
from gateway.store import stamp
from gateway.store.errors import StampError, WrongKeys, WrongRegionStamp
from gateway.store.keys import STAMP
from tests.gateway.store.conftest import node_link

NOW_MS = 1_764_000_000_000


async def greet(url: str, identity: stamp.Identity) -> None:
    """Connect as a gateway does, and leave again."""
    link = node_link(url, identity)
    try:
        await link.start()
    finally:
        await link.aclose()


async def announce(url: str, identity: stamp.Identity) -> frozenset[int]:
    """Say which keys are coming, as a gateway does."""
    link = node_link(url, identity)
    try:
        await link.start()
        return await stamp.announce(link.call, identity)
    finally:
        await link.aclose()


def marks(url: str) -> dict[bytes, bytes]:
    """What the stamp says."""
    with redis.Redis.from_url(url) as raw:
        found: Any = raw.hgetall(STAMP)
        return dict(found)


async def test_the_first_gateway_stamps_and_its_like_may_come(
    store_url: str, keyring: Keyring
) -> None:
    """G6: a fresh Redis becomes the region's; every gateway with the same keys is let in."""
    identity = stamp.Identity.of(keyring)
    await greet(store_url, identity)
    first = marks(store_url)
    assert first == {b"region": b"sg", b"key:1": keyring.check_value(1).encode()}
    await greet(store_url, identity)
    assert marks(store_url) == first


async def test_another_region_is_refused(store_url: str, keyring: Keyring, tmp_path: Path) -> None:
    """G6: a gateway does not work on another region's Redis, and says what to do."""
    await greet(store_url, stamp.Identity.of(keyring))
    before = marks(store_url)
    other = Keyring.create(tmp_path / "eu.keys.json", "eu")
    with pytest.raises(WrongRegionStamp, match="point redis_url at the Redis of 'eu'") as refused:
        await greet(store_url, stamp.Identity.of(other))
    assert (refused.value.found, refused.value.expected) == ("sg", "eu")
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
    await greet(store_url, stamp.Identity("sg", {1: "a" * 16, 2: "b" * 16}))
    before = marks(store_url)
    with pytest.raises(WrongKeys, match="key_file") as refused:
        await greet(store_url, stamp.Identity("sg", {**keys, 7: "7" * 16}))
    assert (refused.value.version, refused.value.missing) == (version, missing)
    assert marks(store_url) == before


async def test_a_rotated_key_file_adds_its_version(store_url: str, tmp_path: Path) -> None:
    """G7: keys rotate, and from then on a gateway that lacks the new key is refused."""
    path = tmp_path / "rotated.json"
    old = Keyring.create(path, "sg")
    await greet(store_url, stamp.Identity.of(old))
    new = Keyring.rotate(path)
    await greet(store_url, stamp.Identity.of(new))
    assert marks(store_url)[b"key:2"] == new.check_value(2).encode()
    with pytest.raises(WrongKeys) as refused:
        await greet(store_url, stamp.Identity.of(old))
    assert (refused.value.version, refused.value.missing) == (2, True)


async def test_a_key_that_is_coming_keeps_nobody_out(store_url: str, tmp_path: Path) -> None:
    """G10: while a new file is on its way to the gateways, those that lack it may still reconnect;
    once something is sealed under its key they may not."""
    path = tmp_path / "rotated.json"
    old = Keyring.create(path, "sg", NOW_MS)
    new = Keyring.rotate(path, 60, NOW_MS)
    coming = stamp.Identity.of(new, new.coming_at(NOW_MS))
    assert coming.coming == {2}
    await greet(store_url, coming)
    assert await announce(store_url, coming) == set()
    assert b"key:2" not in marks(store_url)
    assert marks(store_url)[b"next:2"] == new.check_value(2).encode()
    await greet(store_url, stamp.Identity.of(old))
    await greet(store_url, stamp.Identity.of(new, new.coming_at(NOW_MS + 60_000)))
    assert b"key:2" in marks(store_url)
    with pytest.raises(WrongKeys):
        await greet(store_url, stamp.Identity.of(old))
    await greet(store_url, coming)  # a gateway whose clock is behind


async def test_two_files_that_were_rotated_each_are_told_apart(
    store_url: str, tmp_path: Path
) -> None:
    """G5: before anything is sealed under a version that is another key elsewhere."""
    mine, theirs = tmp_path / "mine.json", tmp_path / "theirs.json"
    Keyring.create(mine, "sg", NOW_MS)
    shutil.copy(mine, theirs)
    identities = [
        stamp.Identity.of(Keyring.rotate(path, 60, NOW_MS), frozenset({2}))
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
        if name == "HKEYS":
            found = [field.encode() for field in kept]
            await both_looked.wait()  # both find no key
            return found
        if name == "HSETNX":
            return int(kept.setdefault(rest[0], rest[1].encode()) is None)
        return kept.get(rest[0])

    results = await asyncio.gather(
        *(stamp.check(call, stamp.Identity("sg", {1: key * 16})) for key in "ab"),
        return_exceptions=True,
    )
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "WrongKeys"]


async def test_check_values_do_not_tell_the_key(store_url: str, keyring: Keyring) -> None:
    """G7: Redis, which never sees a message, never sees a key either."""
    await greet(store_url, stamp.Identity.of(keyring))
    text = b"".join(marks(store_url).values())
    for key in keyring.keys.values():
        assert key not in text
        assert key.hex().encode()[:16] not in text


def test_errors_are_one_family() -> None:
    """Whoever starts a gateway catches StampError and shows its text."""
    assert issubclass(WrongKeys, StampError)
    assert issubclass(WrongRegionStamp, StampError)
