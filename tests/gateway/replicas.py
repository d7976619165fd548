"""Several gateways of one region, for tests of what holds across them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from homeport import frames

from gateway.config import Settings
from tests.harness import FakeClock, RawClient, RunningWorker, running_worker


@contextlib.asynccontextmanager
async def two_workers(
    settings: Settings, clock: FakeClock, tier: str = "pro"
) -> AsyncIterator[tuple[RunningWorker, RunningWorker]]:
    """Two gateways of one region, with one app of `tier`."""
    async with (
        running_worker(settings, clock=clock, tier=tier) as one,
        running_worker(settings, clock=clock, app=one.app) as two,
    ):
        yield one, two


async def blast(client: RawClient, count: int, to: str = "sink") -> list[frames.Ok | frames.Error]:
    """Send `count` messages without waiting in between; returns their answers, in any order."""

    async def send() -> None:
        for _ in range(count):
            request_id = client.request_id()
            await client.send(
                frames.Send(request_id, f"{id(client)}-{request_id}", to, "text", b"x")
            )

    async def read() -> list[frames.Ok | frames.Error]:
        answers: list[frames.Ok | frames.Error] = []
        while len(answers) < count:
            frame = await client.receive()
            if isinstance(frame, frames.Ok | frames.Error):
                answers.append(frame)
        return answers

    _, answers = await asyncio.gather(send(), read())
    return answers


def counted(answers: list[frames.Ok | frames.Error]) -> Counter[str]:
    """How many were accepted, under "ok", and how many were refused, under the limit's name."""
    return Counter(
        "ok" if isinstance(a, frames.Ok) else (a.details or {}).get("limit", str(a.code))
        for a in answers
    )
