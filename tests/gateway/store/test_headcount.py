"""Mirrors gateway/store/headcount.py, by itself and with the lease: on Valkey and on Redis 7.0."""

from __future__ import annotations

import asyncio

import pytest

from gateway.redis.errors import OperationFailed
from gateway.store.headcount import Headcount
from gateway.store.presence import PresenceStore
from tests.gateway.store.conftest import Store
from tests.memory import counting_memory

APP, OTHER = "02" + "a" * 30, "02" + "b" * 30


class Gateway:
    """One gateway's counts and lease."""

    def __init__(self, store: Store, name: str) -> None:
        self.count = Headcount()
        self.store = PresenceStore(store.link, store.keys, name, self.count)

    def enter(self, times: int, app: str = APP) -> None:
        """So many connections."""
        for _ in range(times):
            self.count.enter(app)

    def leave(self, times: int, app: str = APP) -> None:
        """So many less."""
        for _ in range(times):
            self.count.leave(app)


@pytest.fixture
def gateways(store: Store) -> tuple[Gateway, Gateway]:
    """Two of a region."""
    return Gateway(store, "aaaaaa"), Gateway(store, "bbbbbb")


def test_what_is_here_is_exact_and_what_is_elsewhere_as_told() -> None:
    """HP-17.3-3: also what changed while the answer was under way."""
    count = Headcount()
    for _ in range(3):
        count.enter("a")
    assert (count.total("a"), count.untold("a")) == (3, 3)
    told = count.telling()
    count.enter("a")
    assert (told, count.untold("a")) == ({"a": 3}, 1)
    count.learn(told, [10])
    assert count.total("a") == 4 + 7
    count.leave("a")
    count.leave("a")
    assert (count.total("a"), count.untold("a")) == (2 + 7, 1)


def test_an_app_that_has_gone_is_forgotten() -> None:
    """G9: once it was told that none is left, and nobody came meanwhile."""
    count = Headcount()
    assert not count.known("a")
    count.enter("a")
    count.learn(count.telling(), [1])
    assert count.known("a")
    count.leave("a")
    assert count.telling() == {"a": 0}
    count.enter("a")
    count.learn({"a": 0}, [0])
    assert count.total("a") == 1
    count.leave("a")
    assert count.telling() == {}
    told = count.telling(["b"])  # asked about, and then refused
    count.learn(told, [5])
    assert count.telling() == {}
    with counting_memory() as kept:
        for n in range(1000):
            count.enter(f"app{n}")
            count.learn(count.telling(), [1])
            count.leave(f"app{n}")
            count.learn(count.telling(), [0])
        assert count.telling() == {}
        assert kept() < 1000 * 20  # a name in one of its tables takes 60 bytes and more


def test_an_app_that_goes_while_redis_is_away_is_told_of_until_it_is_heard() -> None:
    """The telling counted as heard: the last number stayed in Redis for as long as the gateway
    lived, and others refused that app's connections too early."""
    count = Headcount()
    count.enter(APP)
    count.learn(count.telling(), [1])
    count.leave(APP)
    assert count.telling() == {APP: 0}  # and no answer comes
    assert count.telling() == {APP: 0}
    count.learn({APP: 0}, [0])
    assert count.telling() == {}


async def test_gateways_learn_of_each_other(
    store: Store, gateways: tuple[Gateway, Gateway]
) -> None:
    """HP-17.3-3: by the lease, and one app at once by itself."""
    one, two = gateways
    one.enter(3)
    one.enter(2, OTHER)
    two.enter(4)
    await one.store.renew()
    await two.store.renew()
    assert (two.count.total(APP), one.count.total(APP)) == (7, 3)
    await one.store.tell(APP)
    assert (one.count.total(APP), one.count.total(OTHER)) == (7, 2)
    one.leave(2)
    await one.store.renew()
    await two.store.tell(APP)
    assert two.count.total(APP) == 5
    assert await store.link.call("HGET", store.keys.connections, APP) == b"5"


async def test_repeating_adds_nothing(store: Store, gateways: tuple[Gateway, Gateway]) -> None:
    """The count is told, not the change: an answer that was lost costs nothing."""
    one, two = gateways
    one.enter(3)
    for _ in range(3):
        await one.store.renew()
        await one.store.tell(APP)
    await two.store.tell(APP)
    assert two.count.total(APP) == 3


async def test_a_gateway_takes_its_count_with_it(
    store: Store, gateways: tuple[Gateway, Gateway]
) -> None:
    """HP-17.3-4, G10: one that leaves at once, one that was killed when its lease ends; whoever
    touches the leases then, also by reading presence. Nothing is left behind."""
    one, two = gateways
    one.enter(3)
    one.enter(1, OTHER)
    two.enter(4)
    await two.store.renew()
    await one.store.renew(50)
    third = Gateway(store, "cccccc")
    third.enter(1)
    await third.store.renew()
    assert third.count.total(APP) == 8
    async with asyncio.timeout(5):
        while "aaaaaa" in (await third.store.read([]))[1]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await third.store.tell(APP)
    assert third.count.total(APP) == 5
    await two.store.renew(0)
    await third.store.tell(APP)
    assert third.count.total(APP) == 1
    await third.store.renew(0)
    assert await store.link.call("EXISTS", store.keys.connections, store.keys.gateways) == 0


async def test_a_gateway_that_was_taken_for_dead_tells_anew(
    store: Store, gateways: tuple[Gateway, Gateway]
) -> None:
    """G10: a pause of Redis, or of the gateway, ends a lease and not the connections."""
    one, two = gateways
    one.enter(3)
    await one.store.renew(1)
    await asyncio.sleep(0.01)
    await two.store.tell(APP)
    assert two.count.total(APP) == 0
    await one.store.renew()
    await two.store.tell(APP)
    assert two.count.total(APP) == 3
    await store.link.call("FLUSHALL")
    await one.store.renew()
    await two.store.tell(APP)
    assert two.count.total(APP) == 3


async def test_while_redis_is_away_the_last_count_stands(
    store: Store, gateways: tuple[Gateway, Gateway]
) -> None:
    """And what changed meanwhile is told with the next lease."""
    one, two = gateways
    one.enter(3)
    await one.store.renew()
    two.enter(1)
    await two.store.renew()
    await store.link.call("SET", store.keys.connections, "not a hash")
    two.enter(1)
    with pytest.raises(OperationFailed):
        await two.store.tell(APP)
    assert two.count.total(APP) == 5
    await store.link.call("DEL", store.keys.connections)
    await two.store.renew()
    await one.store.renew()
    assert one.count.total(APP) == 5
