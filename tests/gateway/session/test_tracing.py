"""Tracing one user, over real sockets, on one gateway and on two."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Self

import pytest
import redis
from homeport import codec, codes, frames
from structlog.testing import capture_logs

from gateway.config import Settings
from gateway.redis.opening import open_redis
from gateway.security.sealing import Sealer
from gateway.session import tracing
from gateway.session.tracing import (
    LEASE_S,
    LINES_PER_SECOND,
    MAX_MINUTES,
    MAX_TRACES,
    Line,
    Order,
    TraceBatch,
)
from gateway.store.keys import Keys
from gateway.store.stamp import Stamp
from gateway.tasks import Tasks
from tests.gateway.replicas import two_workers
from tests.harness import (
    ANSWER_S,
    FakeClock,
    RawClient,
    RunningWorker,
    running_worker,
    until,
)


class Operator:
    """Asks for traces, and reads what comes."""

    def __init__(self, running: RunningWorker) -> None:
        self.app_id = running.app.id
        self.keys = Keys(running.app.region)
        self.sealer = Sealer(running.keyring)
        self.payloads: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()
        self.link, self.subscriber = open_redis(
            running.redis_url, Stamp.of(running.keyring), Tasks()
        )
        self.lines: list[Line] = []
        self.left_out = 0
        self.raw = b""

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, running: RunningWorker) -> AsyncIterator[Self]:
        """One who is connected to the region's Redis."""
        self = cls(running)
        await self.link.start()
        await self.subscriber.start()
        try:
            yield self
        finally:
            await self.subscriber.aclose()
            await self.link.aclose()

    def heard(self, channel: bytes, payload: bytes) -> None:
        """See `ChannelListener`."""
        self.payloads.put_nowait((channel, payload))

    async def order(self, trace: str, user: str, ends: bool = False) -> None:
        """Ask once."""
        channel = self.keys.trace_orders
        asked = Order(trace, self.app_id, user, ends)
        self.raw += (sealed := tracing.seal(self.sealer, channel, asked, 0))
        await self.link.publish(channel, sealed)

    async def begin(self, trace: str, user: str, gateways: int = 1) -> list[TraceBatch]:
        """Ask, and wait until that many workers have said that they trace, or that they don't."""
        await self.subscriber.subscribe(self.keys.trace_lines(trace), self)
        await self.order(trace, user)
        answers: list[TraceBatch] = []
        while len(answers) < gateways:
            batch = await self.batch()
            if batch.sessions is not None or batch.refused:
                answers.append(batch)
        return answers

    async def batch(self) -> TraceBatch:
        """The next that a worker tells."""
        async with asyncio.timeout(ANSWER_S):
            channel, payload = await self.payloads.get()
        self.raw += payload
        found = tracing.open_batch(self.sealer, channel.decode(), payload)
        self.lines += found.lines
        self.left_out += found.left_out
        return found

    async def until(
        self, way: str, frame: str, number: int | None = None, session: str | None = None
    ) -> Line:
        """Wait for a line."""
        while True:
            for line in self.lines:
                same = number in (None, line.number) and session in (None, line.session)
                if same and (line.way, line.frame) == (way, frame):
                    return line
            await self.batch()


async def test_both_ways_of_sessions_that_are_there_and_that_begin(
    settings: Settings, clock: FakeClock
) -> None:
    """On two gateways: types, numbers, sizes and codes. Neither what was said nor who said it is in
    what Redis passes on, and nothing is kept there."""
    async with (
        two_workers(settings, clock) as (one, two),
        Operator.of(one) as operator,
        one.client("bobby", "phone") as phone,
        two.client("alice") as alice,
    ):
        answers = await operator.begin("t1", "bobby", 2)
        assert sorted(answer.sessions or 0 for answer in answers) == [0, 1]
        said = await alice.say("bobby", "very secret words")
        assert isinstance(said, frames.Ok)
        pushed = await phone.until(frames.Push)
        await phone.send(frames.Ack(pushed.number))
        assert isinstance(await phone.say("g:nobody", "x"), frames.Error)
        async with two.client("bobby", "tablet") as tablet:
            line = await operator.until("out", "connected")
            assert (line.session, line.device) == (tablet.connected.session, "tablet")
            assert (await operator.until("in", "connect")).size > 50
        assert (await operator.until("in", "close")).code == 1000
        push = await operator.until("out", "push", 1, phone.connected.session)
        assert push.size == len(codec.encode(pushed))
        assert push.ms == clock.ms
        assert await operator.until("in", "ack", 1)
        refused = await operator.until("out", "error")
        assert refused.code == codes.UNKNOWN_RECIPIENT.number
        assert (await operator.until("in", "send", refused.number)).size > 0
        with redis.Redis.from_url(one.redis_url) as raw:
            assert list(raw.scan_iter("*trace*", count=1000)) == []
    told = repr(operator.lines).encode() + operator.raw
    for secret in (b"very secret", b"alice", one.token("bobby")[:40].encode()):
        assert secret not in told
    assert b"bobby" not in operator.raw


