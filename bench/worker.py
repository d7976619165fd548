"""A generator process: its clients, and the commands that the bench gives it.

Commands come over a pipe as (name, arguments) and are answered with ("done", result) or ("failed",
text). Meanwhile ("tick", `Tick`) goes the other way four times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final

import uvloop
from msgspec import Struct

from bench.client import Client, Totals, Who
from bench.ledger import Sent
from bench.options import BenchError
from bench.pace import Pace
from bench.record import Recorder
from bench.sockets import Connection, Dialer
from bench.stamp import SIZE as STAMP_SIZE
from protocol import frames
from protocol.limits import MAX_GROUP_CHANGE, SUBPROTOCOL

CONNECT_TIMEOUT_S: Final = 30.0
IN_FLIGHT: Final = 64
"""Connections being opened at once, where there is no ramp."""

PATIENCE_S: Final = 10.0
"""How long to wait for answers and messages while none comes."""

FOLD_S: Final = 0.025
TICK_EVERY: Final = 10
"""Folds a tick."""

CHURN_EVERY_S: Final = 0.25
_NS: Final = 1_000_000_000


class Setup(Struct, frozen=True, kw_only=True):
    """What a generator process is started with; fields as in `Options`."""

    number: int
    run: int
    who: tuple[Who, ...]
    urls: tuple[str, ...]
    cacert: str | None
    source_ips: tuple[str, ...]
    size: int
    ack_every: float
    seed: int


class Mark(Struct, frozen=True):
    """Counts at one moment; `cpu_s` is the process' own."""

    sent: int = 0
    accepted: int = 0
    delivered: int = 0
    connected: int = 0
    cpu_s: float = 0.0


class Connected(Struct, frozen=True):
    """How connecting went.

    `took_s` is from the first that was due to the last that was there; `first_ns` is when the
    first was there. `resumed` counts TLS sessions that were taken up.
    """

    opened: int
    refused: dict[str, int]
    took_s: float
    first_ns: int
    times: bytes
    resumed: int


class Outcome(Struct, frozen=True):
    """What a process counted in all, and its encoded histograms."""

    counts: dict[str, int]
    refused: dict[str, int]
    closes: dict[int, int]
    histograms: dict[str, bytes]
    last_ns: int


