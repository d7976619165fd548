"""Presence from end to end: the SDK, and gateway processes that are killed and drained."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time

from homeport import Client, Event, Presence

from tests.system.site import DEADLINE_S, Front, OpenSite, Site, ws

OFFLINE_S = 30.0
"""SPEC.md HP-20.3-1."""


class Told:
    """What a watcher is told of others, with the moment."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[float, Presence]] = asyncio.Queue()

    def on_event(self, event: Event) -> None:
        """Keep it, if it is one."""
        if isinstance(event, Presence):
            self.queue.put_nowait((time.monotonic(), event))


async def connected(stack: contextlib.AsyncExitStack, *clients: Client) -> None:
    """Enter all of them at once."""
    await asyncio.gather(*(stack.enter_async_context(client) for client in clients))


async def watch(site: Site, stack: contextlib.AsyncExitStack, url: str, users: list[str]) -> Told:
    """A watcher at `url`; all of `users` must be online."""
    told = Told()
    watcher = site.client(url, "watcher", on_event=told.on_event)
    await connected(stack, watcher)
    found = await watcher.watch_presence(users)
    assert {user for user, state in found.items() if state.state == "online"} == set(users)
    return told


async def test_the_users_of_a_killed_gateway_are_offline(open_site: OpenSite) -> None:
    """HP-20.3-1: within 30 seconds, for a watcher elsewhere; who is elsewhere too stays online."""
    site = await open_site()
    one, two = await site.gateway("a"), await site.gateway("b")
    lost = [f"lost{number}" for number in range(20)]
    moving = [f"moving{number}" for number in range(20)]
    both = [f"both{number}" for number in range(20)]
    async with asyncio.timeout(2 * DEADLINE_S), contextlib.AsyncExitStack() as stack:
        there = [site.client(ws(two), user) for user in [*lost, *moving, *both]]
        here = [site.client(ws(one), user, "laptop") for user in both]
        await connected(stack, *there, *here)
        told = await watch(site, stack, ws(one), [*lost, *moving, *both])
        killed = time.monotonic()
        await asyncio.to_thread(two.kill)
        await connected(stack, *(site.client(ws(one), user) for user in moving))
        events = [await told.queue.get() for _ in lost]
        assert {(event.user, event.state) for _, event in events} == {
            (user, "offline") for user in lost
        }
        assert max(at for at, _ in events) - killed <= OFFLINE_S
        # One who comes back is the next that is told, so there was nothing in between.
        await connected(stack, site.client(ws(one), lost[0]))
        assert (await told.queue.get())[1] == Presence(lost[0], "online", "", 0)
        assert told.queue.empty()


async def test_a_drain_makes_no_storm(open_site: OpenSite) -> None:
    """HP-20.2-3: 200 sessions drop and come back elsewhere; nobody is told a thing."""
    site = await open_site()
    one, two = await site.gateway("a"), await site.gateway("b")
    users = [f"u{number}" for number in range(200)]
    async with (
        asyncio.timeout(2 * DEADLINE_S),
        Front([two, one], _First()) as front,
        contextlib.AsyncExitStack() as stack,
    ):
        await connected(stack, *(site.client(front.url, user) for user in users))
        leaving = site.client(ws(one), "leaving")
        await connected(stack, leaving)
        told = await watch(site, stack, ws(one), [*users, "leaving"])
        assert await asyncio.to_thread(two.stop) == 0
        # Who leaves now, and for good, is told later than any of those who left before.
        await leaving.close()
        _, event = await told.queue.get()
        assert (event.user, event.state) == ("leaving", "offline")
        assert told.queue.empty()


class _First(random.Random):
    """Chooses gateways in the order that they were given."""

    def sample(self, population, k, *, counts=None):  # type: ignore[no-untyped-def]
        """All, as they are."""
        return list(population)
