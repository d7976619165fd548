"""Mirrors gateway/net/outboxes.py, by itself and with clients that do not read."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest
from homeport import codes, frames
from homeport.codes import CloseCode
from structlog.testing import capture_logs

from gateway.net.outboxes import LOOK_S, Outboxes
from gateway.net.websocket import WebSocketConnection
from gateway.session.session import Session
from gateway.wheel import RESOLUTION_S, Wheel
from tests.gateway.net.raw import RawSocket
from tests.harness import FakeClock, RunningWorker, make_settings, running_worker, until


class Slow:
    """A connection whose client does not read `waiting` bytes; it is its own session."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        self.closing = False
        self.aborted = False
        self.code: CloseCode | None = None

    @property
    def session(self) -> Session:
        """Something to close."""
        return self  # type: ignore[return-value]

    def close(self, code: CloseCode) -> None:
        """As a session's; what waits goes on waiting."""
        assert not self.closing
        self.closing, self.code = True, code

    def abort(self) -> None:
        """As a connection's."""
        self.aborted, self.waiting = True, 0


def test_those_with_the_most_are_closed(clock: FakeClock) -> None:
    """HP-5.5-7, G9: no more than needed, the largest first; and within the limit nobody."""
    wheel = Wheel(clock.steady)
    outboxes = Outboxes(1000, wheel, lambda: clock.steady)
    slow = [Slow(size) for size in (300, 100, 500, 90)]
    for one in slow:
        outboxes.add(one)

    def look() -> list[int]:
        clock.advance(LOOK_S + RESOLUTION_S)
        wheel.advance(clock.steady)
        return [one.waiting for one in slow if one.closing]

    def aborted() -> list[Slow]:
        return [one for one in slow if one.aborted]

    assert look() == []
    slow[1].waiting = 200
    assert look() == [500]
    assert slow[2].code is codes.SLOW_CONSUMER
    assert aborted() == []
    # It still waits there: then it ends, with what waits, and that is enough.
    assert look() == [0]
    assert aborted() == [slow[2]]
    assert look() == [0]
    slow[0].waiting = 5000
    slow[3].waiting = 2000
    assert look() == [5000, 0, 2000]


def test_a_look_is_taken_only_while_somebody_is_behind(clock: FakeClock) -> None:
    """A process whose clients keep up has no timer."""
    wheel = Wheel(clock.steady)
    outboxes = Outboxes(1000, wheel, lambda: clock.steady)
    one = Slow(10)
    outboxes.add(one)
    assert len(wheel) == 1
    outboxes.discard(one)
    outboxes.discard(one)
    clock.advance(2 * LOOK_S)
    wheel.advance(clock.steady)
    assert len(wheel) == 0
    outboxes.add(one)
    assert len(wheel) == 1


def connection_of(running: RunningWorker, user: str) -> WebSocketConnection:
    """The server's end of a user's connection."""
    return running.inside.connection(user)


@pytest.fixture
def small(
    redis_url: str, tmp_path: Path, clock: FakeClock
) -> contextlib.AbstractAsyncContextManager[RunningWorker]:
    """A gateway whose outboxes hold a mebibyte together."""
    settings = make_settings(redis_url, tmp_path, max_outbox_bytes=1024 * 1024)
    return running_worker(settings, tier="enterprise", clock=clock)


async def test_a_hundred_slow_clients_are_bounded_together_and_lose_nothing(
    small: contextlib.AbstractAsyncContextManager[RunningWorker],
) -> None:
    """HP-5.5-7, G9: their messages wait in the inbox; who reads is not touched."""
    size, count, people = 60_000, 8, 30
    async with small as running, contextlib.AsyncExitStack() as stack:
        alice = await stack.enter_async_context(running.client("alice"))
        slow = []
        for number in range(people):
            raw = await stack.enter_async_context(
                RawSocket.open(running.listening.plain, receive_buffer=4096)
            )
            await raw.open_session(running.token(f"u{number}"))
            raw.transport.pause_reading()
            slow.append(raw)
            # So that the kernel's own buffers hold little, and what waits is ours.
            with raw.other_end() as end:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connections = [connection_of(running, f"u{number}") for number in range(people)]
        sent = 0
        for _ in range(count):
            for number in range(people):
                answer = await alice.say(f"u{number}", "x" * size)
                assert isinstance(answer, frames.Ok)
                sent += 1
                await alice.send(frames.Ack(sent))
        await until(lambda: sum(c.waiting for c in connections) > 1024 * 1024)

        with capture_logs() as logs:
            running.pass_time(LOOK_S + RESOLUTION_S)
            running.pass_time(LOOK_S + RESOLUTION_S)
            await until(lambda: sum(c.waiting for c in running.inside.connections()) <= 1024 * 1024)
        closed = [log for log in logs if log.get("code") == codes.SLOW_CONSUMER.name]
        assert 0 < len(closed) < people
        assert any(log["event"] == "outboxes_over_limit" for log in logs)
        assert isinstance(await alice.say("alice", "x"), frames.Ok)

        number = next(n for n in range(people) if connections[n].closing)
        async with running.client(f"u{number}", "d1") as again:
            for seq in range(1, count + 1):
                assert (await again.expect(frames.Push)).seq == seq
