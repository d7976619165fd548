"""The supervisor, as `homeport serve`: workers that come, go, hang and are killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from homeport import codes, frames

from gateway.runtime import runfolder
from gateway.security.keyring import Keyring
from tests.gateway.runtime.replica import FAST, SOON_S, Replica, alive, run_folders, until
from tests.harness import RawClient
from tests.ports import free_port
from tests.processes import GatewayProcess, children

# -- serving ---------------------------------------------------------------------------------------


def test_workers_share_one_address(replica: Replica) -> None:
    """Port 0 becomes one port for all, told once; the kernel shares connections out, and each line
    of a log says whose it is."""
    process = replica.start(workers=3)
    assert len(process.urls) == 1
    assert len(process.workers) == 3

    async def spread() -> set[str]:
        async with asyncio.timeout(SOON_S):
            names: set[str] = set()
            while len(names) < 3:
                names.add(await replica.serves())
            return names

    asyncio.run(spread())
    connected = replica.logged_by_workers("redis_connected")
    assert {entry["worker"] for entry in connected} == {"1", "2", "3"}
    assert process.stop() == 0


def test_an_address_is_one_gateways(replica: Replica, tmp_path: Path) -> None:
    """Workers share it by SO_REUSEPORT; another gateway, started by mistake, must not join."""
    replica.start()
    second = GatewayProcess(
        replica.config(plain_listen=str(replica.address)), tmp_path / "second.log"
    )
    with pytest.raises(AssertionError, match=r"can't listen on 127\.0\.0\.1:\d+: Address already"):
        second.start()
    asyncio.run(replica.serves())


def test_a_start_that_is_refused_is_told_once(replica: Replica) -> None:
    """G6: every worker sees the same; the operator reads it once, and nothing is left."""
    replica.settings.key_file.unlink()
    Keyring.create(replica.settings.key_file, "sg")
    with pytest.raises(AssertionError, match="did not start"):
        replica.start()
    said = [line for line in replica.log.read_text().splitlines() if line.startswith("homeport:")]
    assert len(said) == 1
    assert "key file" in said[0]


# -- dying -----------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_is_replaced(replica: Replica) -> None:
    """G10: the others serve on, another is there soon, and no zombie is left."""
    process = replica.start()
    one, two = process.workers
    os.kill(one, signal.SIGKILL)
    asyncio.run(replica.serves_again())
    until(lambda: one not in process.workers and len(process.workers) == 2)
    assert two in process.workers
    assert all(map(alive, process.workers))
    (died,) = replica.logged("died")
    assert (died["died"], died["how"]) == ("1", "by SIGKILL")
    until(lambda: len(replica.logged_by_workers("redis_connected")) == 6)
    asyncio.run(replica.serves())
    assert process.stop() == 0


def test_one_that_dies_again_and_again_ends_the_gateway(replica: Replica) -> None:
    """Five times in a minute: the others drain, the last line says it, and the exit code is 1."""
    process = replica.start()
    stays = process.workers[0]
    pid, died = process.pid, set()
    while alive(pid):
        for worker in process.workers:
            if worker != stays and worker not in died:
                died.add(worker)
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.01)
    assert len(died) == 5
    assert process.stop() == 1
    last = replica.log.read_text().splitlines()[-1]
    assert last.startswith("homeport: worker 2 died 5 times within 60 s, at last by SIGKILL")
    waits = [entry["restart_s"] for entry in replica.logged("died")]
    assert all(0.1 * 2**n <= wait <= 0.2 * 2**n for n, wait in enumerate(waits))
    assert len(waits) == 4
    assert len(replica.logged("stopped")) == 1  # the one that stayed


def test_one_that_may_not_start_any_more_is_tried_until_it_may(replica: Replica) -> None:
    """G10: a file that is wrong by now costs the worker that died, and not the gateway: five such
    starts once ended it, and the connections of all others with it."""
    process = replica.start("from gateway.runtime import supervisor; supervisor.REFUSED_S = 0.1")
    first, second = process.workers
    replica.settings.key_file.chmod(0o644)
    os.kill(first, signal.SIGKILL)
    until(lambda: len(replica.logged("start_refused")) > 6)
    assert "chmod 600" in replica.logged("start_refused")[0]["problem"]
    asyncio.run(replica.serves_again())
    assert alive(second)
    replica.settings.key_file.chmod(0o600)
    until(lambda: len(process.workers) == 2)
    assert process.stop() == 0


def test_a_supervisor_that_is_killed_takes_its_workers_along(replica: Replica) -> None:
    """G10: they drain, as nobody would see to them. What it left is removed by the next start."""
    process = replica.start(workers=1)
    pid, everybody = process.pid, children(process.pid)
    (folder,) = run_folders(pid)

    async def drained() -> None:
        async with RawClient.open(replica.url) as client:
            await client.connect(replica.token("alice"))
            os.kill(pid, signal.SIGKILL)
            await client.until(frames.Goaway)
            assert await client.closed() == codes.GOING_AWAY.number

    asyncio.run(drained())
    until(lambda: not any(map(alive, everybody)))
    # Another test's gateway may have started meanwhile, and removed it before this one.
    with runfolder.run_folder():
        assert not folder.exists()


def test_a_worker_that_hangs_is_replaced(replica: Replica) -> None:
    """A loop that does not turn serves nobody, and holds its connections."""
    process = replica.start(f"{FAST}; supervisor.GRACE_S = 0.5", workers=1)
    (worker,) = process.workers
    os.kill(worker, signal.SIGSTOP)
    until(lambda: not alive(worker))
    asyncio.run(replica.serves_again())
    assert [entry["hangs"] for entry in replica.logged("hangs")] == ["1"]


PLANTED = """
import asyncio, pathlib
from gateway.hub import rooms
keep = rooms.RoomHub.run
async def run(self):
    flag = pathlib.Path({flag!r})
    if not flag.exists():
        flag.touch()
        raise RuntimeError("planted")
    await keep(self)
