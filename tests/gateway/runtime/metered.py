"""A worker whose numbers are read as the ops process shows them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from homeport import frames
from msgspec import msgpack
from prometheus_client import CollectorRegistry, generate_latest

from gateway.ops.datagrams import Numbers
from gateway.ops.metrics import METRICS
from gateway.ops.totals import Totals
from tests.harness import (
    ANSWER_S,
    RawClient,
    RunningWorker,
)
from tests.system.ops import samples

USER, OTHER = "userwhomustnotbeseen", "anotherwhomustnotbeseen"
CAP = 1_000
"""Messages in an inbox of the free tier."""


class Metered:
    """A worker in this process, and what it exports."""

    def __init__(self, running: RunningWorker, folder: Path) -> None:
        self.running = running
        self._folder = folder

    @property
    def text(self) -> str:
        """The exposition, as of now."""
        sent = msgpack.encode(self.running.inside.reporter.numbers())
        numbers = msgpack.decode(sent, type=Numbers)
        assert numbers.values.keys() | numbers.histograms.keys() <= METRICS.keys()
        registry, totals = CollectorRegistry(), Totals(self._folder)
        registry.register(totals)
        totals.take(1, numbers)
        return generate_latest(registry).decode()

    @property
    def now(self) -> dict[str, float]:
        """The samples: ``session_sessions{pro}`` and so on."""
        return {name.removeprefix("homeport_"): value for name, value in samples(self.text).items()}

    async def moves(self, **least: float) -> None:
        """Wait until each of these is at least so much."""
        async with asyncio.timeout(ANSWER_S):
            while any(self.now[name] < value for name, value in least.items()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)


async def push(client: RawClient, count: int, ack: bool = True) -> None:
    """Take `count` pushes."""
    for _ in range(count):
        got = await client.until(frames.Push)
    if ack:
        await client.send(frames.Ack(got.seq))
        await client.send(frames.Ping())
        await client.until(frames.Pong)
