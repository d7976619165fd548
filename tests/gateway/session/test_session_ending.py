"""How sessions end, other than by their token's end. Over real sockets, on one store."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from homeport import codes, frames

from gateway.apps.app import App
from gateway.config import Settings
from gateway.security import tokens
from gateway.session.app_limit import AppLimit
from gateway.store.directory import AppDirectory
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock, RawClient, RunningWorker, running_worker, until


async def test_silence_is_pinged_and_then_closed(running: RunningWorker) -> None:
    """HP-5.3-1 and HP-5.3-3: over a real socket; one that answers stays."""
    async with running.client("silent") as silent, running.client("lively") as lively:
        for _ in range(2):
            running.pass_time(25.25)
            await silent.expect(frames.Ping)
            await lively.expect(frames.Ping)
            await lively.send(frames.Pong())
            await lively.send(frames.Ping())
            await lively.expect(frames.Pong)  # HP-5.3-2; and so the pong was read
        running.pass_time(25.25)
        assert await silent.closed() == codes.PING_TIMEOUT.number
        assert isinstance(await lively.say("lively", "x"), frames.Ok)


async def test_a_frame_that_is_refused_is_a_sign_of_life(running: RunningWorker) -> None:
    """HP-5.3-1: a frame of any type."""
    async with running.client("alice") as client:
        running.pass_time(20)
        await client.send(bytes.fromhex("917e"))  # type 126
        await client.expect(frames.Error)
        running.pass_time(10)
        await client.send(frames.Ping())
        await client.expect(frames.Pong)  # and no ping before it


async def test_the_same_device_replaces_itself(running: RunningWorker) -> None:
    """HP-5.1-10: on one gateway; another device stays."""
    async with (
        running.client("alice", "d1") as first,
        running.client("alice", "d2") as other,
        running.client("alice", "d1") as second,
    ):
        assert await first.closed() == codes.REPLACED.number
        assert isinstance(await second.say("alice", "x"), frames.Ok)
        assert (await other.expect(frames.Push)).message.body == b"x"


async def test_the_same_device_replaces_itself_on_another_gateway(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-5.1-10: on whichever replica it is, and back again."""
    async with (
        two_workers(settings, clock) as (one, two),
        one.client("alice") as first,
        two.client("alice") as second,
        one.client("alice") as third,
    ):
        assert await first.closed() == codes.REPLACED.number
        assert await second.closed() == codes.REPLACED.number
        assert isinstance(await third.say("alice", "x"), frames.Ok)


