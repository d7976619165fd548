"""Mirrors gateway/store/rates.py and spend.lua, on both kinds of store."""

from __future__ import annotations

from gateway.apps.tiers import Rate
from gateway.store.keys import Keys
from gateway.store.rates import RateStore
from tests.gateway.store.conftest import Store

APP = "02" + "ab" * 15
RATE = Rate(100, 1000)  # a token comes back in 10 ms
NOW = 1_764_000_000_000


async def left(store: Store, count: int, now_ms: int, user: str = "alice") -> float:
    """Spend, and say in how many ms the bucket is full."""
    return float(await RateStore(store.link, Keys("sg")).spend(APP, user, RATE, count, now_ms))


async def test_what_is_spent_comes_back(store: Store) -> None:
    """HP-17.2-1: each token takes its time; a full bucket leaves no key behind."""
    assert await left(store, 0, NOW) == 0
    assert await store.link.call("EXISTS", Keys("sg").rate(APP, "alice")) == 0
    assert await left(store, 30, NOW) == 300
    assert await left(store, 1, NOW + 100) == 210
    assert await left(store, 0, NOW + 310) == 0
    assert await left(store, 1, NOW + 10_000) == 10


async def test_the_key_goes_when_the_bucket_is_full(store: Store) -> None:
    """G9: an idle user takes no room."""
    await left(store, 50, NOW)
    assert 0 < await store.link.call("PTTL", Keys("sg").rate(APP, "alice")) <= 500


async def test_more_than_there_was_is_a_debt(store: Store) -> None:
    """HP-17.2-3: twice the burst takes twice as long."""
    assert await left(store, 1000, NOW) == 10_000
    assert await left(store, 1000, NOW) == 20_000


async def test_a_clock_that_is_behind_gives_nothing(store: Store) -> None:
    """HP-17.2-1: the gateways' clocks differ a little; no time passes twice."""
    assert await left(store, 10, NOW) == 100
    assert await left(store, 0, NOW - 50) == 150
    assert await left(store, 0, NOW) == 100


async def test_each_user_and_the_app_have_their_own(store: Store) -> None:
    """HP-17.1-1."""
    await left(store, 10, NOW, "alice")
    assert await left(store, 0, NOW, "bob") == 0
    assert await left(store, 3, NOW, "") == 30
