"""Clients that are slow, silent or deaf hurt only themselves. Over real sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from homeport import codec, codes, frames
from websockets.frames import Opcode

from gateway.chat.shares import LIMIT
from tests.gateway.net.raw import RawSocket, message, upgrade
from tests.harness import (
    FakeClock,
    RunningWorker,
    until,
)
from tests.inside import is_read


@pytest.mark.parametrize("sent", [0, 30, len(upgrade()) - 1])
async def test_an_unfinished_upgrade_is_dropped_after_5_s(
    running: RunningWorker, sent: int
) -> None:
    """G9, and the sentence after HP-5.1-10; another connection is not affected."""
    async with (
        RawSocket.open(running.listening.plain) as slow,
        RawSocket.open(running.listening.plain) as in_time,
    ):
        slow.writer.write(upgrade()[:sent])
        in_time.writer.write(upgrade()[:sent])
        await until(lambda: running.inside.open == 2)
        running.pass_time(4.9)
        in_time.writer.write(upgrade()[sent:])
        assert (await in_time.response())[0] == 101
        running.pass_time(0.5)
        assert await slow.ended() == b""


async def test_half_a_frame_is_no_connect(running: RunningWorker) -> None:
    """HP-5.1-3: complete, so bytes that trickle in do not put the deadline off."""
    connect = message(codec.encode(frames.Connect(1, "d1", running.token("alice"))))
    async with RawSocket.open(running.listening.plain) as raw, running.client("bob") as bob:
        raw.writer.write(upgrade())
        await raw.response()
        raw.writer.write(connect[: len(connect) // 2])
        running.pass_time(4)
        raw.writer.write(connect[len(connect) // 2 : -1])
        running.pass_time(1.5)
        assert await raw.closed() == codes.CONNECT_TIMEOUT.number
        assert isinstance(await bob.say("bob", "x"), frames.Ok)


async def test_a_client_that_ignores_the_close_is_dropped(running: RunningWorker) -> None:
    """G9: 5 s after the close frame, however much it goes on saying."""
    async with RawSocket.open(running.listening.plain) as raw:
        await raw.open_session(running.token("alice"))
        raw.writer.write(message(b"text", Opcode.TEXT))
        assert await raw.closed() == codes.BAD_FRAME.number
        for _ in range(4):
            running.pass_time(1.4)
            raw.writer.write(message(codec.encode(frames.Ping())))
            await asyncio.sleep(0)  # let it arrive
        await raw.ended()
        await until(lambda: running.inside.open == 0)


async def test_a_stranger_that_ignores_the_close_is_dropped_a_second_later(
    running: RunningWorker,
) -> None:
    """G9, HP-5.1-13: who showed no token had 5 s more to be deaf in, as a user has: 10 in all."""
    async with RawSocket.open(running.listening.plain) as raw:
        raw.writer.write(upgrade())
        await raw.response()
        running.pass_time(5.3)
        assert await raw.closed() == codes.CONNECT_TIMEOUT.number
        await until(lambda: running.inside.open == 1)
        running.pass_time(1.3)
        await raw.ended()
        await until(lambda: running.inside.open == 0)


async def test_a_stranger_that_was_refused_has_the_rest_of_the_time_to_read_why(
    running: RunningWorker,
) -> None:
    """HP-5.1-13: what was sent before the close may be on its way for long."""
    async with RawSocket.open(running.listening.plain) as raw:
        raw.writer.write(upgrade())
        await raw.response()
        raw.writer.write(message(codec.encode(frames.Connect(1, "d1", "no token"))))
        assert await raw.closed() == codes.UNAUTHORIZED.number
        running.pass_time(4.5)
        await asyncio.sleep(0)
        assert running.inside.open == 1
        running.pass_time(0.8)
        await raw.ended()
        await until(lambda: running.inside.open == 0)


async def test_a_client_that_does_not_read_is_closed_and_loses_nothing(
    running: RunningWorker,
) -> None:
    """HP-5.5-3 and G9: memory bounded, 4003 after two heartbeats, and all still in the inbox."""
    count, size = 250, 30_000
    async with (
        RawSocket.open(running.listening.plain, receive_buffer=4096) as slow,
        running.client("alice") as alice,
    ):
        await slow.open_session(running.token("bob"))
        slow.transport.pause_reading()
        connection = running.inside.connection("bob")
        for number in range(count):
            answer = await alice.say("bob", "x" * size, f"c{number}")
            assert isinstance(answer, frames.Ok)
            await alice.send(frames.Ack(number + 1))
        await until(lambda: connection.congested)
        assert connection.waiting < 64 * 1024 + 2 * size
        running.pass_time(49)
        assert connection.session is not None
        assert "bob" in {session.user for session in running.inside.hub.sessions()}
        running.pass_time(1.25)
        assert {session.user for session in running.inside.hub.sessions()} == {"alice"}
        assert isinstance(await alice.say("carol", "x"), frames.Ok)
        slow.transport.resume_reading()
        assert await slow.closed() == codes.SLOW_CONSUMER.number
    async with running.client("bob") as bob:
        assert bob.connected.lost is None
        for number in range(1, count + 1):
            assert (await bob.expect(frames.Push)).seq == number


async def test_a_client_that_sends_and_does_not_read_is_not_read(
    running: RunningWorker, clock: FakeClock
) -> None:
    """G9: what can't be answered is not taken in; and taken up again once it reads. Time goes on
    meanwhile, so that the price of frames (HP-17.4-1) is not what keeps them out."""
    ping = message(bytes(125), Opcode.PING) * 100

    async def pass_time() -> None:
        while True:
            clock.advance(0.01)
            await asyncio.sleep(0.001)

    async with (
        RawSocket.open(running.listening.plain, receive_buffer=4096) as raw,
        running.client("alice") as alice,
    ):
        await raw.open_session(running.token("bob"))
        raw.transport.pause_reading()
        connection = running.inside.connection("bob")
        passing = asyncio.create_task(pass_time())
        while not connection.congested:
            if raw.transport.get_write_buffer_size() < 64 * 1024:
                raw.writer.write(ping)
            await asyncio.sleep(0.001)
        for _ in range(20):
            clock.advance(0.5)
            raw.writer.write(ping)
            assert isinstance(await alice.say("alice", "x"), frames.Ok)
            # the pongs past the mark are those of one share of its frames
            assert connection.waiting < 128 * 1024
        raw.transport.resume_reading()
        raw.writer.write(message(codec.encode(frames.Send(9, "c", "bob", "text", b"x"))))
        answer: frames.ServerFrame | None = None
        while not isinstance(answer, frames.Ok):
            opcode, payload = await raw.frame()
            answer = codec.decode_server(payload) if opcode == Opcode.BINARY else None
        passing.cancel()


async def test_sends_that_redis_does_not_answer_are_not_piled_up(
    running: RunningWorker, store: Any
) -> None:
    """G9: a client whose requests wait is not read; then all are answered."""
    async with RawSocket.open(running.listening.plain) as raw, running.client("bob") as bob:
        await raw.open_session(running.token("alice"))
        connection = running.inside.connection("alice")
        store.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        sent = 0
        try:
            while is_read(connection):
                sent += 1
                # To many: the clock stands, and a conversation runs a second ahead at most.
                send = frames.Send(sent, f"c{sent}", f"carol{sent // 500}", "text", b"x")
                raw.writer.write(message(codec.encode(send)))
                await asyncio.sleep(0)
            assert sent >= 256
            await bob.send(frames.Ping())
            await bob.expect(frames.Pong)
        finally:
            store.execute_command("CLIENT", "UNPAUSE")
        answered = 0
        while answered < sent:
            if isinstance(await raw.server_frame(), frames.Ok):
                answered += 1


async def begun_sends(running: RunningWorker) -> int:
    """How many sends were begun, once the app's share of what may be under way is used up."""
    sends = running.inside.counts.frames
    await until(lambda: sends[frames.Send] >= LIMIT)
    for _ in range(100):
        await asyncio.sleep(0)
    return sends[frames.Send]


