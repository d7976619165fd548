"""The worker: what keeps it from starting, how it leaves, and what it does not survive."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from homeport import codes, frames

from gateway.config import Settings
from gateway.dev.embedded import EmbeddedValkey
from gateway.runtime import drain as drain_module
from gateway.runtime.serving import serve
from gateway.runtime.starting import Listening, StartError
from gateway.runtime.worker import Worker
from gateway.security.keyring import Keyring
from gateway.tasks import TaskEnded
from tests.gateway.net.raw import RawSocket, upgrade
from tests.harness import (
    FakeClock,
    RawClient,
    RunningWorker,
    make_settings,
    running_worker,
    until,
)


async def refusal_to_start(settings: Settings) -> str:
    """What the operator is told."""
    with pytest.raises(StartError) as caught:
        await serve(settings, on_ready=lambda _: pytest.fail("it started"))
    return str(caught.value)


# -- starting ------------------------------------------------------------------------------------


async def test_another_regions_redis_is_refused(redis_url: str, tmp_path: Path) -> None:
    """G6: before anything listens."""
    async with running_worker(make_settings(redis_url, tmp_path, "sg")):
        pass
    told = await refusal_to_start(make_settings(redis_url, tmp_path, "eu"))
    assert "belongs to region 'sg'" in told


async def test_other_keys_than_the_data_was_sealed_with_are_refused(
    redis_url: str, tmp_path: Path
) -> None:
    """G6: a key file that was made anew would make every message unreadable."""
    async with running_worker(make_settings(redis_url, tmp_path)):
        pass
    assert "key file" in await refusal_to_start(make_settings(redis_url, tmp_path / "other"))


async def test_another_regions_key_file_is_refused(redis_url: str, tmp_path: Path) -> None:
    """G6."""
    Keyring.create(tmp_path / "eu.json", "eu")
    settings = make_settings(redis_url, tmp_path, key_file=tmp_path / "eu.json")
    assert "eu" in await refusal_to_start(settings)


async def test_a_missing_key_file_or_certificate_is_named(redis_url: str, tmp_path: Path) -> None:
    """The operator is told which file."""
    settings = make_settings(redis_url, tmp_path, key_file=tmp_path / "none.json")
    assert "none.json" in await refusal_to_start(settings)
    settings = make_settings(
        redis_url,
        tmp_path,
        wss_listen="127.0.0.1:0",
        tls_cert=tmp_path / "none.pem",
        tls_key=tmp_path / "none.pem",
    )
    assert "none.pem" in await refusal_to_start(settings)


async def test_an_address_that_is_taken_is_named(running: RunningWorker, tmp_path: Path) -> None:
    """And what had started is put away again."""
    taken = str(running.listening.plain)
    told = await refusal_to_start(make_settings(running.redis_url, tmp_path, plain_listen=taken))
    assert f"can't listen on {taken}" in told


async def test_fsync_needs_a_redis_that_does_it(redis_url: str, tmp_path: Path) -> None:
    """G1: a Redis that answers before the disk has it can't keep `fsync`."""
    told = await refusal_to_start(make_settings(redis_url, tmp_path, durability="fsync"))
    assert "appendfsync always" in told


async def test_fsync_on_a_redis_that_does_it(tmp_path: Path) -> None:
    """G1."""
    with EmbeddedValkey(tmp_path / "valkey", extra=["--appendfsync", "always"]) as store:
        settings = make_settings(store.url, tmp_path, durability="fsync")
        async with running_worker(settings) as running, running.client("alice") as alice:
            assert isinstance(await alice.say("bob", "x"), frames.Ok)


async def test_a_gateway_waits_for_its_redis(tmp_path: Path, clock: FakeClock) -> None:
    """G10: it may start before its store; until then nothing listens."""
    store = EmbeddedValkey(tmp_path / "valkey")
    with store:
        settings = make_settings(store.url, tmp_path)
        async with running_worker(settings, clock=clock) as before:
            app = before.app
    starting = asyncio.create_task(_one_message(settings, clock, app))
    await asyncio.sleep(0)
    with store:
        await starting


async def _one_message(settings: Settings, clock: FakeClock, app: Any) -> None:
    async with (
        running_worker(settings, clock=clock, app=app) as running,
        running.client("alice") as alice,
    ):
        assert isinstance(await alice.say("bob", "x"), frames.Ok)