async def test_a_missed_replacement_is_found_by_the_regular_check(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-5.1-10: pub/sub may drop the word; the next check has it."""
    async with two_workers(settings, clock) as (one, two), one.client("alice") as first:
        with one.inside.deaf():
            async with two.client("alice"):
                one.pass_time(31)
                assert await first.closed() == codes.REPLACED.number


async def test_many_connects_of_one_device_leave_one(settings: Settings, clock: FakeClock) -> None:
    """HP-5.1-10: at the same time on two gateways, exactly one session is left."""
    async with two_workers(settings, clock) as (one, two), contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(RawClient.open(worker.url)) for worker in (one, two) * 4
        ]
        token = one.token("alice")
        for client in clients:
            await client.send(frames.Connect(1, "d1", token))

        async def until_closed(client: RawClient) -> int:
            return await client.closed()

        waiting = {asyncio.create_task(until_closed(client)) for client in clients}
        ended = set[asyncio.Task[int]]()
        while len(ended) < len(clients) - 1:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            ended |= done
        assert {task.result() for task in ended} == {codes.REPLACED.number}
        assert len(one.inside.sessions()) + len(two.inside.sessions()) == 1
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_kick_ends_one_device_or_all(running: RunningWorker) -> None:
    """HP-5.5-4: and nobody else, and they may come back."""
    async with (
        running.admin() as admin,
        running.client("alice", "d1") as one,
        running.client("alice", "d2") as two,
        running.client("bob", "d1") as bob,
    ):
        await admin.access.kick(running.app.id, "alice", "d1")
        assert await one.closed() == codes.KICKED.number
        assert isinstance(await two.say("alice", "x"), frames.Ok)
        async with running.client("alice", "d1") as again:
            await admin.access.kick(running.app.id, "alice")
            assert await two.closed() == codes.KICKED.number
            assert await again.closed() == codes.KICKED.number
        assert isinstance(await bob.say("bob", "x"), frames.Ok)


async def test_a_revocation_ends_the_sessions_of_older_tokens_everywhere(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-6.4-2 and G8: on two gateways within a second of real time, but none of newer tokens."""
    async with two_workers(settings, clock) as (one, two), contextlib.AsyncExitStack() as stack:

        async def client(worker: RunningWorker, user: str, device: str, age: float) -> RawClient:
            client = await stack.enter_async_context(RawClient.open(worker.url))
            await client.connect(worker.token(user, now_s=clock.now - age), device)
            return client

        old = [await client(one, "alice", "d1", 10), await client(two, "alice", "d2", 1)]
        new = [await client(one, "alice", "d3", 0), await client(two, "alice", "d4", 0)]
        bob = await client(two, "bob", "d1", 10)
        async with one.admin() as admin:
            await admin.access.revoke(one.app.id, "alice", clock.ms)
            async with asyncio.timeout(1):
                for each in old:
                    assert await each.closed() == codes.REVOKED.number
        for each in (*new, bob):
            assert isinstance(await each.say("bob", "x"), frames.Ok)


async def test_a_renewed_session_survives_the_revocation_of_its_old_token(
    running: RunningWorker,
) -> None:
    """HP-6.4-2: the sessions of such tokens, and of no others."""
    assert running.clock is not None
    async with RawClient.open(running.url) as client:
        await client.connect(running.token("alice", now_s=running.clock.now - 10))
        await client.send(frames.Renew(5, running.token("alice")))
        await client.expect(frames.Ok)
        async with running.admin() as admin:
            await admin.access.revoke(running.app.id, "alice", running.clock.ms)
        assert isinstance(await client.say("alice", "still here"), frames.Ok)


async def test_a_missed_revocation_is_found_by_the_regular_check(running: RunningWorker) -> None:
    """HP-6.4-2: where pub/sub dropped the word."""
    assert running.clock is not None
    async with RawClient.open(running.url) as client:
        await client.connect(running.token("alice", now_s=running.clock.now - 10))
        with running.inside.deaf():
            async with running.admin() as admin:
                await admin.access.revoke(running.app.id, "alice", running.clock.ms)
            running.pass_time(31)
            assert await client.closed() == codes.REVOKED.number


def digest_of(worker: RunningWorker, token: str) -> tokens.Identity:
    """Whom `token` names, as an operator finds out."""
    assert worker.clock is not None
    return tokens.verify(token, worker.app, worker.clock.now)


async def test_one_token_is_revoked_by_itself_everywhere(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-6.4-5: within a second on two gateways; whoever came with another token of that age, or
    has renewed with another, stays. It connects no more."""
    async with two_workers(settings, clock) as (one, two), contextlib.AsyncExitStack() as stack:
        stolen, other = one.token("alice"), one.token("alice", lifetime_s=60)

        async def client(worker: RunningWorker, device: str, token: str) -> RawClient:
            client = await stack.enter_async_context(RawClient.open(worker.url))
            await client.connect(token, device)
            return client

        thieves = [await client(one, "d1", stolen), await client(two, "d2", stolen)]
        stays = [await client(two, "d3", other), await client(one, "d4", stolen)]
        assert await renewed(stays[1], other)
        async with one.admin() as admin:
            await admin.access.revoke_token(one.app.id, digest_of(one, stolen))
            async with asyncio.timeout(1):
                for each in thieves:
                    assert await each.closed() == codes.REVOKED.number
        for worker in (one, two):
            assert await refused_with(worker, stolen) == codes.TOKEN_REVOKED.number
        for each in stays:
            assert isinstance(await each.say("bob", "x"), frames.Ok)


async def test_a_renewal_with_a_revoked_token_ends_the_session(running: RunningWorker) -> None:
    """HP-6.4-5: a renewal asks nothing in the store, and the session compares itself afterwards."""
    token = running.token("alice", lifetime_s=60)
    async with running.admin() as admin, running.client("alice") as client:
        await admin.access.revoke_token(running.app.id, digest_of(running, token))
        assert isinstance(await client.say("bob", "not with this one"), frames.Ok)
        async with asyncio.timeout(1):
            await client.send(frames.Renew(5, token))
            assert await client.closed() == codes.REVOKED.number


async def test_a_missed_revocation_of_one_token_is_found_by_the_regular_check(
    running: RunningWorker,
) -> None:
    """HP-6.4-5: where pub/sub dropped the word."""
    async with RawClient.open(running.url) as client:
        token = running.token("alice")
        await client.connect(token)
        with running.inside.deaf():
            async with running.admin() as admin:
                await admin.access.revoke_token(running.app.id, digest_of(running, token))
            running.pass_time(31)
            assert await client.closed() == codes.REVOKED.number


async def refused_with(worker: RunningWorker, token: str) -> int:
    """The error's code with which a connect is refused."""
    async with RawClient.open(worker.url) as client:
        await client.send(frames.Connect(1, "d9", token))
        error = await client.expect(frames.Error)
        assert await client.closed() == codes.UNAUTHORIZED.number
    return error.code


async def renewed(client: RawClient, token: str) -> bool:
    """Whether a renewal is taken."""
    await client.send(frames.Renew(client.request_id(), token))
    return isinstance(await client.receive(), frames.Ok)


async def test_a_revocation_of_an_app_ends_all_its_sessions_everywhere(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-6.4-3, G8: a stolen certificate signs tokens for any user, so no list of users ends what
    it opened. On two gateways, within a second; older tokens stay out, and renew nothing."""
    async with two_workers(settings, clock) as (one, two), contextlib.AsyncExitStack() as stack:
        old = one.token("alice", now_s=clock.now - 10)
        clients = []
        for worker, token in ((one, old), (two, one.token("bob")), (two, one.token("carol"))):
            clients.append(await stack.enter_async_context(RawClient.open(worker.url)))
            await clients[-1].connect(token)
        async with one.admin() as admin:
            await admin.access.revoke_app(one.app.id, clock.ms)
            async with asyncio.timeout(1):
                assert await clients[0].closed() == codes.REVOKED.number
            assert await refused_with(two, old) == codes.TOKEN_REVOKED.number
            await clients[1].send(frames.Renew(5, one.token("bob", now_s=clock.now - 1)))
            assert (await clients[1].until(frames.Error)).code == codes.TOKEN_REVOKED.number
            assert isinstance(await clients[2].say("bob", "not older"), frames.Ok)
            await admin.access.revoke_region(clock.ms + 1)
            async with asyncio.timeout(1):
                for client in clients[1:]:
                    assert await client.closed() == codes.REVOKED.number


async def test_a_session_goes_with_the_certificate_that_let_it_in(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-6.4-4: a leaked certificate was rotated away, twice, and who had come with it went on
    sending until the token's end. Who has renewed with the new one stays."""
    async with (
        two_workers(settings, clock) as (one, two),
        RawClient.open(one.url) as mallory,
        RawClient.open(two.url) as alice,
        one.admin() as admin,
    ):
        leaked = one.token("mallory")
        await mallory.connect(leaked)
        await alice.connect(one.token("alice"))
        app = await admin.apps.rotate_certificate(one.app.id, clock.ms)
        async with asyncio.timeout(1):  # the word may take a moment
            while not await renewed(alice, one.token("alice", app=app)):
                pass
        assert isinstance(await mallory.say("bob", "still good"), frames.Ok)
        await admin.apps.rotate_certificate(one.app.id, clock.ms)
        async with asyncio.timeout(1):
            assert await mallory.closed() == codes.REVOKED.number
        assert isinstance(await alice.say("bob", "x"), frames.Ok)
        assert await refused_with(two, leaked) == codes.TOKEN_SIGNATURE.number


async def test_an_app_that_changes_while_a_client_connects_counts(
    running: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-6.4-3: after the token was looked at, and before the session is among those that are told.
    Its device is free again."""
    assert running.clock is not None
    enter, reload, before_ms = AppLimit.enter, AppDirectory.reload, running.clock.ms + 1
    reloaded = asyncio.Event()

    async def reload_and_say(self: AppDirectory, app_id: str) -> None:
        await reload(self, app_id)
        reloaded.set()

    async def revoked_meanwhile(self: AppLimit, app: App) -> None:
        async with running.admin() as admin:
            await admin.access.revoke_app(app.id, before_ms)
        await reloaded.wait()
        await enter(self, app)

    monkeypatch.setattr(AppDirectory, "reload", reload_and_say)
    monkeypatch.setattr(AppLimit, "enter", revoked_meanwhile)
    assert await refused_with(running, running.token("alice")) == codes.TOKEN_REVOKED.number


async def test_a_deleted_app_ends_its_sessions_everywhere(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-5.5-5: those of one app, on every gateway."""
    async with (
        two_workers(settings, clock) as (one, two),
        running_worker(settings, clock=clock) as other,
        one.client("alice") as a,
        two.client("bob") as b,
        other.client("alice") as c,
    ):
        async with one.admin() as admin:
            await admin.apps.delete(one.app.id)
        assert await a.closed() == codes.APP_DELETED.number
        assert await b.closed() == codes.APP_DELETED.number
        assert isinstance(await c.say("alice", "x"), frames.Ok)


async def test_a_session_that_ends_gives_everything_back(running: RunningWorker) -> None:
    """G9: nothing of it stays in the hub, the wheel or the listener."""
    inside = running.inside
    for _ in range(3):
        async with running.client("alice") as client:
            await client.say("alice", "x")
    await until(lambda: inside.open == 0)
    assert (inside.sessions(), len(inside.hub), len(inside.wheel)) == ([], 0, 0)
