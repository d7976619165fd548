"""The drain: slices, hints, answers, acknowledgements, its progress, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis
from homeport import codes, frames

from gateway.config import Settings
from gateway.runtime import drain as module
from gateway.runtime import serving as serving_module
from gateway.runtime.serving import serve
from gateway.runtime.starting import Listening
from tests.gateway.net.raw import RawSocket
from tests.harness import RawClient, RunningWorker, running_worker


@pytest.fixture
def store(redis_url: str) -> Iterator[redis.Redis]:
    """The store, by another way."""
    with redis.Redis.from_url(redis_url) as client:
        yield client
        client.execute_command("CLIENT", "UNPAUSE")


@contextlib.asynccontextmanager
async def crowd(running: RunningWorker, count: int) -> AsyncIterator[list[RawClient]]:
    """Clients of `count` users."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(running.client(f"user{number}"))
            for number in range(count)
        ]


async def leave(client: RawClient) -> tuple[float, float, float]:
    """When it was told to go, its hint, and when it was closed: the loop's time, seconds."""
    loop = asyncio.get_running_loop()
    goaway = await client.until(frames.Goaway)
    told = loop.time()
    assert await client.closed() == codes.GOING_AWAY.number
    return told, goaway.reconnect_in, loop.time()


async def test_a_few_leave_in_a_moment(settings: Settings) -> None:
    """HP-5.5-1: a gateway with three sessions needs no half minute, and its hints are short."""
    async with running_worker(settings) as running, crowd(running, 3) as clients:
        begun = time.monotonic()
        leaving = asyncio.create_task(running.worker.stop())
        for client in clients:
            _, hint, _ = await leave(client)
            assert 0 <= hint <= 3 / module.RETURNS_PER_S
        await leaving
        assert time.monotonic() - begun < 5


