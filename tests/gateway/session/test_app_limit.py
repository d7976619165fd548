"""Mirrors gateway/session/app_limit.py, and the connects of a user: over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from homeport import codes, frames
from msgspec.structs import replace

from gateway.apps.app import App, create_app
from gateway.apps.tiers import TIERS
from gateway.chat.limits import CONNECT_BURST
from gateway.chat.refused import Refused
from gateway.config import Settings
from gateway.session.app_limit import RETRY_S, TELL_SHARE, AppLimit
from gateway.store.headcount import Headcount
from gateway.store.presence import LEASE_MS, RENEW_S
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock, RawClient, RunningWorker, running_worker, until

FREE = TIERS["free"].connections


async def refusal(running: RunningWorker, user: str) -> frames.Error:
    """Connect, be refused, and be asked to come back."""
    async with RawClient.open(running.url) as client:
        await client.send(frames.Connect(7, "d1", running.token(user)))
        error = await client.expect(frames.Error)
        assert error.id == 7
        assert await client.closed() == codes.TRY_LATER.number
        return error


def app_of(tier: str = "free") -> App:
    """Any."""
    return create_app("test", "sg", tier, "global", 0)


# -- the count, with what Redis would answer -------------------------------------------------------


class Region:
    """What Redis does: adds up what gateways tell. It answers in the next turn, or when let."""

    def __init__(self) -> None:
        self.counts: dict[Headcount, int] = {}
        self.told = 0
        self.under_way = 0
        self.held: list[asyncio.Future[None]] | None = None

    def gateway(self) -> tuple[AppLimit, Headcount]:
        """One more."""
        headcount = Headcount()
        return AppLimit(headcount, lambda app_id: self._tell(headcount, app_id)), headcount

    def _tell(self, headcount: Headcount, app_id: str) -> asyncio.Future[Any]:
        self.told += 1
        self.under_way += 1
        telling = headcount.telling([app_id])
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def learn(_: object) -> None:
            self.counts[headcount] = telling[app_id]
            headcount.learn(telling, [sum(self.counts.values())])
            self.under_way -= 1

        done.add_done_callback(learn)
        if self.held is None:
            done.get_loop().call_soon(done.set_result, None)
        else:
            self.held.append(done)
        return done


async def entered(region: Region, limit: AppLimit, app: App, wanted: int) -> int:
    """How many of `wanted` get in, one after the other; then all is told."""
    count = 0
    for _ in range(wanted):
        with contextlib.suppress(Refused):
            await limit.enter(app)
            count += 1
    await until(lambda: not region.under_way)
    return count


async def test_one_gateway_is_exact() -> None:
    """HP-17.3-2: as many as the tier says; one that leaves makes room."""
    region, app = Region(), app_of()
    limit, _ = region.gateway()
    assert await entered(region, limit, app, FREE + 20) == FREE
    limit.leave(app)
    assert await entered(region, limit, app, 3) == 1


@pytest.mark.parametrize("gateways", [2, 5])
async def test_n_gateways_exceed_it_by_two_shares_each_at_most(gateways: int) -> None:
    """HP-17.3-3: all of them full of people who want in, in turn and in the same turn."""
    region, app = Region(), app_of()
    limits = [region.gateway()[0] for _ in range(gateways)]
    counts = await asyncio.gather(*(entered(region, limit, app, FREE) for limit in limits))
    share = -(-FREE // TELL_SHARE)
    assert FREE <= sum(counts) <= FREE + gateways * 2 * share
    assert await entered(region, limits[0], app, 5) == 0


async def test_nobody_is_refused_for_what_has_ended(clock: FakeClock) -> None:
    """HP-17.3-4: a drained gateway's clients find the room that they left."""
    region, app = Region(), app_of()
    (here, _), (there, _) = region.gateway(), region.gateway()
    assert await entered(region, there, app, FREE) == FREE
    assert await entered(region, here, app, 1) == 0
    for _ in range(FREE):
        there.leave(app)
    await until(lambda: not region.under_way)
    assert await entered(region, here, app, FREE) == FREE


async def test_those_who_are_refused_together_ask_once() -> None:
    """A full app must not cost Redis more, the more people want in."""
    region, app = Region(), app_of()
    limit, _ = region.gateway()
    assert await entered(region, limit, app, FREE) == FREE
    region.told, region.held = 0, []
    asking = [asyncio.create_task(entered(region, limit, app, 1)) for _ in range(500)]
    await until(lambda: region.held)
    assert region.told == 1
    region.held.pop().set_result(None)
    region.held = None
    assert sum(await asyncio.gather(*asking)) == 0
    assert region.told == 1


async def test_a_large_app_is_told_of_rarely() -> None:
    """What it costs does not grow with the connections."""
    region, app = Region(), app_of("enterprise")
    limit, _ = region.gateway()
    assert await entered(region, limit, app, 10_000) == 10_000
    assert region.told == 1  # to learn of the others


# -- over real sockets -----------------------------------------------------------------------------


