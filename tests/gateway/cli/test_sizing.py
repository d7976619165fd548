"""Planning on paper: the arithmetic, and that its costs are those that were measured."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench import kept
from gateway.apps.tiers import TIERS
from gateway.cli.sizing import BUSY, COSTS, PRIMARY_BYTES, Demand, Plan, breaks, busiest_share, plan

ROOT = Path(__file__).parents[3]
SIZES = (100_000, 1_000_000, 10_000_000, 100_000_000)


def of(users: int, tier: str = "basic") -> tuple[Demand, Plan]:
    """One in ten is online, and says something every minute."""
    demand = Demand(users, users / 600, TIERS[tier])
    return demand, plan(demand)


def test_nothing_is_planned_at_more_than_half() -> None:
    """Neither a worker's core, nor a primary's core or memory."""
    for users in SIZES[:3]:
        demand, found = of(users)
        gateway_us = demand.rate * COSTS.message_us + found.sessions * COSTS.idle_us
        assert gateway_us / 1e6 / found.workers <= BUSY
        assert found.redis_cores * found.share <= BUSY
        assert found.redis_bytes * found.share <= PRIMARY_BYTES
        assert found.replicas > found.workers / 4
        assert found.return_s <= 30


def test_more_of_anything_never_takes_less() -> None:
    """Each of what is asked for costs something, and costs it where it should."""
    demand = Demand(1_000_000, 2_000, TIERS["basic"])
    found = plan(demand)
    assert plan(replace(demand, rate=20_000)).workers > found.workers
    assert plan(replace(demand, online=0.9)).workers > found.workers
    assert plan(replace(demand, recipients=50)).redis_cores > 10 * found.redis_cores
    assert plan(replace(demand, size=2_000)).redis_bytes > found.redis_bytes
    assert plan(replace(demand, waiting=200)).redis_bytes > found.redis_bytes
    assert plan(replace(demand, talk=2)).redis_bytes > 1.5 * found.redis_bytes
    assert plan(replace(demand, tier=TIERS["pro"])).redis_bytes > 5 * found.redis_bytes
    assert plan(replace(demand, users=2_000_000, online=0.05)).sessions == found.sessions


def test_a_message_is_kept_once_however_many_read_it() -> None:
    """A member more costs Redis a row in a conversation and, while away, a reference; no body."""
    demand = Demand(1_000_000, 2_000, TIERS["basic"], size=8_192)
    one, hundred = plan(demand), plan(replace(demand, recipients=100))
    messages = demand.rate / 3 * demand.tier.retention_ms / 1000
    rows = messages / demand.talk * 99 * COSTS.row_bytes
    assert hundred.redis_bytes - one.redis_bytes == pytest.approx(rows, rel=0.001)


def test_what_gives_way_is_said_the_worst_first() -> None:
    """Nothing for a small region; memory before CPU for a large one; in the end the buckets."""
    assert breaks(*of(10_000)) == []
    first = breaks(*of(1_000_000))[0]
    assert "one Redis should not hold the data" in first
    assert any("256 buckets" in text for text in breaks(*of(SIZES[3])))
    assert not any("256 buckets" in text for text in breaks(*of(SIZES[1])))


@pytest.mark.parametrize(("primaries", "buckets"), [(1, 256), (2, 128), (3, 86), (64, 4), (100, 4)])
def test_a_primary_holds_whole_buckets(primaries: int, buckets: int) -> None:
    """The busiest has more than its part, by less than one: counted with Redis' own CRC-16."""
    assert busiest_share(primaries) == buckets / 256


async def test_memory_is_as_measured(redis_url: str) -> None:
    """The costs in Redis are those of a real one, to a tenth; `python -m bench.kept` shows them."""
    found = await kept.measure(redis_url)
    planned = {
        "user: with one device": COSTS.user_bytes,
        "user: row of a conversation": COSTS.row_bytes,
        "user: reference in the inbox": COSTS.reference_bytes,
        "conversation: beside messages and rows": COSTS.conversation_bytes,
        "message: in its conversation": COSTS.stored_bytes,
        "message: mark against repeats": COSTS.mark_bytes,
        "message: to Redis": COSTS.to_redis_bytes,
    }
    # What a conversation takes is the difference of two sums of all memory, and now and then the
    # server gives a connection's buffers back in between: 70 bytes a conversation.
    wide = "conversation: beside messages and rows"
    near = {k: pytest.approx(v, rel=0.2 if k == wide else 0.1) for k, v in planned.items()}
    assert found == {**found, **near}


@pytest.mark.parametrize(
    ("target", "planned"),
    [
        ("group of 1,000: gateway us a delivery", COSTS.delivery_us),
        ("idle connection: us a second", COSTS.idle_us),
        ("storm over WSS: sessions/s a gateway core", COSTS.sessions_per_s),
        ("idle connection, WSS: KiB", COSTS.session_bytes / 1024),
    ],
)
def test_costs_are_as_in_the_latest_results(target: str, planned: float) -> None:
    """To a quarter, of the table in bench/README.md: what moved further is to be planned anew."""
    row = re.search(rf"^\| {re.escape(target)} \| \S+ \S+ \| ([0-9.]+)", _bench(), re.MULTILINE)
    assert row is not None
    assert float(row[1]) == pytest.approx(planned, rel=0.25)


def test_the_table_of_the_document_is_the_arithmetic() -> None:
    """deploy/CAPACITY.md, "At a glance"."""
    text = (ROOT / "deploy" / "CAPACITY.md").read_text("utf-8")
    for users in SIZES:
        _, found = of(users)
        row = (
            f"| {users:,} | {users / 600:,.0f} | {found.sessions:,} | {found.replicas:,} "
            f"| {found.primaries:,} | {found.redis_bytes / 2**30:,.0f} GiB "
            f"| {found.client_bps / 1e6:,.0f} Mbit/s |"
        )
        assert row in text


def _bench() -> str:
    return (ROOT / "bench" / "README.md").read_text("utf-8")
