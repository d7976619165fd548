"""Mirrors gateway/chat/limits.py: over real sockets, and with copies of one bucket."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from homeport import codes, frames

from gateway.apps.tiers import TIERS, Rate
from gateway.chat.limits import Limits
from gateway.chat.refused import Refused
from gateway.chat.shares import Shares
from gateway.config import Settings
from gateway.redis.errors import Unavailable
from gateway.store.rates import RateStore
from tests.gateway.replicas import blast, counted, two_workers
from tests.harness import FakeClock, RawClient, RunningWorker, running_worker, until

FREE = TIERS["free"]


async def idle(running: RunningWorker) -> None:
    """Wait until the last session of a gateway has given its buckets back, and told the store."""
    await until(lambda: len(running.inside.limits) == 0)
    await running.inside.saved()


async def test_a_session_gets_its_burst_and_then_its_rate(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-17.1-1, HP-17.1-3: exactly; the rest is refused, stored nowhere, and told when to come."""
    async with running_worker(settings, tier="free", clock=clock) as running:
        async with running.client("alice") as client:
            answers = await blast(client, 510)
            assert counted(answers) == Counter(ok=500, session=10)
            refused = [a for a in answers if isinstance(a, frames.Error)]
            assert {a.code for a in refused} == {codes.RATE_LIMITED.number}
            assert refused[0].retry_after == pytest.approx(1 / 50, abs=0.002)
            assert refused[0].retry_after is not None
            running.pass_time(refused[0].retry_after)
            assert counted(await blast(client, 2)) == Counter(ok=1, session=1)
        async with running.client("alice", "d1") as again:
            assert again.connected.cursor.number == 0
            await again.send(frames.Ack(0))
        async with running.client("sink") as sink:
            assert (await sink.ask(frames.Conversations)).conversations[0].seq == 501


