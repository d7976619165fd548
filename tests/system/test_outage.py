"""The store stops answering, and dies, while messages flow."""

from __future__ import annotations

import asyncio
import random

import pytest
from homeport import Disconnected, codes, frames

from tests.harness import RawClient
from tests.system.load import Load
from tests.system.site import DEADLINE_S, OpenSite, ws

USERS = 8
EACH = 150


async def _say(probe: RawClient, name: str) -> frames.Ok | frames.Error:
    """Send and wait for the answer, also a late one."""
    async with asyncio.timeout(DEADLINE_S):
        return await _answer(probe, await _begin(probe, name))


async def _begin(probe: RawClient, name: str) -> int:
    request = probe.request_id()
    await probe.send(frames.Send(request, name, "nobody", "text", b"probe"))
    return request


async def _answer(probe: RawClient, request: int) -> frames.Ok | frames.Error:
    while True:
        frame = await probe.receive()
        if isinstance(frame, frames.Ok | frames.Error) and frame.id == request:
            return frame


@pytest.mark.timeout(180)
async def test_a_store_that_stops_and_dies_under_load(open_site: OpenSite) -> None:
    """G1, G2, G3, HP-7.1-2, HP-7.1-6: while Redis says nothing, nothing is answered ok; whatever
    is, arrives once and in order; sessions live through all of it.

    Senders wait for each answer: `unavailable` is repeated after a random time, so of several in
    flight a later one may come first.
    """
    site = await open_site()
    gateway = await site.gateway()
    load = Load(site, ws(gateway), USERS, random.Random(1))
    async with load.running(), RawClient.open(ws(gateway)) as probe:
        await probe.connect(site.token("probe"))
        sending = asyncio.create_task(load.send(EACH, 1))
        total = USERS * EACH

        await load.until_accepted(total // 5)
        with site.store.frozen():  # shorter than anyone's patience
            request = await _begin(probe, "short")
            stuck = -1
            while stuck != load.accepted:  # some answers were on their way
                stuck = load.accepted
                for _ in range(20):  # the gateway itself is well
                    await probe.send(frames.Ping())
                    await probe.until(frames.Pong)
            assert load.begun - load.accepted == USERS
        assert isinstance(await _answer(probe, request), frames.Ok)

        await load.until_accepted(2 * total // 5)
        with site.store.frozen():  # until the gateway gives its connections up
            answer = await _say(probe, "long")
            assert isinstance(answer, frames.Error)
            assert answer.code == codes.UNAVAILABLE.number
            assert answer.retry_after
            stuck = load.accepted

        await load.until_accepted(max(stuck + 1, 3 * total // 5))
        site.store.kill()
        answer = await _say(probe, "dead")
        assert isinstance(answer, frames.Error)
        assert answer.code == codes.UNAVAILABLE.number
        site.store.start()

        await sending
        await load.until_received()
        await load.check()
        assert isinstance(await _say(probe, "dead"), frames.Ok)
        for events in load.events.values():
            assert not [event for event in events if isinstance(event, Disconnected)]