rooms.RoomHub.run = run
"""
"""The first worker's task that keeps rooms' seats dies."""


def test_a_worker_whose_needed_task_ends_is_replaced(replica: Replica) -> None:
    """G10: a gateway whose reconnecting task was gone stood unready for ever, and nobody said so.
    The worker leaves with a word and a code, and another one serves."""
    process = replica.start(PLANTED.format(flag=str(replica.folder / "flag")), workers=1)
    until(lambda: replica.logged("died"))
    (ended,) = replica.logged("needed_task_ended")
    assert (ended["task"], ended["how"]) == ("rooms", "RuntimeError")
    assert "planted" in json.dumps(ended)  # its traceback
    (died,) = replica.logged("died")
    assert died["how"] == "the task rooms, which this process needs, has ended: RuntimeError"
    asyncio.run(replica.serves_again())
    assert process.stop() == 0


def test_one_that_can_not_even_end_is_not_alive_and_is_killed(replica: Replica) -> None:
    """G10: `/livez` says no, for whoever restarts what is not alive; the supervisor is quicker."""
    stuck = """
from gateway.runtime import supervisor, worker
supervisor.FAILED_S = 2.0
stop = worker.Worker.stop
async def stuck(self):
    if self._tasks.lost:
        await asyncio.Event().wait()
    await stop(self)
worker.Worker.stop = stuck
"""
    port = free_port()
    planted = PLANTED.format(flag=str(replica.folder / "flag"))
    process = replica.start(planted + stuck, workers=1, ops_listen=f"127.0.0.1:{port}")
    live = f"http://127.0.0.1:{port}/livez"

    def refused() -> str:
        with contextlib.suppress(OSError):
            try:
                urllib.request.urlopen(live, timeout=5)
            except urllib.error.HTTPError as error:
                return error.read().decode()
        return ""

    (problem,) = json.loads(until(refused))["problems"]
    assert (problem["part"], problem["text"]) == ("task", "its task rooms has ended")
    until(lambda: replica.logged("does_not_end"))
    asyncio.run(replica.serves_again())
    until(lambda: not refused())
    assert process.stop() == 0


def test_a_machine_that_stood_still_is_no_hang(replica: Replica) -> None:
    """The supervisor was frozen too: whoever was silent meanwhile is given time."""
    process = replica.start(FAST, workers=1)
    workers = process.workers
    os.killpg(process.pid, signal.SIGSTOP)
    slept = voluntary_switches(process.pid)
    time.sleep(3)  # more than a hang
    os.kill(process.pid, signal.SIGCONT)
    until(lambda: voluntary_switches(process.pid) > slept)  # the supervisor comes first
    os.killpg(process.pid, signal.SIGCONT)
    asyncio.run(replica.serves())
    assert process.workers == workers, replica.log.read_text()
    assert replica.logged("hangs") == []


def test_the_ops_process_comes_back_and_goes_last(replica: Replica) -> None:
    """While workers drain, operators are shown how far they are."""
    process = replica.start(ops_listen="127.0.0.1:0", workers=1)
    worker, ops = process.workers
    os.kill(ops, signal.SIGKILL)
    ops = until(lambda: next((pid for pid in process.workers if pid not in (worker, ops)), None))
    os.kill(worker, signal.SIGSTOP)
    os.kill(process.pid, signal.SIGTERM)
    until(lambda: replica.logged("leaving"))
    assert alive(ops)
    os.kill(worker, signal.SIGCONT)
    assert process.wait(SOON_S) == 0
    assert not alive(ops)


# -- the cost --------------------------------------------------------------------------------------


def test_a_supervisor_sleeps(replica: Replica) -> None:
    """It wakes up for a word of each worker every few seconds, and for nothing else."""
    process = replica.start()
    asyncio.run(replica.serves())
    before = voluntary_switches(process.pid)
    time.sleep(2)
    assert voluntary_switches(process.pid) - before <= 4


def voluntary_switches(pid: int) -> int:
    """How often it has gone to sleep (proc(5), status)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches:"):
            return int(line.split()[1])
    raise AssertionError(pid)
