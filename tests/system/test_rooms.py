"""Rooms and signals from end to end: the SDK, real sockets, two gateways of one region."""

from __future__ import annotations

import asyncio

from homeport import Client, Event, RoomGap, Signal
from homeport.client.backoff import Backoff

from gateway.config import Settings
from tests.clients import client_with
from tests.gateway.replicas import two_workers
from tests.harness import FakeClock, RunningWorker


def client(
    worker: RunningWorker,
    user: str,
    events: asyncio.Queue[Event],
    may_come_back: asyncio.Event | None = None,
) -> Client:
    """A client of `user` that comes back at once, or as soon as it may."""

    async def wait(_: float) -> None:
        if may_come_back is not None:
            await may_come_back.wait()

    return client_with(
        Backoff(wait),
        worker.url,
        device="d1",
        token=worker.token(user),
        on_event=events.put_nowait,
    )


async def next_of(events: asyncio.Queue[Event], kind: type[Event]) -> Event:
    """The next event of a kind."""
    while True:
        event = await events.get()
        if isinstance(event, kind):
            return event


async def test_two_people_in_a_room(settings: Settings, clock: FakeClock) -> None:
    """HP-15.2-1, HP-16.1-1: across gateways, with a signal beside it."""
    alices: asyncio.Queue[Event] = asyncio.Queue()
    bobs: asyncio.Queue[Event] = asyncio.Queue()
    async with (
        asyncio.timeout(20),
        two_workers(settings, clock) as (one, two),
        client(one, "alice", alices) as alice,
        client(two, "bob", bobs) as bob,
    ):
        async with alice.room("lobby") as hers:
            await hers.send("first")
            async with bob.room("lobby") as his:
                assert (await anext(his)).text == "first"
                await his.send("second", priority="high")
                assert [(await anext(hers)).text for _ in range(2)] == ["first", "second"]
                assert his.size == 2
                assert hers.signal("typing")
                assert await next_of(bobs, Signal) == Signal("alice", "r:lobby", "typing", b"")
        assert alice.conversation("bob").signal("call", "ring")
        assert await next_of(bobs, Signal) == Signal("alice", "bob", "call", b"ring")


async def test_a_cut_connection_misses_nothing_that_is_still_kept(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-15.3-2, HP-15.6-4: up to 200 come again; the rest is told as a gap."""
    alices: asyncio.Queue[Event] = asyncio.Queue()
    bobs: asyncio.Queue[Event] = asyncio.Queue()
    back = asyncio.Event()
    async with (
        asyncio.timeout(40),
        two_workers(settings, clock) as (one, two),
        client(one, "alice", alices) as alice,
        client(two, "bob", bobs, back) as bob,
        alice.room("lobby") as hers,
        bob.room("lobby") as his,
    ):
        for count, gap in ((50, 0), (230, 30)):
            back.clear()
            two.inside.connection("bob").abort()
            sent = [await hers.send(str(n)) for n in range(count)]
            back.set()
            got = [(await anext(his)).id for _ in range(count - gap)]
            assert got == [each.id for each in sent][gap:]
            if gap:
                assert await next_of(bobs, RoomGap) == RoomGap("lobby", gap)
