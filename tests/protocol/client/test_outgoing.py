"""Mirrors protocol/homeport/client/outgoing.py: asking, and what is made of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from homeport import Client, ConversationInfo, Message, MessageRef, ProtocolError, frames
from homeport.codec import encode

from tests.protocol.client.conftest import Setting


async def enter_room(client: Client) -> None:
    """Enter a room, for its first request."""
    async with client.room("lobby"):
        raise AssertionError("the room was entered")


async def first_of_history(client: Client) -> Message:
    """Read a message of a conversation."""
    return await anext(client.conversation("bob").history())


async def first_conversation(client: Client) -> ConversationInfo:
    """Read a row of the list of conversations."""
    return await anext(client.conversations())


@pytest.mark.parametrize("wrong", [None, b"secret", ["secret"], {"id": "secret"}], ids=str)
@pytest.mark.parametrize(
    ("asks", "request_name"),
    [
        (lambda client: client.send("bob", "x"), "send"),
        (enter_room, "roomjoin"),
        (lambda client: client.create_group("team"), "groupcreate"),
        (lambda client: client.group("0" * 32).info(), "groupget"),
        (lambda client: client.groups(), "grouplist"),
        (lambda client: client.presence(["bob"]), "presenceget"),
        (lambda client: client.watch_presence(["bob"]), "presencesubscribe"),
        (lambda client: client.unread(), "unread"),
        (lambda client: client.conversation("bob").receipts(), "receipts"),
        (lambda client: client.reached(MessageRef("bob", 7)), "receipts"),
        (first_of_history, "history"),
        (first_conversation, "conversations"),
        (lambda client: client.blocks(), "blocks"),
    ],
)
async def test_an_answer_that_can_not_be_read(
    setting: Setting,
    asks: Callable[[Client], Coroutine[Any, Any, Any]],
    request_name: str,
    wrong: Any,
) -> None:
    """HP-4.7-3, HP-4.2-4: one error for all of them; the connection is kept, nothing is asked
    again, and no value of the answer is repeated."""
    async with setting.live() as (client, peer):
        asking = asyncio.create_task(asks(client))
        asked = await peer.next()
        assert type(asked).__name__.lower() == request_name
        assert isinstance(asked, frames.Request)
        await peer.ws.send(encode([3, asked.id, wrong]))
        with pytest.raises(ProtocolError) as caught:
            await asking
        assert caught.value.request == request_name
        assert "secret" not in str(caught.value)
        sending = asyncio.create_task(client.send("bob", "still here"))
        await peer.ok(await peer.expect(frames.Send))  # and nothing before it
        await sending


async def test_what_is_said_where_nothing_needs_to_be_is_ignored(setting: Setting) -> None:
    """HP-4.7-2: a later gateway may say something to a request that is only done today."""
    async with setting.live() as (client, peer):
        asking = asyncio.create_task(client.block("mallory"))
        asked = await peer.expect(frames.Block)
        await peer.ws.send(encode([3, asked.id, {"since": [1, b"\xff"]}, 5]))
        await asking
