"""A generator process: its clients, and the commands that the bench gives it.

Commands come over a pipe as (name, arguments) and are answered with ("done", result) or ("failed",
text). Meanwhile ("tick", `Mark`) goes the other way four times a second.
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
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final

import uvloop
from homeport import codec, frames
from homeport.limits import MAX_GROUP_CHANGE, SUBPROTOCOL

from bench.client import Client, Totals
from bench.commands import Mark, Outcome, Setup
from bench.compare.clients import NatsClient, SocketIoClient
from bench.crowd import CONNECT_TIMEOUT_S, IN_FLIGHT, AnyClient, Crowd
from bench.ledger import Sent
from bench.options import BenchError
from bench.pace import Pace, moments
from bench.record import Recorder
from bench.sockets import Dialer
from bench.stamp import SIZE as STAMP_SIZE

PATIENCE_S: Final = 10.0
"""How long to wait for answers and messages while none comes."""

FOLD_S: Final = 0.025
TICK_EVERY: Final = 10
"""Folds a tick."""


SPEAKS: Final[dict[str, tuple[type[AnyClient], str | None]]] = {
    "homeport": (Client, SUBPROTOCOL),
    "nats": (NatsClient, None),
    "socketio": (SocketIoClient, None),
}
"""By protocol: its client, and the WebSocket subprotocol to ask for."""


class Worker:
    """One process' clients. Its public methods, and those of its crowd, are the commands."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._random = random.Random(setup.seed * 1000 + setup.number)
        filler = self._random.randbytes(setup.size - STAMP_SIZE)
        self._total = Totals(setup.run, filler, setup.ack_every)
        make, subprotocol = SPEAKS[setup.speaks]
        self._clients = [make(who, self._total) for who in setup.who]
        dialer = Dialer(setup.urls, setup.source_ips, setup.cacert, subprotocol)
        self.crowd = Crowd(self._clients, dialer, self._total, self._random)
        self._lag = Recorder()

    # -- commands --------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Nothing but an answer: the process is up, so that nothing due is late from the start."""

    async def prepare(self) -> None:
        """Join the rooms and create the groups. Peers have subscribed when they connected."""
        members = [client for client in self._clients if isinstance(client, Client)]
        joining = [self._answer(client.join) for client in members if client.who.room]
        for start in range(0, len(joining), IN_FLIGHT):
            await asyncio.gather(*joining[start : start + IN_FLIGHT])
        for client in members:
            if client.who.group:
                await self._create_group(client)

    async def _create_group(self, client: Client) -> None:
        name = f"bench-{self._setup.run:x}-{client.who.index}"
        made = await self._ask(client, lambda id: frames.GroupCreate(id, name, "bench"))
        group = codec.decode_answer(frames.GroupCreate, made).id
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
                sending = asyncio.create_task(pace.keep(moments(begin, until, rate), fire))
            churning = asyncio.create_task(self.crowd.churn())
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
                "told_reset": total.told_reset,
            },
            refused=dict(total.refused),
            closes=dict(total.closes),
            histograms={
                "delivery": total.delivery.encoded(),
                "answer": total.answer.encoded(),
                "send lag": self._lag.encoded(),
                "reconnect": self.crowd.times.encoded(),
            },
            last_ns=total.last_ns,
        )

    # -- waiting ---------------------------------------------------------------------------------

    async def _ask(self, client: Client, make: Callable[[int], frames.ClientFrame]) -> frames.Ok:
        return await self._answer(partial(client.request, make))

    async def _answer(
        self, ask: Callable[[Callable[[frames.Ok | frames.Error], None]], None]
    ) -> frames.Ok:
        done: asyncio.Future[frames.Ok | frames.Error] = asyncio.get_running_loop().create_future()
        ask(done.set_result)
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
            self.crowd.size,
            time.process_time(),
        )

    async def watch(self, tell: Callable[[Mark], None]) -> None:
        """Fold what was recorded, and tell counts."""
        for number in itertools.count(1):
            await asyncio.sleep(FOLD_S)
            self._total.delivery.fold()
            self._total.answer.fold()
            self._lag.fold()
            if number % TICK_EVERY == 0:
                tell(self.mark())


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
            does = worker if hasattr(worker, name) else worker.crowd
            result = await getattr(does, name)(*arguments)
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
