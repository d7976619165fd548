"""Replicas restarted one after the other, and processes of a replica that are killed, under load.

A balancer that knows nothing of a drain stands in front of them; clients find out by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Callable

import pytest
from homeport import Connected, Disconnected, codes, frames
from websockets.exceptions import WebSocketException

from tests.harness import RawClient, until
from tests.processes import GatewayProcess
from tests.system.load import Load
from tests.system.site import DEADLINE_S, Front, OpenSite, Site

USERS = 8
EACH = 200
IN_FLIGHT = 8
WATCHERS = 6
WAIT_S = 2.0
"""What a client may wait for beyond the hint of its goaway."""


def _rng() -> random.Random:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")  # pytest shows it when the test fails
    return random.Random(seed)


class Watcher:
    """A client that goes exactly by `goaway`: no jitter, no patience. Notes how long it waited."""

    def __init__(self, site: Site, url: str, name: str) -> None:
        self._site = site
        self._url = url
        self._name = name
        self.live = asyncio.Event()
        self.waits: list[tuple[float, float]] = []
        """For each goaway: its hint, and after how many seconds the client was served again."""

    async def run(self) -> None:
        """Stay connected until cancelled."""
        loop = asyncio.get_running_loop()
        told: tuple[float, float] | None = None  # when, and the hint
        while True:
            try:
                async with RawClient.open(self._url) as client:
                    await client.connect(self._site.token(self._name))
                    if told is not None:
                        self.waits.append((told[1], loop.time() - told[0]))
                    self.live.set()
                    goaway = await _goaway(client)
                    told = loop.time(), goaway.reconnect_in
                    assert await client.closed() == codes.GOING_AWAY.number
            except (OSError, WebSocketException):
                # Taken by a gateway in the moment in which it stopped to accept.
                await asyncio.sleep(0.05)
                continue
            await asyncio.sleep(max(0.0, told[0] + told[1] - loop.time()))


async def _goaway(client: RawClient) -> frames.Goaway:
    while True:
        with contextlib.suppress(TimeoutError):
            return await client.until(frames.Goaway)


@contextlib.asynccontextmanager
async def _watching(site: Site, url: str) -> AsyncIterator[list[Watcher]]:
    watchers = [Watcher(site, url, f"watcher{number}") for number in range(WATCHERS)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(watcher.run()) for watcher in watchers]
        await asyncio.gather(*(watcher.live.wait() for watcher in watchers))
        yield watchers
        for task in tasks:
            task.cancel()


@pytest.mark.timeout(180)
async def test_a_rolling_restart_under_load_loses_and_doubles_nothing(open_site: OpenSite) -> None:
    """G1, G2, G3, G10, HP-5.5-1, HP-5.5-2: three replicas of two workers, one after the other.
    Nobody waits for longer than the hint and two seconds."""
    rng = _rng()
    site = await open_site()
    gateways = [await site.gateway(name, workers=2) for name in "abc"]
    async with Front(gateways, rng) as front:
        load = Load(site, front.url, USERS, rng)
        async with load.running(), _watching(site, front.url) as watchers:
            async with asyncio.TaskGroup() as group:
                group.create_task(load.send(EACH, IN_FLIGHT))
                for number, gateway in enumerate(gateways):
                    await load.until_accepted((2 * number + 1) * USERS * EACH // 7)
                    assert await asyncio.to_thread(gateway.stop) == 0
                    await asyncio.to_thread(gateway.start)
            await load.until_received()
            await load.check()
        waits = [wait for watcher in watchers for wait in watcher.waits]
        # All were on one of the three; whoever came to one whose turn was to come moved again.
        assert len(waits) >= WATCHERS
        assert [wait for wait in waits if wait[1] > wait[0] + WAIT_S] == []
        assert _slow(load) == []


def _slow(load: Load) -> list[tuple[float, float]]:
    """The SDK's waits that were too long: what it was to wait for by itself, and what it did."""
    slow = []
    for user, events in load.events.items():
        times = load.times[user]
        left: tuple[float, float] | None = None
        for event, at in zip(events, times, strict=True):
            if isinstance(event, Disconnected) and left is None:
                left = at, event.retry_in or 0.0
            elif isinstance(event, Connected) and left is not None:
                if at - left[0] > left[1] + WAIT_S:
                    slow.append((left[1], at - left[0]))
                left = None
    return slow


async def _supervisor(gateway: GatewayProcess) -> None:
    """SIGKILL for it alone; its workers drain, and it is started again once they are gone."""
    os.kill(gateway.pid, signal.SIGKILL)
    await asyncio.to_thread(gateway.stop)
    await asyncio.to_thread(gateway.start)


async def _replica(gateway: GatewayProcess) -> None:
    """SIGKILL for all its processes, as when its machine goes down."""
    await asyncio.to_thread(gateway.kill)
    await asyncio.to_thread(gateway.start)


async def _worker(gateway: GatewayProcess) -> None:
    """SIGKILL for one of them; its supervisor starts another."""
    before = gateway.workers
    os.kill(before[0], signal.SIGKILL)
    await until(
        lambda: before[0] not in gateway.workers and len(gateway.workers) == len(before),
        "another worker",
        DEADLINE_S,
    )


@pytest.mark.timeout(180)
@pytest.mark.parametrize("blow", [_worker, _replica, _supervisor])
async def test_a_process_is_killed_under_load(
    open_site: OpenSite, blow: Callable[[GatewayProcess], asyncio.Future[None]]
) -> None:
    """G1, G2, G3, G10: of two replicas with two workers each, three times, wherever it hurts."""
    rng = _rng()
    site = await open_site()
    gateways = [await site.gateway(name, workers=2) for name in "ab"]
    async with Front(gateways, rng) as front:
        load = Load(site, front.url, USERS, rng)
        async with load.running():
            async with asyncio.TaskGroup() as group:
                group.create_task(load.send(EACH, IN_FLIGHT))
                for number in range(3):
                    await load.until_accepted((number + 1) * USERS * EACH // 5)
                    await blow(gateways[number % 2])
            await load.until_received()
            await load.check()
