"""The clock of the generator, and what is read from /proc."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time

import pytest

from bench import proc
from bench.baseline import send_loop_us
from bench.options import BenchError
from bench.pace import Pace, moments
from bench.place import user_of
from bench.sockets import Target
from gateway.security import tokens


def test_moments_follow_the_rate_alone() -> None:
    """Open loop: they don't depend on anything that happened, and don't drift."""
    due = list(moments(1000, 1000 + 1_000_000_000, 3))
    assert due == [1000, 333_334_333, 666_667_666]
    assert list(moments(5, 5, 100)) == []


async def test_nothing_is_called_before_it_is_due_and_nothing_is_left_out() -> None:
    """Also what is late already: it is made up for at once, with its own moment."""
    begin = time.monotonic_ns()
    wanted = [begin - 1_000_000_000 * n for n in range(200)] + [
        begin + 3_000_000 * n for n in range(10)
    ]
    called = []
    async with Pace() as pace, asyncio.timeout(30):
        await pace.keep(wanted, lambda due: called.append((due, time.monotonic_ns())))
    assert [due for due, _ in called] == wanted
    assert all(now >= due for due, now in called)


async def test_others_get_a_turn_while_it_is_late() -> None:
    """A generator that can't keep up still reads what comes."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    async with Pace() as pace:
        await pace.keep([1] * 1000, lambda due: None)
    other.cancel()
    assert turns >= 10


def test_the_cpu_of_a_process_and_of_its_children_is_seen() -> None:
    """A child burns CPU; it counts for its parent, with its memory."""
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
    before = proc.usage(os.getpid())
    child = subprocess.Popen(
        [sys.executable, "-c", burn + "print(flush=True)\ninput()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    child.stdout.readline()
    alone, together = proc.usage(child.pid), proc.usage(os.getpid())
    child.communicate(b"\n")
    assert before is not None
    assert alone is not None
    assert together is not None
    assert alone.cpu_s >= 0.25
    assert alone.rss > 1 << 20
    assert together.cpu_s - before.cpu_s >= 0.25
    assert proc.usage(child.pid) is None


def test_who_listens_is_found_by_the_port() -> None:
    """On this machine only; what nobody listens on is nobody's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert proc.listener_pids("localhost", port) == (os.getpid(),)
        assert proc.listener_pids("192.0.2.1", port) == ()
    assert proc.listener_pids("localhost", port) == ()


def test_the_floor_of_a_fan_out_is_measured() -> None:
    """Some CPU for each send(), in a plausible range: a system call, not a millisecond."""
    assert 0.1 < send_loop_us(10, 200, 50, 0.5) < 1000


def test_the_user_of_a_token_is_read_from_it() -> None:
    """So that --token-file says whom to write to."""
    token = tokens.mint("0" * 32, "c" * 64, "sg", "alice", 0)
    assert user_of(token) == "alice"
    for text in ("", "a.b.c", "a.e30.c"):
        with pytest.raises(BenchError):
            user_of(text)


def test_an_address_is_looked_up_or_refused() -> None:
    """The path defaults to the protocol's; another scheme is none of ours."""
    target = Target.of("ws://localhost:8080")
    assert (target.port, target.path, target.tls) == (8080, "/v1", False)
    assert Target.of("wss://127.0.0.1/a?b").path == "/a?b"
    assert Target.of("wss://127.0.0.1/").port == 443
    for url in ("http://localhost", "localhost:8080"):
        with pytest.raises(BenchError):
            Target.of(url)
