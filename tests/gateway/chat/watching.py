"""What tests of presence do as a client."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from homeport import frames
from homeport.frames import (
    Presence,
    UserPresence,
)

from tests.harness import (
    ANSWER_S,
    RawClient,
    RunningWorker,
    until,
)
from tests.inside import nothing_to_read


async def ask(
    client: RawClient, kind: type[frames.Request[frames.Answer]], *fields: Any
) -> frames.Answer:
    """What is answered to a request; presence before it must not come."""
    before = len(client.passed)
    answer = await client.ask(kind, *fields)
    assert not any(isinstance(frame, Presence) for frame in client.passed[before:])
    return answer


async def states(
    client: RawClient, kind: type[frames.Request[frames.PresenceList]], *fields: Any
) -> list[UserPresence]:
    """What an ok says of users."""
    return list((await ask(client, kind, *fields)).users)


async def told(client: RawClient, *gateways: RunningWorker, seconds: float = 0.3) -> Presence:
    """The next presence; time passes at `gateways`, a little at a time, until it comes."""
    waiting = asyncio.create_task(client.until(Presence))
    async with asyncio.timeout(ANSWER_S):
        while not waiting.done():
            for gateway in gateways:
                gateway.pass_time(seconds / len(gateways))
            await settled(*gateways)
            await asyncio.wait({waiting}, timeout=0.01)
    return await waiting


async def settled(*gateways: RunningWorker) -> None:
    """What is to be read is read."""
    for gateway in gateways:
        await gateway.inside.saved()
        await until(partial(_has_read, gateway))


def _has_read(gateway: RunningWorker) -> bool:
    return nothing_to_read(gateway.inside.presence)


async def nothing_for(client: RawClient, gateway: RunningWorker, seconds: float) -> None:
    """No presence comes within `seconds`."""
    for _ in range(20):
        gateway.pass_time(seconds / 20)
        await settled(gateway)
    for frame in await gateway.under_way(client):
        assert isinstance(frame, frames.Ping), frame
        await client.send(frames.Pong())