async def test_many_leave_in_slices_and_come_back_evenly(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: those whose turn has not come are served; hints lie within a slice; nobody has to wait
    for longer; and the progress is told."""
    monkeypatch.setattr(module, "RETURNS_PER_S", 12)
    async with running_worker(settings) as running, crowd(running, 24) as clients:
        status = running.worker.status
        leaving = asyncio.create_task(running.worker.stop())
        pending = {asyncio.create_task(leave(client)) for client in clients}
        gone: set[asyncio.Task[tuple[float, float, float]]] = set()
        seen = set()
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            gone |= done
            seen.add((status.state, status.to_drain))
        await leaving
        assert seen == {("draining", 24)}
        assert status.left == 0
        times = [task.result() for task in gone]
        assert all(hint <= module.SLICE_S for _, hint, _ in times)
        returns = sorted(told + hint for told, hint, _ in times)
        # Two seconds, evenly: each half second has about its six; none has half of them all.
        assert 1 < returns[-1] - returns[0] < 6
        assert len({round((told - returns[0]) / module.SLICE_S) for told, _, _ in times}) >= 5
        assert all(closed - told < module.ANSWER_S + 1 for told, _, closed in times)


async def test_who_waits_for_their_turn_is_served(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1, G10: while others leave, a message is sent, stored, and reaches its reader."""
    monkeypatch.setattr(module, "SLICE_S", 3600.0)
    monkeypatch.setattr(module, "RETURNS_PER_S", 2 / 7200)
    changed = settings.model_copy(update={"drain_s": 3600 * 4})
    async with running_worker(changed) as running, crowd(running, 2) as clients:
        leaving = asyncio.create_task(running.worker.stop())
        (first,) = [client for client in clients if await _told(client)]
        (second,) = [client for client in clients if client is not first]
        assert isinstance(await second.say("user9", "still here"), frames.Ok)
        running.worker.hurry()
        await second.until(frames.Goaway)
        assert await second.closed() == codes.GOING_AWAY.number
        await leaving


async def _told(client: RawClient) -> bool:
    """Whether it was told to go by now."""
    try:
        async with asyncio.timeout(0.5):
            await client.until(frames.Goaway)
    except TimeoutError:
        return False
    return True


async def test_what_was_asked_is_answered_and_what_is_asked_later_is_not_done(
    settings: Settings, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-5.5-6, G1, G2: no `ok` is missing for what came before goaway. What came after it was not
    done, so that it can be asked again elsewhere; but an acknowledgement counts."""
    monkeypatch.setattr(module, "LINGER_S", 0)
    monkeypatch.setattr(module, "ANSWER_S", 15)
    async with running_worker(settings) as running:
        async with running.client("alice") as alice:
            assert isinstance(await alice.say("bob", "before"), frames.Ok)
            store.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
            await alice.send(frames.Send(90, "c90", "bob", "text", b"asked"))
            await alice.send(frames.Ping())
            await alice.until(frames.Pong)
            leaving = asyncio.create_task(running.worker.stop())
            await alice.until(frames.Goaway)
            await alice.send(frames.Send(91, "c91", "bob", "text", b"too late"))
            await alice.send(frames.Ack(1))
            await (await alice.websocket.ping())  # it has been read
            store.execute_command("CLIENT", "UNPAUSE")
            answer = await alice.until(frames.Ok)
            assert answer.id == 90
            assert await alice.closed() == codes.GOING_AWAY.number
        await leaving
    async with running_worker(settings, app=running.app) as after:
        async with after.client("bob") as bob:
            got = [(await bob.expect(frames.Push)).message.body for _ in range(2)]
            assert got == [b"before", b"asked"]
            await bob.send(frames.Send(90, "c90", "bob", "text", b"end"))
            push = await bob.until(frames.Push)
            assert (push.number, push.message.body) == (3, b"end")  # nothing lies between
        async with after.client("alice") as alice:
            assert (await alice.until(frames.Push)).number == 2  # what she acknowledged is saved


async def test_what_stays_unanswered_holds_nobody(
    settings: Settings, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: Redis hangs; a client is closed all the same, well before its hint and 2 s are over."""
    async with running_worker(settings) as running, running.client("alice") as alice:
        store.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        await alice.send(frames.Send(90, "c90", "bob", "text", b"asked"))
        leaving = asyncio.create_task(running.worker.stop())
        told, _, closed = await leave(alice)
        assert closed - told < module.ANSWER_S + 0.4
        store.execute_command("CLIENT", "UNPAUSE")
        await leaving


async def test_it_is_over_before_the_deadline(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`drain_s` holds whatever there is to do: more sessions than can be spread, clients that say
    nothing, and a Redis that hangs."""
    monkeypatch.setattr(module, "RETURNS_PER_S", 0.01)
    changed = settings.model_copy(update={"drain_s": 2.0})
    async with (
        running_worker(changed) as running,
        crowd(running, 16),
        RawSocket.open(running.listening.plain) as silent,
    ):
        await silent.open_session(running.token("alice"))
        begun = time.monotonic()
        await running.worker.stop()
        assert time.monotonic() - begun < 2.0 + 1.0  # a busy machine
        assert time.monotonic() - begun > 0.5  # it was spread over what there was


async def test_hurried_it_closes_all_at_once_and_saves_what_was_acknowledged(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: with goaway, and hints over which the clients spread."""
    monkeypatch.setattr(module, "RETURNS_PER_S", 0.01)
    changed = settings.model_copy(update={"drain_s": 3000})
    async with running_worker(changed) as running, crowd(running, 3) as clients:
        alice = clients[0]
        await alice.send(frames.Send(80, "c80", "user0", "text", b"note"))
        await alice.send(frames.Ack((await alice.until(frames.Push)).seq))
        await alice.send(frames.Ping())
        await alice.until(frames.Pong)
        begun = time.monotonic()
        leaving = asyncio.create_task(running.worker.stop())
        await asyncio.sleep(0)
        running.worker.hurry()
        for client in clients:
            await leave(client)
        await leaving
        assert time.monotonic() - begun < 10
    async with running_worker(settings, app=running.app) as after, after.client("user0") as alice:
        await alice.send(frames.Send(90, "c90", "user0", "text", b"new"))
        assert (await alice.until(frames.Push)).seq == 2


async def test_a_second_signal_hurries_and_an_echo_of_the_first_does_not(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: a process that is signalled with its group hears the same request twice."""
    monkeypatch.setattr(module, "CLOSE_S", 3000)
    changed = settings.model_copy(update={"drain_s": 6000})
    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    hurried, told = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(serving_module, "HURRY_AFTER_S", 3600)
    monkeypatch.setattr(module.Drain, "hurry", _noting(module.Drain.hurry, hurried))
    serving = asyncio.create_task(serve(changed, on_ready=ready.set_result))
    await ready
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, told.set)
    async with RawSocket.open((await ready).plain) as silent:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGUSR1)  # signals are handled in their order
        await told.wait()
        assert not hurried.is_set()
        monkeypatch.setattr(serving_module, "HURRY_AFTER_S", 0)
        os.kill(os.getpid(), signal.SIGINT)
        async with asyncio.timeout(10):
            await hurried.wait()
            await serving
        assert await silent.ended() == b""


def _noting(hurry: Any, event: asyncio.Event) -> Any:
    def noting(self: module.Drain) -> None:
        event.set()
        hurry(self)

    return noting
