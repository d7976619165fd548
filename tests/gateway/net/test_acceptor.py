"""Mirrors gateway/net/acceptor.py: the pace of accepting, and what happens without descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import resource
import socket
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from homeport import frames
from homeport.limits import PATH
from structlog.testing import capture_logs

from gateway.apps.app import App, create_app
from gateway.net import acceptor as module
from gateway.net.acceptor import ACCEPTS_A_TURN, RESERVE
from gateway.runtime.core import Core
from gateway.security import tokens
from gateway.security.keyring import Keyring
from tests.gateway.net.raw import RawSocket
from tests.harness import FakeClock, RawClient, RunningWorker, make_settings, running_worker, until
from tests.processes import GatewayProcess


@contextlib.contextmanager
def waiting(running: RunningWorker, count: int) -> Iterator[list[socket.socket]]:
    """So many TCP connections, which the kernel has accepted."""
    assert running.listening.plain is not None
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                socket.create_connection(("127.0.0.1", running.listening.plain.port))
            )
            for _ in range(count)
        ]


async def test_a_turn_of_the_loop_accepts_a_few(running: RunningWorker) -> None:
    """G9: a storm waits in the kernel's queue, and who is here has a turn in between."""
    listener = running.inside.listener
    accepted = [0]
    with waiting(running, 5 * ACCEPTS_A_TURN):
        while listener.open < 5 * ACCEPTS_A_TURN:
            await asyncio.sleep(0)
            accepted.append(listener.open)
    taken = [after - before for before, after in itertools.pairwise(accepted)]
    assert 0 < max(taken) <= ACCEPTS_A_TURN


async def test_a_frame_does_not_wait_for_the_one_before_it(running: RunningWorker) -> None:
    """G1: a sender gets the push of a message, and in a later write its `ok`. The kernel held the
    second back until the client had acknowledged the first, which it does after 40 ms, so each send
    took that long."""
    took = []
    async with running.client("alice") as alice:
        for _ in range(21):
            began = time.monotonic()
            await alice.say("bob", "x")
            took.append(time.monotonic() - began)
    assert statistics.median(took) < 0.03