class Worker:
    """One process' clients."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._random = random.Random(setup.seed * 1000 + setup.number)
        filler = self._random.randbytes(setup.size - STAMP_SIZE)
        self._total = Totals(setup.run, filler, setup.ack_every)
        self._clients = [Client(who, self._total) for who in setup.who]
        self._dialer = Dialer(setup.urls, setup.source_ips, setup.cacert, SUBPROTOCOL)
        self._connections: dict[int, Connection] = {}
        self._expected_to_go: set[int] = set()
        self._lag = Recorder()
        self._connecting = Recorder()
        self._reconnecting: set[asyncio.Task[None]] = set()
        self._resumes = False

    # -- commands --------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Nothing but an answer: the process is up, so that nothing due is late from the start."""

    async def connect(self, ramp: float, begin: int, late: bool, resume: bool) -> Connected:
        """Connect the clients that are `late`, or those that are not, `ramp` a second.

        With `resume`, TLS sessions of connections before are taken up.
        """
        todo = [c for c in self._clients if c.who.late == late and not c.connected]
        refused: Counter[str] = Counter()
        first_ns = 0
        resumed_before = self._dialer.resumed
        started = time.monotonic_ns()

        async def one(client: Client, due: int) -> None:
            try:
                await self._connect(client, resume)
                self._connecting.append((now := time.monotonic_ns()) - due)
                nonlocal first_ns
                first_ns = first_ns or now
            except (BenchError, OSError, TimeoutError) as error:
                refused[str(error) or type(error).__name__] += 1

        if ramp:
            waiting = iter(todo)
            async with asyncio.TaskGroup() as group, Pace() as pace:
                await pace.keep(
                    _moments(begin, begin + int(len(todo) / ramp * _NS), ramp),
                    lambda due: _start(group, one, next(waiting, None), due),
                )
                for client in waiting:  # a rounded last one
                    group.create_task(one(client, time.monotonic_ns()))
        else:
            queue = iter(todo)

            async def take() -> None:
                for client in queue:
                    await one(client, time.monotonic_ns())

            async with asyncio.TaskGroup() as group:
                for _ in range(IN_FLIGHT):
                    group.create_task(take())
        gc.collect()
        gc.freeze()  # clients live to the end: not to be looked at again and again
        return Connected(
            opened=len(todo) - refused.total(),
            refused=dict(refused),
            took_s=(time.monotonic_ns() - (begin if ramp else started)) / _NS,
            first_ns=first_ns,
            times=self._connecting.encoded(),
            resumed=self._dialer.resumed - resumed_before,
        )

    async def drop(self) -> None:
        """End every connection at once, without a word."""
        for index, connection in tuple(self._connections.items()):
            connection.keep_session()
            self._expected_to_go.add(index)
            connection.abort()
        while self._connections:  # noqa: ASYNC110 - nothing is measured meanwhile
            await asyncio.sleep(0.01)

    async def prepare(self) -> None:
        """Join the rooms and create the groups."""
        joining = [
            self._ask(client, partial(frames.Roomjoin, room=client.who.room, last=0))
            for client in self._clients
            if client.who.room
        ]
        for start in range(0, len(joining), IN_FLIGHT):
            await asyncio.gather(*joining[start : start + IN_FLIGHT])
        for client in self._clients:
            if client.who.group:
                await self._create_group(client)

    async def _create_group(self, client: Client) -> None:
        name = f"bench-{self._setup.run:x}-{client.who.index}"
        made = await self._ask(client, lambda id: frames.GroupCreate(id, name, "bench"))
        assert made.result.id is not None
        group = made.result.id.hex()
        for start in range(0, len(client.who.group), MAX_GROUP_CHANGE):
            users = list(client.who.group[start : start + MAX_GROUP_CHANGE])
            await self._ask(client, partial(frames.GroupAdd, group=group, users=users))
        client.sends_to = f"g:{group}"

    async def hold(self, until: int, measure_from: int) -> tuple[Mark, Mark]:
        """Keep the connections; returns the counts at both moments."""
        return await self.load(0, 0, measure_from, until)

    async def load(
        self, rate: float, begin: int, measure_from: int, until: int
    ) -> tuple[Mark, Mark]:
        """Send `rate` messages a second from `begin` to `until`.

        Returns the counts at `measure_from` and at `until`.
        """
        senders = [c for c in self._clients if c.sends_to]
        self._random.shuffle(senders)
        turn = itertools.cycle(senders)
        self._total.from_ns = measure_from

        def fire(due: int) -> None:
            if due >= measure_from:
                self._lag.append(time.monotonic_ns() - due)
            next(turn).send(due)

        async with Pace() as pace, Pace() as marks:
            sending = None
            if senders and rate:
                sending = asyncio.create_task(pace.keep(_moments(begin, until, rate), fire))
            churning = asyncio.create_task(self._churn())
            try:
                await marks.until(measure_from)
                first = self.mark()
                await marks.until(until)
                last = self.mark()
                if sending is not None:
                    await sending
            finally:
                churning.cancel()
                if sending is not None:
                    sending.cancel()
        return first, last

    async def answers(self) -> dict[int, Sent]:
        """Wait until every send is answered or nothing more comes; what each client sent."""
        await self._until_quiet(lambda: not any(c.waits for c in self._clients))
        return {c.who.index: c.told() for c in self._clients if c.sends_to}

    async def settle(self, sent: dict[int, Sent]) -> Outcome:
        """Wait until all that was accepted is here or nothing more comes; everything counted."""

        def lost() -> int:
            return sum(c.received.lost(sent, c.who.hears) for c in self._clients)

        await self._until_quiet(lambda: not lost())
        total = self._total
        return Outcome(
            counts={
                "sent": total.sent,
                "accepted": total.accepted,
                "unanswered": sum(c.waits for c in self._clients),
                "delivered": total.delivered,
                "lost": lost(),
                "doubled": sum(c.received.doubled for c in self._clients),
                "reordered": sum(c.received.reordered for c in self._clients),
                "told_lost": total.told_lost,
            },
            refused=dict(total.refused),
            closes=dict(total.closes),
            histograms={
                "delivery": total.delivery.encoded(),
                "answer": total.answer.encoded(),
                "send lag": self._lag.encoded(),
                "reconnect": self._connecting.encoded(),
            },
            last_ns=total.last_ns,
        )

    # -- connecting ------------------------------------------------------------------------------

    async def _connect(self, client: Client, resume: bool) -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def refused(why: str) -> None:
            if not done.done():
                done.set_exception(BenchError(why))

        def on_lost(error: Exception | None) -> None:
            self._lost(client)
            refused(str(error) if error else f"closed with {client.close_code}")

        client.on_connected = lambda: None if done.done() else done.set_result(None)
        client.on_refused = refused
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            connection = await self._dialer.dial(client, on_lost, resume)
            self._connections[client.who.index] = connection
            try:
                await done
            except BaseException:
                self._expected_to_go.add(client.who.index)
                connection.abort()
                raise

    def _lost(self, client: Client) -> None:
        client.lost()
        index = client.who.index
        if self._connections.pop(index, None) is None:
            return
        if index in self._expected_to_go:
            self._expected_to_go.discard(index)
        else:
            self._total.closes[client.close_code] += 1
        if self._resumes:
            task = asyncio.create_task(self._reconnect(client))
            self._reconnecting.add(task)
            task.add_done_callback(self._reconnecting.discard)

    async def _reconnect(self, client: Client) -> None:
        begun = time.monotonic_ns()
        while not client.connected:
            try:
                await self._connect(client, resume=True)
            except (BenchError, OSError, TimeoutError) as error:
                self._total.refused[f"connect: {error or type(error).__name__}"] += 1
                await asyncio.sleep(self._random.uniform(0.1, 1.0))
        self._connecting.append(time.monotonic_ns() - begun)

    async def _churn(self) -> None:
        """Drop a connection every `CHURN_EVERY_S`, to be resumed at once."""
        churners = [c for c in self._clients if c.who.churns]
        self._resumes = bool(churners)
        while churners:
            await asyncio.sleep(CHURN_EVERY_S)
            client = self._random.choice(churners)
            connection = self._connections.get(client.who.index)
            if connection is not None and client.connected:
                connection.keep_session()
                self._expected_to_go.add(client.who.index)
                connection.abort()

    # -- waiting ---------------------------------------------------------------------------------

    async def _ask(self, client: Client, make: Callable[[int], frames.ClientFrame]) -> frames.Ok:
        done: asyncio.Future[frames.Ok | frames.Error] = asyncio.get_running_loop().create_future()
        client.request(make, done.set_result)
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            answer = await done
        if isinstance(answer, frames.Error):
            raise BenchError(f"the gateway refused to prepare: {answer.text}")
        return answer

    async def _until_quiet(self, condition: Callable[[], bool]) -> None:
        """Wait for `condition`, for as long as there is progress."""
        seen, since = -1, time.monotonic()
        while not condition():
            progress = self._total.accepted + self._total.delivered
            if progress != seen:
                seen, since = progress, time.monotonic()
            elif time.monotonic() - since > PATIENCE_S:
                return
            await asyncio.sleep(0.02)

    def mark(self) -> Mark:
        """The counts now."""
        total = self._total
        return Mark(
            total.sent,
            total.accepted,
            total.delivered,
            len(self._connections),
            time.process_time(),
        )

    async def watch(self, tell: Callable[[Mark], None]) -> None:
        """Fold what was recorded, acknowledge where that is not done at once, and tell counts."""
        ack_every = self._setup.ack_every
        acked = time.monotonic()
        for number in itertools.count(1):
            await asyncio.sleep(FOLD_S)
            self._total.delivery.fold()
            self._total.answer.fold()
            self._lag.fold()
            if ack_every and time.monotonic() - acked >= ack_every:
                acked = time.monotonic()
                for client in self._clients:
                    client.ack()
            if number % TICK_EVERY == 0:
                tell(self.mark())