async def test_an_app_has_so_many_connections_on_all_gateways(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-17.3-2, HP-17.3-3, HP-17.3-6: of 110 who come to two gateways, the tier's hundred and
    two shares for each at most get in; they are not touched, and one who leaves makes room."""
    async with (
        two_workers(settings, clock, "free") as workers,
        contextlib.AsyncExitStack() as stack,
    ):
        inside: list[RawClient] = []
        refused = 0
        for number in range(FREE + 10):
            running = workers[number % 2]
            client = await stack.enter_async_context(RawClient.open(running.url))
            await client.send(frames.Connect(1, "d1", running.token(f"u{number}")))
            answer = await client.receive()
            if isinstance(answer, frames.Connected):
                inside.append(client)
                continue
            assert isinstance(answer, frames.Error)
            assert answer.code == codes.TOO_MANY_CONNECTIONS.number
            assert answer.retry_after is not None
            assert RETRY_S[0] <= answer.retry_after <= RETRY_S[1]
            assert await client.closed() == codes.TRY_LATER.number
            refused += 1
        assert FREE <= len(inside) <= FREE + 2 * 2 * (FREE // TELL_SHARE)
        assert refused > 0
        for running in workers:
            error = await refusal(running, "one-more")
            assert error.code == codes.TOO_MANY_CONNECTIONS.number
        for client in inside[:4]:
            assert isinstance(await client.say("u0", "still here"), frames.Ok)

        for client in inside[-5:]:
            await client.websocket.close()
        await until(lambda: sum(worker.inside.open for worker in workers) <= len(inside) - 5)
        async with workers[0].client("one-more"), workers[1].client("another"):
            pass


async def test_a_gateway_that_is_gone_makes_room(settings: Settings, clock: FakeClock) -> None:
    """HP-17.3-4, G10: a drained one at once; its clients connect elsewhere."""
    async with running_worker(settings, tier="free", clock=clock) as one:
        headcount = one.inside.headcount
        async with running_worker(settings, app=one.app, clock=clock) as two:
            for _ in range(FREE):
                two.inside.headcount.enter(one.app.id)
            await two.inside.renew_presence()
            assert (await refusal(one, "alice")).code == codes.TOO_MANY_CONNECTIONS.number
            assert headcount.total(one.app.id) == FREE
        async with one.client("alice"):
            pass


def test_a_killed_gateway_counts_for_24_seconds() -> None:
    """HP-17.3-4: its lease, and what the others need to notice."""
    assert LEASE_MS / 1000 + RENEW_S == 24


async def test_a_change_of_tier_counts_for_the_next_connect(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-17.3-5: down it closes nobody; up it lets in at once."""
    async with (
        running_worker(settings, tier="basic", clock=clock) as running,
        running.client("alice") as alice,
        running.admin() as admin,
    ):
        for _ in range(FREE):
            running.inside.headcount.enter(running.app.id)
        await admin.apps.change(running.app.id, "tier", "free", clock.ms)
        await until(lambda: running.inside.directory.known(running.app.id).tier.name == "free")
        assert (await refusal(running, "bob")).code == codes.TOO_MANY_CONNECTIONS.number
        assert isinstance(await alice.say("bob", "x"), frames.Ok)
        await admin.apps.change(running.app.id, "tier", "pro", clock.ms)
        await until(lambda: running.inside.directory.known(running.app.id).tier.name == "pro")
        async with running.client("bob"):
            pass


async def test_every_end_is_counted(running: RunningWorker, store: Any) -> None:
    """HP-17.3-4: whatever became of the session, refused after the count or cut while it waits."""
    headcount = running.inside.headcount
    async with running.client("alice") as alice, running.client("bob"):
        assert headcount.total(running.app.id) == 2
        alice.websocket.transport.abort()
        await until(lambda: headcount.total(running.app.id) == 1)
        for number in range(TIERS["pro"].devices + 2):  # the last two are refused by the script
            async with RawClient.open(running.url) as client:
                await client.send(
                    frames.Connect(1, f"d{number}", running.token("c"), platform=str(number))
                )
                await client.receive()
        await until(lambda: headcount.total(running.app.id) == 1)
        store.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        try:
            async with RawClient.open(running.url) as client:
                await client.send(frames.Connect(1, "d1", running.token("dave")))
                await until(lambda: headcount.total(running.app.id) == 2)
        finally:
            store.execute_command("CLIENT", "UNPAUSE")
        await until(lambda: headcount.total(running.app.id) == 1)
    await until(lambda: headcount.total(running.app.id) == 0)


async def test_a_user_who_connects_in_a_loop_is_held_up(running: RunningWorker) -> None:
    """HP-17.3-1: sixty at once, then one a second; another user, and who is there, are not."""
    async with running.client("bob") as bob:
        for _ in range(CONNECT_BURST):
            async with running.client("alice"):
                pass
        error = await refusal(running, "alice")
        assert (error.code, error.details) == (codes.RATE_LIMITED.number, {"limit": "connects"})
        assert error.retry_after is not None
        assert 0 < error.retry_after <= 1
        async with running.client("carol"):
            pass
        running.pass_time(error.retry_after)
        async with running.client("alice"):
            pass
        assert (await refusal(running, "alice")).code == codes.RATE_LIMITED.number
        assert isinstance(await bob.say("alice", "x"), frames.Ok)


async def test_a_bad_token_takes_nothing_of_the_users(running: RunningWorker) -> None:
    """HP-17.3-1: else anybody could keep a user out."""
    forged = replace(running.app, certificates=("0" * 64,))
    for _ in range(CONNECT_BURST + 5):
        async with RawClient.open(running.url) as client:
            await client.send(frames.Connect(1, "d1", running.token("alice", forged)))
            assert (await client.expect(frames.Error)).code == codes.TOKEN_SIGNATURE.number
    async with running.client("alice"):
        pass
