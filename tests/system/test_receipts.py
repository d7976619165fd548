"""Receipts from SDK to SDK, through gateways."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from homeport import Client, Event, Reached, Receipt
from homeport.client import receipts as module

from gateway.config import Settings
from tests.harness import ANSWER_S, RunningWorker, running_worker


def client(running: RunningWorker, user: str, device: str = "d1", **options: Any) -> Client:
    """A client of `running`."""
    return Client(running.url, device=device, token=running.token(user), **options)


async def test_from_delivered_to_read_across_gateways_and_a_reconnect(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-14.2-1, HP-14.2-7, HP-14.3-2: delivered by itself, read when told, and kept."""
    monkeypatch.setattr(module, "MARK_EVERY_S", 0.01)
    told: asyncio.Queue[Event] = asyncio.Queue()

    async def receipt() -> Receipt:
        while True:
            event = await told.get()
            if isinstance(event, Receipt):
                return event

    async with (
        asyncio.timeout(3 * ANSWER_S),
        running_worker(settings) as one,
        running_worker(settings, app=one.app) as other,
    ):
        async with client(one, "alice", on_event=told.put_nowait) as alice:
            first, second = await alice.send("bob", "one"), await alice.send("bob", "two")
            assert (first.seq, second.seq) == (1, 2)
            assert await alice.conversation("bob").receipts() == []
            async with client(other, "bob") as bob:
                assert await bob.unread() == {"alice": 2}
                messages = bob.messages()
                message = await anext(messages)
                assert (message.seq, message.time) == (first.seq, first.time)
                assert await receipt() == Receipt("bob", "bob", first.seq, 0)
                bob.mark_read(message)
                assert await receipt() == Receipt("bob", "bob", first.seq, first.seq)
                assert await bob.unread() == {"alice": 1}
            async with client(one, "bob", "tablet") as bob:
                assert await bob.unread() == {"alice": 1}
                bob.mark_read(await anext(bob.messages()))  # told by the close
            mine = await anext(alice.messages())
            assert await alice.reached(mine) == Reached(1, 1, 1)
        async with client(other, "alice", "tablet") as alice:
            (found,) = await alice.conversation("bob").receipts()
            assert found.read >= first.seq