@pytest.fixture
async def paced(redis_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[RunningWorker]:
    """A gateway that accepts 100 connections a second, by a clock that stands still."""
    settings = make_settings(redis_url, tmp_path, connect_rate=100)
    async with running_worker(settings, clock=clock) as running:
        yield running


async def test_connections_wait_in_line_for_their_turn(paced: RunningWorker) -> None:
    """A reconnect storm is spread out and not refused: everybody gets in, in the end."""
    async with paced.client("alice") as alice:
        with waiting(paced, 20):
            paced.pass_time(0.05)  # five
            await until(lambda: paced.inside.open == 1 + 5)
            for _ in range(3):
                assert isinstance(await alice.say("alice", "x"), frames.Ok)
            assert paced.inside.open == 1 + 5
            for step in range(1, 4):
                paced.pass_time(0.05)
                await until(lambda: paced.inside.open == 1 + 5 + 5 * step)  # noqa: B023
        assert not paced.inside.listener.refused


async def test_a_paused_listener_can_be_stopped(paced: RunningWorker) -> None:
    """G10: nothing is accepted any more, and those in line are told so by the kernel."""
    listener = paced.inside.listener
    with waiting(paced, 20) as sockets:
        await until(lambda: listener.open == 5 and not paced.inside.opening)
        listener.stop()
        paced.pass_time(1)
        loop = asyncio.get_running_loop()
        for sock in sockets[5:]:
            sock.setblocking(False)
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(loop.sock_recv(sock, 1), 5)
        assert paced.inside.open == 5


# -- descriptors -----------------------------------------------------------------------------------


class Gateway:
    """One `homeport serve` with one worker, whose limit of descriptors can be set."""

    def __init__(self, process: GatewayProcess, app: App, log: Path) -> None:
        (self.worker,) = process.workers
        self.app = app
        self.log = log
        self.port = int(process.urls[0].rsplit(":", 1)[1])
        self.url = f"ws://127.0.0.1:{self.port}{PATH}"

    def token(self, user: str) -> str:
        """Of its app."""
        return tokens.mint(
            self.app.id, self.app.certificates[0], "sg", user, self.app.created_ms / 1000
        )

    @property
    def descriptors(self) -> int:
        """How many are open (proc(5), fd)."""
        return len(os.listdir(f"/proc/{self.worker}/fd"))

    def limit(self, number: int) -> None:
        """Give it so many descriptors (prlimit(2)); the numbers from there on are not given out."""
        resource.prlimit(self.worker, resource.RLIMIT_NOFILE, (number, 4096))

    def cpu_s(self) -> float:
        """CPU seconds that it has used (proc(5), stat)."""
        fields = Path(f"/proc/{self.worker}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def says(self, word: str) -> int:
        """How often the log has it."""
        return self.log.read_text().count(word)


@pytest.fixture
async def gateway(redis_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Gateway]:
    """See `Gateway`."""
    settings = make_settings(redis_url, tmp_path)
    app = create_app("test", "sg", "pro", "global", clock.ms)
    async with Core.at(redis_url, Keyring.load(settings.key_file, "sg")).admin() as admin:
        await admin.apps.create(app, clock.ms)
    config = tmp_path / "homeport.toml"
    config.write_text(
        'region = "sg"\ndurability = "memory"\nplain_listen = "127.0.0.1:0"\nworkers = 1\n'
        f'redis_url = "{redis_url}"\nkey_file = "{settings.key_file}"\n'
    )
    process = await asyncio.to_thread(GatewayProcess(config, tmp_path / "gateway.log").start)
    try:
        yield Gateway(process, app, tmp_path / "gateway.log")
    finally:
        await asyncio.to_thread(process.stop)


async def flood(gateway: Gateway, count: int) -> list[socket.socket]:
    """Open TCP connections that say nothing."""
    sockets = []
    for _ in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(("127.0.0.1", gateway.port))
        sockets.append(sock)
    return sockets


async def test_without_descriptors_accepting_pauses_and_goes_on(gateway: Gateway) -> None:
    """G9, at the limit itself (EMFILE): who is here is served, Redis too; no busy loop, one line in
    the log; whoever waits gets in when others have left."""
    async with RawClient.open(gateway.url) as alice:
        await alice.connect(gateway.token("alice"))
        # A limit that the reserve can't help with: it is lowered to what is open already.
        gateway.limit(gateway.descriptors)
        sockets = await flood(gateway, 30)
        await until(lambda: gateway.says("accept_paused"))
        before, at = gateway.cpu_s(), time.monotonic()
        for number in range(20):
            assert isinstance(await alice.say("alice", f"{number}"), frames.Ok)
            await asyncio.sleep(0.05)
        busy = (gateway.cpu_s() - before) / (time.monotonic() - at)
        assert busy < 0.5
        assert gateway.says("accept_paused") == 1
        assert gateway.says("accepting_again") == 0
        gateway.limit(4096)
        await until(lambda: gateway.says("accepting_again"))
        for sock in sockets:
            sock.close()
        async with RawClient.open(gateway.url) as bob:
            await bob.connect(gateway.token("bob"))
        gateway.limit(gateway.descriptors)
        sockets = await flood(gateway, 30)
        await until(lambda: gateway.says("accept_paused") == 2)  # it is said each time
        for sock in sockets:
            sock.close()
        assert "Traceback" not in gateway.log.read_text()


async def test_a_reserve_is_left_for_redis(gateway: Gateway, redis_url: str) -> None:
    """G9, G10: clients alone can't take the descriptors that a lost connection to Redis needs."""
    async with RawClient.open(gateway.url) as alice:
        await alice.connect(gateway.token("alice"))
        limit = 4 * RESERVE
        gateway.limit(limit)
        sockets = await flood(gateway, limit)
        await until(lambda: gateway.says("accept_paused"))
        assert limit - RESERVE <= gateway.descriptors <= limit - RESERVE + 2
        await asyncio.to_thread(_cut_redis, redis_url)
        await until(lambda: gateway.says("redis_lost") >= 2)
        answer: frames.Ok | frames.Error | None = None
        async with asyncio.timeout(15):
            while not isinstance(answer, frames.Ok):
                answer = await alice.say("alice", "after")
        assert gateway.descriptors < limit
        for sock in sockets[:50]:
            sock.close()
        await until(lambda: gateway.descriptors >= limit - RESERVE)  # others came in their place
        for sock in sockets:
            sock.close()
        async with RawClient.open(gateway.url) as bob:
            await bob.connect(gateway.token("bob"))


def _cut_redis(redis_url: str) -> None:
    import redis

    with redis.Redis.from_url(redis_url) as admin:
        admin.execute_command("CLIENT", "KILL", "SKIPME", "yes")


async def test_a_listener_that_was_out_of_descriptors_can_be_stopped(
    running: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: a drain at the worst moment, while it looks for descriptors all the time."""
    monkeypatch.setattr(module, "RETRY_S", 0.0)
    looks, dup = [0], os.dup

    def looking(descriptor: int) -> int:
        looks[0] += 1
        return dup(descriptor)

    with capture_logs() as logs, waiting(running, 1):
        monkeypatch.setattr(resource, "getrlimit", lambda _: (8, 8))
        monkeypatch.setattr(os, "dup", looking)
        await until(lambda: looks[0] > 5)
        running.inside.listener.stop()
        looks[0] = 0
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert looks == [0]
        monkeypatch.undo()
    assert [log["event"] for log in logs if log["event"].startswith("accept")] == ["accept_paused"]
    async with asyncio.timeout(5):
        with pytest.raises(ConnectionRefusedError):
            async with RawSocket.open(running.listening.plain):
                pass
