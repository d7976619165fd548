"""Mirrors protocol/homeport/client/history.py: pages of a conversation."""

from __future__ import annotations

import asyncio

import pytest
from homeport import (
    Client,
    Message,
    MessageRef,
    RequestRefused,
    SendTimeout,
    codes,
    frames,
)
from homeport.frames import History

from tests.protocol.client.conftest import Setting
from tests.protocol.client.pages import answer, answered


async def test_history_is_read_page_by_page(setting: Setting) -> None:
    """HP-13.2-2: from where the server says, also after an empty page."""
    async with setting.live() as (client, peer):

        async def read() -> list[Message]:
            return [message async for message in client.conversation("bob").history()]

        reading = asyncio.create_task(read())
        first = await answer(peer, 5, 4, next=4)
        assert (first.peer, first.limit, first.before, first.after) == ("bob", 100, None, None)
        assert (await answer(peer, next=2)).before == 4
        assert (await answer(peer, 1)).before == 2
        messages = await reading
        assert [(message.peer, message.seq) for message in messages] == [
            ("bob", 5),
            ("bob", 4),
            ("bob", 1),
        ]
        client.ack(messages[0])  # not from the inbox: nothing to acknowledge


async def test_history_with_a_limit(setting: Setting) -> None:
    """HP-13.2-1: oldest first from the beginning, and no more than asked for."""
    async with setting.live() as (client, peer):

        async def read() -> list[int]:
            history = client.conversation("bob").history(limit=3, after=0)
            return [message.seq async for message in history]

        reading = asyncio.create_task(read())
        asked = await answer(peer, 1, 2, next=2)
        assert (asked.limit, asked.before, asked.after) == (3, None, 0)
        asked = await answer(peer, 3, next=3)
        assert (asked.limit, asked.before, asked.after) == (1, None, 2)
        assert await reading == [1, 2, 3]


@pytest.mark.parametrize("place", [7, MessageRef("bob", 7), answered(7)])
async def test_history_around_a_message(
    setting: Setting, place: Message | MessageRef | int
) -> None:
    """HP-13.2-1: from a message that was pushed, or by its number."""
    async with setting.live() as (client, peer):
        bob = client.conversation("bob")
        for history, expected in (
            (bob.history(before=place), (7, None)),
            (bob.history(after=place), (None, 7)),
        ):
            reading = asyncio.ensure_future(anext(history, None))
            asked = await answer(peer)
            assert (asked.before, asked.after) == expected
            assert await reading is None


async def test_what_the_store_has_lost_is_told(setting: Setting) -> None:
    """G5, HP-13.2-7: a hole in the numbers is no loss, because some are kept out of the history; so
    each page says how many were lost, and the iteration adds them up."""
    async with setting.live() as (client, peer):
        history = client.conversation("bob").history()
        assert history.lost == 0
        reading = asyncio.ensure_future(anext(history))
        await answer(peer, 9, next=6, lost=2)
        assert (await reading).seq == 9
        assert history.lost == 2

        async def rest() -> list[int]:
            return [message.seq async for message in history]

        finishing = asyncio.create_task(rest())
        await answer(peer, next=3, lost=3)
        await answer(peer, 1)
        assert await finishing == [1]
        assert history.lost == 5


async def test_a_refusal_is_raised_by_the_iteration(setting: Setting) -> None:
    """HP-13.2-4: as by any request."""
    async with setting.live() as (client, peer):
        reading = asyncio.ensure_future(anext(client.group("0f" * 16).history()))
        asked = await peer.expect(History)
        await peer.send(frames.Error(asked.id, codes.UNKNOWN_RECIPIENT.number, "no"))
        with pytest.raises(RequestRefused):
            await reading


async def test_an_iteration_goes_on_after_a_failure(setting: Setting) -> None:
    """A generator ends with its first error: a loop that tried again saw a short history and took
    it for all. The page that failed, or was cancelled, is asked for again."""

    async def second_page(client: Client) -> None:
        history = client.conversation("bob").history(timeout=0.05)
        assert (await anext(history)).seq == 5
        with pytest.raises(SendTimeout):
            await anext(history)
        reading = asyncio.ensure_future(anext(history))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert (await anext(history)).seq == 4

    async with setting.live() as (client, peer):
        reading = asyncio.create_task(second_page(client))
        await answer(peer, 5, next=5)
        for _ in range(2):
            assert (await peer.expect(History)).before == 5
        assert (await answer(peer, 4)).before == 5
        await reading
