"""Giving events to ``on_event`` and `Client.events`, against a scripted server."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest
from homeport import (
    Client,
    ClientClosed,
    Connected,
    Disconnected,
    Event,
    EventsDropped,
    Signal,
    TokenExpiring,
)
from homeport.client import dispatch as module
from homeport.client.dispatch import Dispatcher
from homeport.client.loop import OwnLoop
from homeport.frames import Expiring

from tests.harness import until
from tests.protocol.client.conftest import Setting


@pytest.mark.parametrize("error", [KeyError("on purpose"), asyncio.CancelledError()])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_what_it_raises_is_logged_and_stops_nothing(
    setting: Setting,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
    asynchronous: bool,
) -> None:
    """A handler has faults too. The client goes on, and so do the events."""
    told: list[Event] = []

    def on_event(event: Event) -> None:
        told.append(event)
        raise error

    async def on_event_later(event: Event) -> None:
        await asyncio.sleep(0)
        on_event(event)

    handler = on_event_later if asynchronous else on_event
    async with setting.live(on_event=handler) as (client, peer):
        await peer.send(Expiring(5))
        await peer.push(1)
        assert (await anext(client.messages())).text == "1"
        await until(lambda: len(told) == 2)
    assert [type(event) for event in told] == [Connected, TokenExpiring]
    assert f"on_event raised {type(error).__name__}" in caplog.text


async def test_an_asynchronous_handler_gets_one_event_after_the_other(setting: Setting) -> None:
    """A coroutine function was called and never awaited: its program was told nothing."""
    told: list[str] = []
    free = asyncio.Event()

    async def on_event(event: Event) -> None:
        told.append(f"{type(event).__name__} begins")
        await free.wait()
        told.append("ends")

    async with setting.live(on_event=on_event) as (client, peer):
        await peer.send(Expiring(5))
        await peer.push(1)
        await anext(client.messages())
        await until(lambda: told)
        assert told == ["Connected begins"]
        free.set()
    assert told == ["Connected begins", "ends", "TokenExpiring begins", "ends"]


async def test_a_handler_may_use_the_client_and_close_it(setting: Setting) -> None:
    """It is not run inside the client, so neither waits for the other."""
    clients: list[Client] = []
    closed = asyncio.Event()

    async def on_event(event: Event) -> None:
        if isinstance(event, TokenExpiring):
            await clients[0].close()
            closed.set()

    async with asyncio.timeout(5), setting.live(on_event=on_event) as (client, peer):
        clients.append(client)
        await peer.send(Expiring(5))
        await closed.wait()


async def test_a_handler_that_hangs_does_not_hold_the_close(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has its seconds, and is cancelled then."""
    monkeypatch.setattr(module, "HANDLER_END_S", 0.02)
    ended = asyncio.Event()

    async def on_event(event: Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.timeout(5):
        async with setting.live(on_event=on_event):
            pass
        await ended.wait()
    assert "did not end in time" in caplog.text


async def test_a_handler_that_is_too_slow_costs_events_and_no_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """G9: others can signal faster than a handler is. The oldest go; that is logged once, and told
    in their place."""
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    told: list[Any] = []

    async def on_event(event: Event) -> None:
        told.append(event.kind if isinstance(event, Signal) else event)
        await free.wait()

    free = asyncio.Event()
    events = Dispatcher(OwnLoop(), on_event)
    with caplog.at_level(logging.WARNING, "homeport.client"):
        for number in range(8):
            events.tell(Signal("bob", "alice", str(number), b""))
            await asyncio.sleep(0)
    free.set()
    await events.close()
    assert told == ["0", EventsDropped(4), "5", "6", "7"]
    assert caplog.text.count("too slow") == 1


async def test_the_end_of_a_client_is_told_before_entering_raises(setting: Setting) -> None:
    """A program that logs events sees why, also where the very first connection is refused."""
    told: list[Event] = []

    async def on_event(event: Event) -> None:
        await asyncio.sleep(0)
        told.append(event)

    async def refuse() -> None:
        await (await setting.server.peer()).refuse(114, 4501)

    refusing = asyncio.create_task(refuse())
    with pytest.raises(Exception, match="token_signature"):
        await setting.client(on_event=on_event).__aenter__()
    await refusing
    assert [type(event) for event in told] == [Disconnected]


async def kinds(events: AsyncIterator[Event]) -> list[type[Event]]:
    """What comes until the iteration stops."""
    return [type(event) async for event in events]


async def test_each_reader_and_the_handler_get_every_event(setting: Setting) -> None:
    """Readers take nothing from each other; one that begins later misses what was before."""
    told: list[type[Event]] = []
    client = setting.client(on_event=lambda event: told.append(type(event)))
    reading = [asyncio.create_task(kinds(client.events())) for _ in range(2)]
    entering = asyncio.create_task(client.__aenter__())
    await (await setting.server.peer()).refuse(140, 4001)
    peer = await setting.server.peer()
    await peer.accept()
    await entering
    late = client.events()
    await peer.send(Expiring(5))
    assert isinstance(await anext(late), TokenExpiring)
    await client.close()
    all_of_them = [Disconnected, Connected, TokenExpiring]
    assert [await each for each in reading] == [all_of_them, all_of_them]
    assert told == all_of_them
    assert await kinds(late) == []


async def test_events_end_as_messages_do(setting: Setting) -> None:
    """By the error that ended the client, behind the last event; also for whoever comes then."""
    async with setting.live() as (client, peer):
        events = client.events()
        await peer.ws.close(4504)
        told = await anext(events)
        assert isinstance(told, Disconnected)
        assert not told.will_reconnect
        for each in (events, client.events()):
            with pytest.raises(ClientClosed) as caught:
                await anext(each)
            assert caught.value.name == "kicked"


async def test_a_wait_for_an_event_can_be_cancelled(setting: Setting) -> None:
    """A timeout around one wait neither loses an event nor ends the stream."""
    async with setting.live() as (client, peer):
        events = client.events()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await anext(events)
        await peer.send(Expiring(5))
        assert isinstance(await anext(events), TokenExpiring)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one reader"):
            await anext(events)
        waiting.cancel()


async def test_a_reader_that_is_too_slow_is_told_of_the_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G9: the same bound as for a handler, and the gap is where it is."""
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    events = Dispatcher(OwnLoop(), None)
    reader = events.reader()
    signals = [Signal("bob", "alice", str(number), b"") for number in range(8)]
    for signal in signals[:5]:
        events.tell(signal)
    assert [await reader.next() for _ in range(2)] == [EventsDropped(2), signals[2]]
    for signal in signals[5:]:
        events.tell(signal)
    assert [await reader.next() for _ in range(4)] == [EventsDropped(2), *signals[5:]]


async def test_a_reader_that_is_gone_keeps_no_events() -> None:
    """A program that breaks out of its loop says nothing to the client."""
    events = Dispatcher(OwnLoop(), None)
    gone = weakref.ref(events.reader())
    assert gone() is None


async def test_what_is_iterated_over_is_an_iterator_only(setting: Setting) -> None:
    """`messages` gave an object of the SDK's inside, whose other methods broke the client."""
    client = setting.client()
    for iterator in (client.messages(), client.events()):
        assert isinstance(iterator, AsyncIterator)
        assert [name for name in dir(iterator) if not name.startswith("_")] == []