def _start(group: asyncio.TaskGroup, one: Any, client: Client | None, due: int) -> None:
    if client is not None:
        group.create_task(one(client, due))


def _moments(begin: int, until: int, rate: float) -> Iterator[int]:
    """When each message is due: evenly, from the open schedule and not from what was sent."""
    for number in itertools.count():
        moment = begin + int(number / rate * _NS)
        if moment >= until:
            return
        yield moment


async def _serve(pipe: Pipe, setup: Setup) -> None:
    worker = Worker(setup)
    loop = asyncio.get_running_loop()
    commands: asyncio.Queue[tuple[str, tuple[Any, ...]]] = asyncio.Queue()

    def read() -> None:
        try:
            commands.put_nowait(pipe.recv())
        except (EOFError, OSError):  # the bench is gone, and nobody wants the rest
            os._exit(0)

    loop.add_reader(pipe.fileno(), read)
    watching = asyncio.create_task(worker.watch(lambda tick: pipe.send(("tick", tick))))
    while not watching.done():
        name, arguments = await commands.get()
        try:
            result = await getattr(worker, name)(*arguments)
        except (BenchError, TimeoutError) as error:
            pipe.send(("failed", str(error) or type(error).__name__))
        except Exception:  # noqa: BLE001 - a fault of the bench: the other process shows it
            pipe.send(("failed", traceback.format_exc()))
        else:
            pipe.send(("done", result))
    await watching  # a fault: it never ends by itself


def main(pipe: Pipe, setup: Setup) -> None:
    """The process: serves commands until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the bench, which closes the pipe
    gc.set_threshold(50_000, 20, 20)
    with (
        contextlib.suppress(BrokenPipeError),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_serve(pipe, setup))