async def test_the_gateways_close_is_a_line(settings: Settings, clock: FakeClock) -> None:
    """With its code; and what can't be read is one, as is a token that is refused."""
    async with (
        running_worker(settings, clock=clock) as running,
        Operator.of(running) as operator,
        running.client("bob", "phone") as phone,
    ):
        await operator.begin("t1", "bob")
        await phone.send(bytes.fromhex("917e"))
        await phone.send(b"\xc1")
        assert await phone.closed() == codes.BAD_FRAME.number
        assert (await operator.until("in", "refused")).code == codes.UNKNOWN_TYPE.number
        assert await operator.until("in", "malformed")
        assert (await operator.until("out", "close")).code == codes.BAD_FRAME.number
        async with RawClient.open(running.url) as late:
            await late.send(
                frames.Connect(1, "phone", running.token("bob", now_s=int(clock.now) - 100_000))
            )
            await late.closed()
        operator.lines.clear()
        assert (await operator.until("out", "error")).code == codes.TOKEN_EXPIRED.number


async def test_nobody_else_is_traced_and_one_that_ended_is_not(
    settings: Settings, clock: FakeClock
) -> None:
    """Others' sessions send straight to the socket, and so do bob's afterwards."""
    async with (
        running_worker(settings, clock=clock) as running,
        Operator.of(running) as operator,
        running.client("bob") as bob,
        running.client("carol") as carol,
    ):
        await operator.begin("t1", "bob")
        await carol.say("carol", "to herself")
        await bob.say("bob", "to himself")
        await operator.until("in", "send")
        await operator.order("t1", "bob", ends=True)
        await operator.begin("t2", "carol")  # in one order with the end before it
        operator.lines.clear()
        await bob.say("bob", "again")
        await carol.say("carol", "again")
        await operator.until("in", "send")
        assert {line.session for line in operator.lines} == {carol.connected.session}


async def test_a_trace_whose_operator_is_gone_ends_by_itself(
    settings: Settings, clock: FakeClock
) -> None:
    """A command that was killed says no word; what is repeated goes on, and no longer than an hour,
    whatever is repeated."""
    async with (
        running_worker(settings, clock=clock) as running,
        Operator.of(running) as operator,
        running.client("bob") as bob,
    ):
        with capture_logs() as said:
            await operator.begin("t1", "bob")
            clock.advance(LEASE_S - 1)
            await operator.order("t1", "bob")
            clock.advance(LEASE_S - 1)
            await bob.say("bob", "still traced")
            await operator.until("in", "send")
            clock.advance(LEASE_S)
            await until(lambda: "trace_ended" in [line["event"] for line in said])
            began = [line for line in said if line["event"] == "trace_began"]
        assert len(began) == 1
        assert "bob" not in repr(began)
        clock.advance(MAX_MINUTES * 60)
        await operator.order("t1", "bob")  # past its hour
        await operator.begin("t2", "bob")
        operator.lines.clear()
        await bob.say("bob", "of the second trace")
        await operator.until("in", "send")
        lines = [line for line in operator.lines if line.frame == "send"]
        assert len(lines) == 1  # the first trace would have told it, too


async def test_a_flood_is_counted_and_not_told(settings: Settings, clock: FakeClock) -> None:
    """No more lines a second than the bound, and how many were left out."""
    async with (
        running_worker(settings, clock=clock) as running,
        Operator.of(running) as operator,
        running.client("bob") as bob,
    ):
        await operator.begin("t1", "bob")
        count = LINES_PER_SECOND
        for _ in range(count):
            await bob.send(frames.Ping())
        for _ in range(count):
            await bob.until(frames.Pong)
        while len(operator.lines) + operator.left_out < 2 * count:
            await operator.batch()
        assert (len(operator.lines), operator.left_out) == (count, count)
        clock.advance(1)
        await bob.send(frames.Ping())
        operator.lines.clear()
        assert await operator.until("in", "ping")


async def test_no_more_than_a_few_at_a_time(settings: Settings, clock: FakeClock) -> None:
    """One more is told so, and changes nothing for the others."""
    async with running_worker(settings, clock=clock) as running, Operator.of(running) as operator:
        for number in range(MAX_TRACES):
            [answer] = await operator.begin(f"t{number}", f"user{number}")
            assert not answer.refused
        [answer] = await operator.begin("more", "another")
        assert answer.refused
        await operator.order("t0", "user0", ends=True)
        [answer] = await operator.begin("another", "another")
        assert not answer.refused


@pytest.mark.parametrize("payload", [b"", b"x" * 60])
async def test_what_no_operator_sealed_is_no_order(
    settings: Settings, clock: FakeClock, payload: bytes
) -> None:
    """Who can write to Redis and has no key can't have anybody traced."""
    async with running_worker(settings, clock=clock) as running, Operator.of(running) as operator:
        with capture_logs() as said:
            await operator.link.publish(operator.keys.trace_orders, payload)
            await operator.begin("t1", "bob")  # it still hears
        assert [line for line in said if line["event"] == "trace_order_unreadable"]


async def test_a_room_and_a_large_message_are_cut_into_their_frames(
    settings: Settings, clock: FakeClock
) -> None:
    """What leaves joined in one write is still a line each, of any length."""
    async with (
        running_worker(settings, clock=clock) as running,
        Operator.of(running) as operator,
        running.client("bob") as bob,
    ):
        await bob.send(frames.RoomJoin(bob.request_id(), "lobby"))
        await bob.until(frames.Ok)
        await operator.begin("t1", "bob")
        for number in range(3):
            await bob.send(
                frames.RoomSend(bob.request_id(), f"c{number}", "r:lobby", "text", b"x" * 20_000)
            )
        for number in range(1, 4):
            line = await operator.until("out", "roompush", number)
            assert line.size > 20_000
    assert json.loads(json.dumps([line.frame for line in operator.lines]))