# -- leaving -------------------------------------------------------------------------------------


async def test_a_drain_says_goaway_answers_what_is_open_and_saves_the_acks(
    settings: Settings, clock: FakeClock, store: Any
) -> None:
    """HP-5.5-1, G10 and G1: goaway, the answer to an open send, then 4000; and the ack holds."""
    async with running_worker(settings, clock=clock) as running:
        async with running.client("alice") as alice, running.client("bob") as bob:
            assert isinstance(await alice.say("bob", "first"), frames.Ok)
            await bob.expect(frames.Push)
            await bob.send(frames.Ack(1))
            await bob.send(frames.Ping())
            await bob.expect(frames.Pong)
            store.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
            await alice.send(frames.Send(90, "c90", "bob", "text", b"second"))
            await alice.send(frames.Ping())
            await alice.until(frames.Pong)
            leaving = asyncio.create_task(running.worker.stop())
            assert 0 <= (await alice.until(frames.Goaway)).reconnect_in <= 5
            store.execute_command("CLIENT", "UNPAUSE")
            assert (await alice.until(frames.Ok)).id == 90
            assert await alice.closed() == codes.GOING_AWAY.number
            await bob.until(frames.Goaway)
            assert await bob.closed() == codes.GOING_AWAY.number
        await leaving
    async with (
        running_worker(settings, clock=clock, app=running.app) as after,
        after.client("bob") as bob,
    ):
        push = await bob.expect(frames.Push)
        assert (push.seq, push.message.body) == (2, b"second")


async def test_a_drain_closes_who_has_not_connected_yet_too(running: RunningWorker) -> None:
    """HP-5.5-1: a session that is none yet gets no goaway; it is closed all the same."""
    async with RawClient.open(running.url) as client:
        leaving = asyncio.create_task(running.worker.stop())
        assert await client.closed() == codes.GOING_AWAY.number
        await leaving


async def test_clients_that_do_not_answer_hold_up_nothing(
    running: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: a drain has an end, whatever clients do, and leaves nothing open."""
    monkeypatch.setattr(drain_module, "CLOSE_S", 0.2)
    async with (
        RawSocket.open(running.listening.plain) as silent,
        RawSocket.open(running.listening.plain) as half,
    ):
        await silent.open_session(running.token("alice"))
        half.writer.write(upgrade()[:30])
        await until(lambda: running.inside.open == 2)
        async with asyncio.timeout(3):
            await running.worker.stop()
        assert await silent.closed() == codes.GOING_AWAY.number
        assert await half.closed() is None
        await until(lambda: running.inside.open == 0)


async def test_a_worker_that_never_started_can_be_stopped(settings: Settings) -> None:
    """However far it came. Nothing is left open: no task, no file, no socket."""
    tasks, files = asyncio.all_tasks(), sorted(os.listdir("/proc/self/fd"))
    await Worker(settings).stop()
    assert asyncio.all_tasks() == tasks
    assert sorted(os.listdir("/proc/self/fd")) == files


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains(settings: Settings, number: signal.Signals) -> None:
    """G10: `serve` returns once all is put away, and takes the signals back."""
    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, on_ready=ready.set_result))
    listening = await ready
    async with RawClient.open(f"ws://{listening.plain}/v1") as client:
        os.kill(os.getpid(), number)
        assert await client.closed() == codes.GOING_AWAY.number
    await serving


async def test_a_signal_ends_the_wait_for_redis(tmp_path: Path) -> None:
    """G10: a gateway that can't start can still be stopped."""
    settings = make_settings(f"unix://{tmp_path}/nothing-here.sock", tmp_path)
    serving = asyncio.create_task(serve(settings, on_ready=lambda _: pytest.fail("it started")))
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        await serving


async def test_a_gateway_without_its_wheel_does_not_go_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G8: without the wheel no session would ever end; so the process does, and says why."""

    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    monkeypatch.setattr("gateway.wheel.Wheel.advance", broken)
    serving = asyncio.create_task(serve(settings, on_ready=ready.set_result))
    await ready
    async with asyncio.timeout(5):
        with pytest.raises(TaskEnded, match=r"the task wheel, .* ZeroDivisionError"):
            await serving