async def test_of_one_read_no_more_is_begun_than_may_wait_for_an_answer(
    running: RunningWorker, store: Any
) -> None:
    """G9: one write can bring thousands of requests, and as many as its app's share has tokens are
    under way; the rest waits, and is done in order."""
    count = 1000
    async with RawSocket.open(running.listening.plain) as raw:
        await raw.open_session(running.token("alice"))
        store.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        try:
            sends = (
                frames.Send(number, f"c{number}", f"carol{number // 500}", "text", b"x")
                for number in range(1, count + 1)
            )
            raw.writer.write(b"".join(message(codec.encode(send)) for send in sends))
            begun = await begun_sends(running)
            assert LIMIT <= begun < LIMIT + 16
        finally:
            store.execute_command("CLIENT", "UNPAUSE")
        answered: list[int] = []
        while len(answered) < count:
            answer = await raw.server_frame()
            if isinstance(answer, frames.Ok):
                answered.append(answer.id)
        assert answered == list(range(1, count + 1))


async def test_a_client_that_floods_has_its_share_of_each_turn(running: RunningWorker) -> None:
    """G9: thousands of frames that came in one read are not worked off before another client's."""
    async with RawSocket.open(running.listening.plain) as raw, running.client("bob") as bob:
        await raw.open_session(running.token("alice"))
        count = 7_000
        raw.writer.write(message(codec.encode(frames.Ping())) * count)
        counts = running.inside.counts.frames
        await until(lambda: counts[frames.Ping] > 0)
        await bob.send(frames.Ping())
        await bob.expect(frames.Pong)
        assert counts[frames.Ping] < count / 2
        await until(lambda: counts[frames.Ping] == count + 1)


