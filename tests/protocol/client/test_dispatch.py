"""Giving events to ``on_event``, against a scripted server."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from homeport import Client, Connected, Disconnected, Event, Signal, TokenExpiring
from homeport.client import dispatch as module
from homeport.client.dispatch import Dispatcher
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
        assert (await anext(client.messages())).seq == 1
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
    """G9: others can signal faster than a handler is. The oldest go, and that is said once."""
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    told: list[Any] = []

    async def on_event(event: Event) -> None:
        assert isinstance(event, Signal)
        told.append(event.kind)
        await free.wait()

    free = asyncio.Event()
    events = Dispatcher(on_event)
    with caplog.at_level(logging.WARNING, "homeport.client"):
        for number in range(8):
            events.tell(Signal("bob", "alice", str(number), b""))
            await asyncio.sleep(0)
    free.set()
    await events.close()
    assert told == ["0", "5", "6", "7"]
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
