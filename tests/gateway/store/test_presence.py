"""Mirrors gateway/store/presence.py: on Valkey and on Redis 7.0."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from homeport.frames import Cursor

from gateway.redis.errors import Unavailable
from gateway.store.inbox import SEEN_MS, STALE_MS
from gateway.store.presence import CAME, GONE, LEASE_MS, SET, PresenceStore
from tests.gateway.redis.conftest import until
from tests.gateway.store.conftest import Store, session

HERE, THERE = "aaaaaa", "bbbbbb"


def of(gateway: str, number: int = 0) -> str:
    """The id of a session on `gateway`."""
    return f"{number:010}{gateway}"


@pytest.fixture
async def presence(store: Store) -> PresenceStore:
    """That of gateway HERE."""
    return PresenceStore(store.link, store.keys, HERE)


@pytest.fixture
async def heard(store: Store, presence: PresenceStore) -> AsyncIterator[list[bytes]]:
    """What bob's presence channel says."""
    said: list[bytes] = []
    async with store.hearing(presence.channel(store.app.id, "bob")) as queue:
        reading = asyncio.create_task(_read(queue, said))
        yield said
        reading.cancel()


async def _read(queue: asyncio.Queue[tuple[bytes, bytes]], said: list[bytes]) -> None:
    while True:
        said.append((await queue.get())[1])


async def state(store: Store, presence: PresenceStore, user: str = "bob") -> str:
    """How a user is now."""
    (found,), alive = await presence.read([(store.app.id, user)])
    return found.state(alive, store.clock.ms)


async def test_a_lease_ends_by_the_time_of_redis(store: Store, presence: PresenceStore) -> None:
    """HP-20.3-1: a gateway that says nothing more is not among those who live."""
    other = PresenceStore(store.link, store.keys, THERE)
    assert await presence.renew() == {HERE}
    assert await other.renew(50) == {HERE, THERE}
    async with asyncio.timeout(5):
        while await presence.renew() != {HERE}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await other.renew() == {HERE, THERE}
    assert await other.renew(0) == {HERE}


async def test_a_user_is_here_who_has_a_session_on_a_living_gateway(
    store: Store, presence: PresenceStore
) -> None:
    """HP-20.1-1, HP-20.1-2: on any device; and one on a dead gateway does not count."""
    await PresenceStore(store.link, store.keys, THERE).renew()
    assert await state(store, presence) == "offline"
    await store.attach("bob", "d1", of(HERE))
    await store.attach("bob", "d2", of(THERE))
    assert await state(store, presence) == "online"
    await presence.set(store.app.id, "bob", "d1", "away", None)
    assert await state(store, presence) == "online"
    await PresenceStore(store.link, store.keys, THERE).renew(0)
    assert await state(store, presence) == "away"


async def test_a_row_that_nobody_writes_any_more_does_not_count(
    store: Store, presence: PresenceStore
) -> None:
    """HP-20.1-1: the end of a session that Redis was not told of; one that lives is seen."""
    attached = await store.attach("bob", "d1", of(HERE))
    store.clock.advance(SEEN_MS / 1000 + 30)
    assert await state(store, presence) == "online"
    await store.check("bob", attached.start, "d1")
    store.clock.advance(STALE_MS / 1000 - 1)
    assert await state(store, presence) == "online"
    store.clock.advance(1)
    assert await state(store, presence) == "offline"


async def test_since_is_when_a_user_was_seen_last(store: Store, presence: PresenceStore) -> None:
    """HP-20.1-6: on whichever device; 0 for one who never was."""
    attached = await store.attach("bob", "d1", of(HERE, 1))
    store.clock.advance(5)
    await store.attach("bob", "d2", of(HERE, 2))
    store.clock.advance(5)
    left = store.clock.ms
    await store.ack("bob", attached.start, "d1", of(HERE, 1), closing=True)
    (bob, nobody), _ = await presence.read([(store.app.id, "bob"), (store.app.id, "nobody")])
    assert (bob.seen_ms, nobody.seen_ms) == (left, 0)


async def test_what_the_channel_says(
    store: Store, presence: PresenceStore, heard: list[bytes]
) -> None:
    """HP-20.2-2: a byte when a device comes, goes, or is set; nothing for what is no change."""
    attached = await store.attach("bob", "d1", of(HERE))
    await until(lambda: heard == [CAME])
    none = Cursor(attached.start.epoch, 0, 0)
    await store.ack("bob", none, "d1", of(HERE))
    await store.ack("bob", none, "d1", of(THERE), closing=True)  # it was replaced before
    await presence.set(store.app.id, "bob", "d1", "online", b"")
    await until(lambda: heard == [CAME, SET])
    await store.ack("bob", none, "d1", of(HERE), closing=True)
    await until(lambda: heard == [CAME, SET, GONE])


async def test_a_status_is_set_left_and_cleared(store: Store, presence: PresenceStore) -> None:
    """HP-20.1-3: None leaves it, empty clears it."""
    await store.attach("bob", "d1", of(HERE))
    for given, kept in ((b"one", b"one"), (None, b"one"), (b"", b""), (None, b"")):
        await presence.set(store.app.id, "bob", "d1", "away", given)
        (found,), _ = await presence.read([(store.app.id, "bob")])
        assert (found.status, found.devices[0].away) == (kept, True)
    await presence.set(store.app.id, "bob", "d1", "online", None)
    (found,), _ = await presence.read([(store.app.id, "bob")])
    assert not found.devices[0].away


async def test_only_a_known_device_is_set(store: Store, presence: PresenceStore) -> None:
    """HP-20.1-4: or there would be a hash that no due list leads to."""
    with pytest.raises(Unavailable):
        await presence.set(store.app.id, "bob", "d1", "away", b"x")
    assert await store.link.call("EXISTS", store.keys.user(store.app.id, "bob").meta) == 0


async def test_marks_of_forgotten_devices_go(store: Store, presence: PresenceStore) -> None:
    """HP-20.1-4: a client with a new device id each day does not fill the hash."""
    meta = store.keys.user(store.app.id, "bob").meta
    await store.attach("bob", "d1", of(HERE, 1))
    await presence.set(store.app.id, "bob", "d1", "away", None)
    await store.link.call("HDEL", meta, "d:d1")
    await store.attach("bob", "d2", of(HERE, 2))
    await presence.set(store.app.id, "bob", "d2", "away", None)
    fields = await store.link.call("HKEYS", meta)
    assert [name for name in fields if name.startswith(b"a:")] == [b"a:d2"]


async def test_a_row_of_another_form_is_nobodys(store: Store, presence: PresenceStore) -> None:
    """HP-20.1-1: a device that made room (`!`), or that is not connected, is on no gateway."""
    meta = store.keys.user(store.app.id, "bob").meta
    now = store.clock.ms
    await store.link.call("HSET", meta, "d:d1", f"0-0 {now} ! {now} web", "d:d2", f"0-0 {now} ")
    (found,), _ = await presence.read([(store.app.id, "bob")])
    assert (found.devices, found.seen_ms) == ((), now)
    assert LEASE_MS > 0
    assert len(session("x")) == len(of(HERE))
