"""Messages for someone who is not there, on a gateway that is killed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from homeport import Client, Lost, Message, Reset

from tests.harness import RawClient
from tests.system.site import DEADLINE_S, PATIENCE_S, OpenSite, ws

COUNT = 1000
DEVICES = ("phone", "laptop")


async def _read(client: Client, count: int) -> list[Message]:
    """The next `count` messages, acknowledged."""
    got = []
    async with asyncio.timeout(DEADLINE_S):
        async for message in client.messages():
            got.append(message)
            if len(got) == count:
                break
    client.ack(got[-1])
    return got


def _number(message: Message) -> int:
    """The number that a message has in the inbox."""
    assert message.cursor is not None
    return message.cursor.number


@pytest.mark.parametrize("known", [True, False], ids=["known devices", "new devices"])
async def test_a_thousand_wait_for_two_devices(open_site: OpenSite, known: bool) -> None:
    """G1, G3, G4, G10: each device gets 1 to 1000 in order, acknowledges, and gets none again."""
    site = await open_site()
    gateway = await site.gateway()
    if known:
        for device in DEVICES:
            async with RawClient.open(ws(gateway)) as raw:
                await raw.connect(site.token("bob"), device)
    async with site.client(ws(gateway), "alice") as alice:
        await asyncio.gather(*(alice.send("bob", str(n), timeout=PATIENCE_S) for n in range(COUNT)))
        gateway.kill()
    gateway.start()

    events: list[object] = []
    async with contextlib.AsyncExitStack() as stack:
        # Both before either acknowledges: what a new device gets is what is still kept.
        bobs = [
            await stack.enter_async_context(
                site.client(ws(gateway), "bob", device, on_event=events.append)
            )
            for device in DEVICES
        ]
        for bob in bobs:
            got = await _read(bob, COUNT)
            assert [message.seq for message in got] == list(range(1, COUNT + 1))
            assert [_number(message) for message in got] == list(range(1, COUNT + 1))
            assert [message.text for message in got] == [str(n) for n in range(COUNT)]

    async with contextlib.AsyncExitStack() as stack:
        bobs = [
            await stack.enter_async_context(
                site.client(ws(gateway), "bob", device, on_event=events.append)
            )
            for device in DEVICES
        ]
        assert [bob.cursor.number for bob in bobs if bob.cursor] == [COUNT, COUNT]
        async with site.client(ws(gateway), "alice") as alice:
            await alice.send("bob", "one more", timeout=PATIENCE_S)
        for bob in bobs:
            (message,) = await _read(bob, 1)
            assert (message.seq, message.text) == (COUNT + 1, "one more")
            assert _number(message) == COUNT + 1
    assert not [event for event in events if isinstance(event, Lost | Reset)]
