"""Mirrors gateway/store/fanout.py: what goes to many buckets leaves room for everybody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.redis.errors import Unavailable
from gateway.redis.node_link import NodeLink
from gateway.store.fanout import AT_ONCE
from gateway.store.keys import bucket_of
from tests.gateway.store.conftest import APP_ID, Store
from tests.gateway.store.test_groups import Gateway
from tests.harness import until

CROWD = [f"user{number}" for number in range(600)]
MESSAGES = 6


@pytest.fixture
async def crowded(one_store: Store) -> AsyncIterator[Gateway]:
    """A gateway that knows a group whose members are all over the buckets."""
    gateway = Gateway(one_store)
    await gateway.have(*CROWD)
    assert len({bucket_of(APP_ID, user) for user in CROWD}) > 5 * AT_ONCE
    yield gateway


async def test_what_is_told_to_many_buckets_goes_to_a_few_of_them_at_a_time(
    crowded: Gateway,
) -> None:
    """G9: a message to a thousand users was 256 commands in one write, 30 ms of Redis, and several
    groups' at once left another app's message waiting for 0.3 s. All the same everyone has every
    message, in its order."""
    store, queued = crowded.store, list[int]()
    says = asyncio.gather(*(crowded.say(f"{number}", CROWD[0]) for number in range(MESSAGES)))
    while not says.done():
        await asyncio.sleep(0)
        queued.append(store.link.queued)
    assert AT_ONCE // 2 < max(queued) <= AT_ONCE + MESSAGES
    for user in CROWD:
        assert [each.seq for each in store.waiting(user)] == list(range(1, MESSAGES + 2))


async def test_a_short_message_overtakes_one_to_many(crowded: Gateway) -> None:
    """G9: it waits for the buckets that are being told, and not for all that wait behind them."""
    order = list[str]()
    many = [asyncio.ensure_future(crowded.say(f"{n}", CROWD[0])) for n in range(MESSAGES)]
    for each in many:
        each.add_done_callback(lambda _: order.append("many"))
    await until(lambda: crowded.store.link.queued > AT_ONCE // 2)
    crowded.store.say("bob").add_done_callback(lambda _: order.append("short"))
    await asyncio.gather(*many)
    assert order[0] == "short"


async def test_redis_that_goes_away_meanwhile_fails_all_that_wait(crowded: Gateway) -> None:
    """G1: a message that not everyone was told of is not accepted; its repetition tells the rest.
    The next ones are not held up by those that failed."""
    link = crowded.store.link
    assert isinstance(link, NodeLink)
    entries = [crowded.entry(f"{number}", CROWD[0]) for number in range(MESSAGES)]
    says = [asyncio.ensure_future(crowded.say(entry, CROWD[0])) for entry in entries]
    await until(lambda: link.queued > AT_ONCE // 2)
    link.abort()
    for outcome in await asyncio.gather(*says, return_exceptions=True):
        assert isinstance(outcome, Unavailable)
    await until(lambda: link.up)
    for entry in entries:
        await crowded.say(entry, CROWD[0])
    for user in CROWD:
        assert [each.seq for each in crowded.store.waiting(user)] == list(range(1, MESSAGES + 2))
