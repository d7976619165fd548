"""The connections of a generator process: opening, cutting, resuming, and how each ended."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections import Counter
from typing import Any, Final

from bench.client import Client, Totals
from bench.commands import Connected
from bench.compare.clients import PeerClient
from bench.options import BenchError
from bench.pace import Pace, moments
from bench.record import Recorder
from bench.sockets import Connection, Dialer

CONNECT_TIMEOUT_S: Final = 30.0
IN_FLIGHT: Final = 64
"""Connections being opened at once, where there is no ramp."""

CHURN_EVERY_S: Final = 0.25
_NS: Final = 1_000_000_000

AnyClient = Client | PeerClient


class Crowd:
    """All clients of a process. `times` are those of connecting."""

    def __init__(
        self, clients: list[AnyClient], dialer: Dialer, total: Totals, chance: random.Random
    ) -> None:
        self._clients = clients
        self._dialer = dialer
        self._total = total
        self._random = chance
        self._connections: dict[int, Connection] = {}
        self._expected_to_go: set[int] = set()
        self._reconnecting: set[asyncio.Task[None]] = set()
        self._resumes = False
        self.times = Recorder()

    @property
    def size(self) -> int:
        """How many are connected."""
        return len(self._connections)

    async def connect(self, ramp: float, begin: int, late: bool, resume: bool) -> Connected:
        """Connect the clients that are `late`, or those that are not, `ramp` a second.

        With `resume`, TLS sessions of connections before are taken up.
        """
        todo = [c for c in self._clients if c.who.late == late and not c.connected]
        refused: Counter[str] = Counter()
        first_ns = 0
        resumed_before = self._dialer.resumed
        started = time.monotonic_ns()

        async def one(client: AnyClient, due: int) -> None:
            try:
                await self._connect(client, resume)
                self.times.append((now := time.monotonic_ns()) - due)
                nonlocal first_ns
                first_ns = first_ns or now
            except (BenchError, OSError, TimeoutError) as error:
                refused[str(error) or type(error).__name__] += 1

        if ramp:
            waiting = iter(todo)
            async with asyncio.TaskGroup() as group, Pace() as pace:
                await pace.keep(
                    moments(begin, begin + int(len(todo) / ramp * _NS), ramp),
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
            times=self.times.encoded(),
            resumed=self._dialer.resumed - resumed_before,
        )

    async def drop(self) -> None:
        """End every connection at once, without a word, and for now for good."""
        self._resumes = False
        for index, connection in tuple(self._connections.items()):
            connection.keep_session()
            self._expected_to_go.add(index)
            connection.abort()
        while self._connections:  # noqa: ASYNC110 - nothing is measured meanwhile
            await asyncio.sleep(0.01)

    async def _connect(self, client: AnyClient, resume: bool) -> None:
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

    def _lost(self, client: AnyClient) -> None:
        was_connected = client.connected
        client.lost()
        index = client.who.index
        if self._connections.pop(index, None) is None:
            return
        if index in self._expected_to_go:
            self._expected_to_go.discard(index)
        else:
            self._total.closes[client.close_code] += 1
        if self._resumes and was_connected and isinstance(client, Client):
            task = asyncio.create_task(self._reconnect(client))
            self._reconnecting.add(task)
            task.add_done_callback(self._reconnecting.discard)

    async def _reconnect(self, client: Client) -> None:
        begun = time.monotonic_ns()
        await asyncio.sleep(client.back_in_s)
        client.back_in_s = 0.0
        while not client.connected:
            try:
                await self._connect(client, resume=True)
            except (BenchError, OSError, TimeoutError) as error:
                self._total.refused[f"connect: {error or type(error).__name__}"] += 1
                await asyncio.sleep(self._random.uniform(0.1, 1.0))
        self.times.append(time.monotonic_ns() - begun)

    async def churn(self) -> None:
        """Drop a connection every `CHURN_EVERY_S`. From here on each that is lost is resumed, as a
        client of a gateway that leaves does it."""
        churners = [c for c in self._clients if c.who.churns]
        self._resumes = True
        while churners:
            await asyncio.sleep(CHURN_EVERY_S)
            client = self._random.choice(churners)
            connection = self._connections.get(client.who.index)
            if connection is not None and client.connected:
                connection.keep_session()
                self._expected_to_go.add(client.who.index)
                connection.abort()


def _start(group: asyncio.TaskGroup, one: Any, client: AnyClient | None, due: int) -> None:
    if client is not None:
        group.create_task(one(client, due))