async def test_a_thousand_messages_take_ten_seconds_on_the_free_tier(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-17.1-1: five hundred at once, and fifty a second."""
    async with (
        running_worker(settings, tier="free", clock=clock) as running,
        running.client("alice") as client,
    ):
        accepted = counted(await blast(client, 500))["ok"]
        for _ in range(10):
            running.pass_time(1)
            accepted += counted(await blast(client, 60))["ok"]
        assert accepted == 1000


async def test_frames_that_ask_for_nothing_take_no_tokens(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-17.1-1: acks, pings and a renewal take none; what is refused takes none either."""
    async with (
        running_worker(settings, tier="free", clock=clock) as running,
        running.client("alice") as client,
    ):
        for n in range(1, 124):
            await client.send(frames.Blocks(n))
            assert isinstance(await client.until(frames.Ok), frames.Ok)
        for _ in range(20):
            await client.send(frames.Ping())
            await client.send(frames.Ack(0))
            await client.expect(frames.Pong)
        assert counted(await blast(client, 6)) == Counter(ok=6)
        await client.send(frames.Blocks(7))
        refused = await client.until(frames.Error)
        assert (refused.id, refused.code) == (7, codes.RATE_LIMITED.number)
        assert refused.retry_after == pytest.approx(2 / 50, abs=0.002)
        await client.send(frames.Renew(8, running.token("alice")))
        assert (await client.until(frames.Ok)).id == 8
        assert running.inside.limits.hold(running.app.id, "alice", FREE.user).taken == 498


async def test_a_price_above_a_burst_needs_a_full_bucket(
    running: RunningWorker, clock: FakeClock
) -> None:
    """HP-17.1-1: the largest request can be made at all; then the bucket is in debt."""
    allowance = running.inside.limits.open(running.app, "alice")
    tier = running.app.tier
    allowance.pay(tier, tier.user.burst + 500)
    with pytest.raises(Refused) as refused:
        allowance.pay(tier, 1)
    assert refused.value.retry_after == pytest.approx(501 / tier.user.per_s, abs=0.01)
    allowance.close()


async def test_a_change_of_tier_counts_for_the_next_request(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-17.1-4: for a session that is used up, tokens come back at the new rate at once."""
    async with (
        running_worker(settings, tier="free", clock=clock) as running,
        running.client("alice") as client,
        running.admin() as admin,
    ):
        await blast(client, 501)
        await admin.apps.change(running.app.id, "tier", "pro", clock.ms)
        directory = running.inside.directory
        await until(lambda: directory.known(running.app.id).tier is TIERS["pro"])
        assert counted(await blast(client, 1)) == Counter(session=1)
        running.pass_time(1)
        assert counted(await blast(client, 600)) == Counter(ok=500, session=100)


async def test_who_comes_after_a_change_of_tier_spends_at_the_new_rate(
    running: RunningWorker, clock: FakeClock
) -> None:
    """HP-17.1-4: until a session of before asked for something, the next one had the old rate."""
    limits, app_id = running.inside.limits, running.app.id
    limits.hold(app_id, "alice", TIERS["pro"].user)
    bucket = limits.hold(app_id, "alice", FREE.user)
    spent = 0
    while not bucket.wait(clock.steady):
        bucket.take(clock.steady)
        spent += 1
    assert spent == FREE.user.burst


async def test_connecting_again_gives_no_tokens_of_the_user(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-17.2-1, HP-17.2-4: on one gateway it is exact, whatever the session's own bucket says."""
    async with running_worker(settings, tier="free", clock=clock) as running:
        total: Counter[str] = Counter()
        for count in (300, 333, 400, 100):
            async with running.client("alice") as client:
                total += counted(await blast(client, count))
            await until(lambda: len(running.inside.limits) == 0)
        assert total == Counter(ok=1000, user=133)
        async with running.client("bob") as other:
            assert counted(await blast(other, 10)) == Counter(ok=10)


async def test_connecting_to_another_gateway_gives_no_tokens_either(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-17.2-4: what one gateway let through, the other knows before it says connected."""
    async with two_workers(settings, clock, tier="free") as (one, two):
        for _ in range(2):
            async with one.client("alice") as client:
                assert counted(await blast(client, 500)) == Counter(ok=500)
            await until(lambda: len(one.inside.limits) == 0)
        async with two.client("alice") as client:
            assert counted(await blast(client, 20)) == Counter(user=20)
            two.pass_time(0.5)
            assert counted(await blast(client, 60)) == Counter(ok=50, user=10)


async def test_two_gateways_together_keep_to_the_bound(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-17.2-2, HP-17.2-3: a burst too many at most, and that is made up for."""
    async with two_workers(settings, clock, tier="free") as (one, two):
        total: Counter[str] = Counter()
        for _ in range(3):  # new sessions, so that only the user's bucket limits
            async with one.client("alice", "d1") as a, two.client("alice", "d2") as b:
                for answers in await asyncio.gather(blast(a, 500), blast(b, 500)):
                    total += counted(answers)
        assert 1000 <= total["ok"] <= 2 * FREE.user.burst
        assert total["user"] > 0
        debt_s = (total["ok"] - 1000) / FREE.user.per_s
        for worker in (one, two):
            await idle(worker)
        clock.advance(debt_s)
        async with one.client("alice", "d1") as a:
            assert counted(await blast(a, 5))["ok"] == 0
        clock.advance(1)
        accepted = 0
        for worker in (one, two):
            async with worker.client("alice", "d3") as client:
                accepted += counted(await blast(client, 150))["ok"]
                worker.inside.limits.hold(worker.app.id, "alice", FREE.user).report()
                worker.inside.limits.release((worker.app.id, "alice"))
            await idle(worker)
        assert accepted == FREE.user.per_s


async def test_an_app_has_a_limit_too(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-17.1-1: of all its users together; another app does not feel it."""
    monkeypatch.setitem(TIERS, "pro", replace(TIERS["pro"], app=Rate(10, 30)))
    async with (
        running_worker(settings, clock=clock) as running,
        running_worker(settings, clock=clock) as other,
        running.client("alice") as alice,
        running.client("bob") as bob,
        other.client("alice") as stranger,
    ):
        assert counted(await blast(alice, 20)) == Counter(ok=20)
        assert counted(await blast(bob, 20)) == Counter(ok=10, app=10)
        assert counted(await blast(stranger, 30)) == Counter(ok=30)


async def test_no_message_waits_for_the_shared_buckets(
    running: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-17.2-1: while Redis does not answer what is left, or says it is away, sends go on."""
    loop = asyncio.get_running_loop()
    for turn, answer in enumerate((None, Unavailable("away"))):

        def spend(*_: Any, answer: Unavailable | None = answer, **__: Any) -> Any:
            future: asyncio.Future[Any] = loop.create_future()
            if answer is not None:
                future.set_exception(answer)
            return future

        with monkeypatch.context() as patch:
            patch.setattr(RateStore, "spend", spend)
            async with running.client("alice") as client:
                assert counted(await blast(client, 1_200, f"sink{turn}")) == Counter(ok=1_200)


async def test_a_session_gives_its_buckets_back(running: RunningWorker) -> None:
    """G9: also one that was refused while it connected."""
    limits = running.inside.limits
    async with running.client("alice", "d1"), running.client("alice", "d2"):
        assert len(limits) == 2
    async with RawClient.open(running.url) as client:
        await client.send(frames.Connect(1, "d1", "nonsense"))
        await client.closed()
    await until(lambda: len(limits) == 0)


async def test_a_session_that_sent_nothing_has_nothing_to_tell(
    running: RunningWorker, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who only connects and leaves costs the store one question, and no report."""
    limits, told = running.inside.limits, []
    spend = RateStore.spend

    def counting(
        rates: RateStore, app_id: str, user: str, rate: Rate, count: int, now_ms: int
    ) -> Any:
        told.append((user, count))
        return spend(rates, app_id, user, rate, count, now_ms)

    monkeypatch.setattr(RateStore, "spend", counting)
    for sends in (0, 3):
        allowance = limits.open(running.app, "alice")
        for _ in range(sends):
            allowance.pay(running.app.tier, 1)
        allowance.close()
    assert told == [("alice", 0), ("", 0), ("alice", 0), ("", 0), ("alice", 3), ("", 3)]


class Copies:
    """Copies of one user's bucket, as gateways have them, on one real store."""

    def __init__(self, running: RunningWorker, clock: FakeClock, count: int, rate: Rate) -> None:
        rates = RateStore(running.inside.link, running.inside.keys)
        self.clock = clock
        self.link = running.inside.link
        self.copies = [
            Limits(rates, clock.clock(), Shares(), running.inside.limits.storage).hold(
                running.app.id, "alice", rate
            )
            for _ in range(count)
        ]

    def spend(self, copy: int, most: int) -> int:
        """Take at most `most` tokens from a copy; returns how many there were."""
        bucket, now, taken = self.copies[copy], self.clock.steady, 0
        while taken < most and bucket.wait(now) == 0.0:
            bucket.take(now)
            taken += 1
        return taken

    async def settle(self) -> None:
        """Let what was told be answered."""
        with contextlib.suppress(Unavailable):
            await self.link.call("PING")


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_the_bound_holds_in_the_long_run(
    running: RunningWorker, clock: FakeClock, count: int
) -> None:
    """HP-17.2-1, HP-17.2-2, HP-17.2-3: everyone greedy, for ten bursts' time."""
    rate = Rate(10, 50)
    copies = Copies(running, clock, count, rate)
    total, seconds = 0, 0.0
    for _ in range(500):
        for copy in range(count):
            total += copies.spend(copy, 1000)
        await copies.settle()
        clock.advance(0.1)
        seconds += 0.1
        assert total <= rate.per_s * seconds + count * rate.burst
    assert total >= rate.per_s * seconds, "nor is anything held back"
    # In the end the gateways know of each other but for a tenth of a burst each.
    assert total <= rate.per_s * seconds + rate.burst + count * rate.burst / 10


async def test_gateways_that_were_idle_learn_as_they_begin(
    running: RunningWorker, clock: FakeClock
) -> None:
    """HP-17.2-2: a copy that knew of nothing gives a tenth of the burst, and then it knows."""
    rate = Rate(10, 50)
    copies = Copies(running, clock, 2, rate)
    assert copies.spend(0, 1000) == 50
    await copies.settle()
    taken = 0
    while given := copies.spend(1, 1):  # as messages come, one by one
        taken += given
        await copies.settle()
    assert taken == 5