async def test_a_client_that_leaves_with_sends_in_flight_leaves_no_trace(
    running: RunningWorker, store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """G9 and G1: its answers go nowhere, its messages arrive."""
    async with running.client("b"):
        pass  # so that the gateway knows the app's connections, and need not ask first
    store.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
    try:
        async with RawSocket.open(running.listening.plain) as raw:
            # connecting writes: so it waits, and the sends behind it end the session
            raw.writer.write(upgrade())
            await raw.response()
            raw.writer.write(message(codec.encode(frames.Connect(1, "d1", running.token("a")))))
            await until(lambda: list(running.inside.hub.sessions()))
        await until(lambda: running.inside.open == 0)
    finally:
        store.execute_command("CLIENT", "UNPAUSE")
    async with running.client("alice") as alice, running.client("alice", "d2") as other:
        store.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        try:
            for number in range(300):
                await other.send(frames.Send(number + 1, f"c{number}", "alice", "text", b"x"))
            begun = await begun_sends(running)
            other.websocket.transport.abort()
        finally:
            store.execute_command("CLIENT", "UNPAUSE")
        await until(lambda: running.inside.open == 1)
        for number in range(1, begun + 1):
            assert (await alice.expect(frames.Push)).seq == number
    assert caplog.records == []


async def test_what_comes_after_reading_was_paused_is_handed_on_later(
    running: RunningWorker,
) -> None:
    """G9, G10: a transport may still bring what it had read. It waits for the session, and not for
    the client to send something more."""
    async with running.client("alice") as alice:
        connection = running.inside.connection("alice")
        connection.throttle(True)
        connection.data_received(message(codec.encode(frames.Ping())))
        await asyncio.sleep(0)
        assert running.inside.counts.frames[frames.Ping] == 0
        connection.throttle(False)
        await alice.expect(frames.Pong)
