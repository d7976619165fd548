"""Mirrors protocol/homeport/client/conversation.py: options and deleting."""

from __future__ import annotations

import asyncio

import pytest
from homeport import Message, MessageRef, Sent, Transient, frames
from homeport.frames import Extra, Forget, Options, Send

from tests.protocol.client.conftest import Setting
from tests.protocol.client.pages import answer, answered, entry


@pytest.mark.parametrize(
    "reply", [7, MessageRef("bob", 7), Sent("bob", 7, "72" * 16, 900), answered(7)]
)
async def test_a_send_carries_its_options(
    setting: Setting, reply: Message | MessageRef | int
) -> None:
    """HP-12.1-1, HP-12.2-1, HP-12.3-1: all of them, and nil where there is none. The answered
    message is named by its number, or is the message."""
    async with setting.live() as (client, peer):
        sending = asyncio.create_task(
            client.send("bob", "x", mentions=["carol"], reply=reply, history=False, ttl=5)
        )
        send = await peer.expect(Send)
        assert send.options == Options(("carol",), 7, False, False, 5)
        await peer.ok(send)
        await sending
        sending = asyncio.create_task(client.send("bob", "x"))
        send = await peer.expect(Send)
        assert send.options is None
        await peer.ok(send)
        await sending


async def test_what_a_message_says_is_shown(setting: Setting) -> None:
    """HP-12.1-1: a push's extra, as fields of the message."""
    async with setting.live() as (client, peer):
        inner = entry(1, extra=Extra(("alice",), 3, 7)).message
        await peer.send(frames.Push(1, 5, 9, inner))
        message = await anext(client.messages())
        assert (message.mentions, message.reply, message.expires) == (("alice",), 3, 7)


async def test_a_transient_message_is_an_event(setting: Setting) -> None:
    """HP-12.3-1: beside the numbered ones, which go on as they were."""
    async with setting.live() as (client, peer):
        await peer.send(frames.Transient(entry(3, "alice").message))
        message = (await setting.events.next(Transient)).message
        assert (message.seq, message.body, message.own) == (0, b"3", True)
        await peer.push(1)
        assert (await anext(client.messages())).text == "1"


async def test_deleting_goes_up_to_the_newest(setting: Setting) -> None:
    """HP-13.3-1: and a repetition after a reconnect names the same number."""
    async with setting.live() as (client, peer):
        deleting = asyncio.create_task(client.conversation("bob").delete_history())
        assert (await answer(peer, 7, next=7)).limit == 1
        first = await peer.expect(Forget)
        assert (first.peer, first.upto) == ("bob", 7)
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept()
        again = await peer.expect(Forget)
        assert again == first
        await peer.done(again)
        await deleting


async def test_deleting_nothing(setting: Setting) -> None:
    """HP-13.3-1: a conversation that was never held needs no second request."""
    async with setting.live() as (client, peer):
        deleting = asyncio.create_task(client.conversation("bob").delete_history())
        await answer(peer)
        await deleting


async def test_deleting_after_a_page_without_messages(setting: Setting) -> None:
    """HP-13.3-1: the newest page held only what the history leaves out; what is before it goes."""
    async with setting.live() as (client, peer):
        deleting = asyncio.create_task(client.conversation("bob").delete_history())
        await answer(peer, next=40)
        forget = await peer.expect(Forget)
        assert forget.upto == 40
        await peer.done(forget)
        await deleting


@pytest.mark.parametrize("upto", [7, MessageRef("bob", 7), answered(7)])
async def test_deleting_up_to_a_message(setting: Setting, upto: Message | MessageRef | int) -> None:
    """HP-13.3-1: one request is enough, because the number is known."""
    async with setting.live() as (client, peer):
        deleting = asyncio.create_task(client.conversation("bob").delete_history(upto=upto))
        forget = await peer.expect(Forget)
        assert (forget.peer, forget.upto) == ("bob", 7)
        await peer.done(forget)
        await deleting
