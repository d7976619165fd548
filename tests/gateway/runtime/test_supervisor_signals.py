"""The supervisor and signals: how all of it leaves, and reads its files anew."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
from homeport import codes, frames

from gateway.runtime.serving import HURRY_AFTER_S
from tests.gateway.net.raw import RawSocket
from tests.gateway.runtime.replica import SOON_S, Replica, alive, run_folders, until
from tests.harness import RawClient

# -- leaving ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_of_them_drains(replica: Replica, number: signal.Signals) -> None:
    """G10: Ctrl-C reaches the whole process group, and some send SIGTERM to all of a service. It
    is one request to leave; the drain is not hurried by what the workers hear twice."""
    process = replica.start("from gateway.runtime import drain; drain.LINGER_S = 1.0")
    pid = process.pid

    async def leaving() -> None:
        async with RawClient.open(replica.url) as client:
            await client.connect(replica.token("alice"))
            os.killpg(pid, number)
            await client.until(frames.Goaway)
            begun = time.monotonic()
            assert await client.closed() == codes.GOING_AWAY.number
            assert time.monotonic() - begun > 0.9  # it lingered

    asyncio.run(leaving())
    assert process.stop() == 0
    assert run_folders(pid) == []


def test_a_second_signal_hurries(replica: Replica) -> None:
    """G10: nobody has to wait for clients that don't say goodbye."""
    process = replica.start(
        "from gateway.runtime import drain; drain.CLOSE_S = 300", workers=1, drain_s=600
    )

    async def hurried() -> None:
        async with RawSocket.open(replica.address) as silent:
            await silent.open_session(replica.token("alice"))
            os.kill(process.pid, signal.SIGTERM)
            assert await silent.closed() == codes.GOING_AWAY.number
            await asyncio.sleep(HURRY_AFTER_S)
            os.kill(process.pid, signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, SOON_S) == 0

    asyncio.run(hurried())


def test_what_has_not_left_in_time_is_killed(replica: Replica) -> None:
    """`drain_s` is a promise to whoever waits: also a worker that hangs is gone by then."""
    process = replica.start(workers=1, drain_s=1)
    (worker,) = process.workers
    os.kill(worker, signal.SIGSTOP)
    begun = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - begun < 15  # long before it would be found to hang
    assert not alive(worker)
    assert [entry["killed"] for entry in replica.logged("killed")] == [["1"]]


def test_a_hangup_is_passed_on_and_survived(replica: Replica) -> None:
    """SIGHUP asks for the files to be read again. Nobody ends of it."""
    process = replica.start()
    workers = process.workers
    for pid in (process.pid, *workers):
        os.kill(pid, signal.SIGHUP)
    asyncio.run(replica.serves())
    assert process.workers == workers


def test_a_hangup_has_every_worker_read_its_files(replica: Replica) -> None:
    """None looks by itself here; and one that is forked anew goes by what the files say now."""
    process = replica.start("from gateway.runtime import reload; reload.LOOK_S = 3600")
    page = "https://a.example"
    replica.config(workers=2, origins=[page])
    os.kill(process.pid, signal.SIGHUP)
    until(
        lambda: {entry["worker"] for entry in replica.logged_by_workers("reloaded")} == {"1", "2"}
    )
    os.kill(process.workers[0], signal.SIGKILL)
    until(lambda: len(replica.logged_by_workers("redis_connected")) == 3 * 2)

    async def visit() -> None:
        async with RawClient.open(replica.url, origin=page):
            pass

    async def visits() -> None:
        await replica.serves_again()
        await asyncio.gather(*(visit() for _ in range(20)))

    asyncio.run(visits())
    assert not replica.logged("reload_refused")
    assert not replica.logged("restart_needed")
