"""Mirrors protocol/homeport/client/conversation.py: options, history and deleting."""

from __future__ import annotations

import asyncio

import pytest
from homeport import (
    Message,
    MessageRef,
    Place,
    RequestRefused,
    Sent,
    Transient,
    codes,
    frames,
)
from homeport.frames import Entry, Extra, Forget, History, HistoryPage, Options, Send

from tests.protocol.client.conftest import Setting
from tests.protocol.client.server import Peer


def entry(seq: int, sender: str = "bob", extra: Extra | None = None) -> Entry:
    """Number `seq` of a conversation, whose body is the number."""
    message = frames.Message(
        seq.to_bytes(16, "big"), sender, "x", 900 + seq, "text", str(seq).encode(), extra
    )
    return Entry(Place(1000 + seq, seq), message)


def answered(id: str) -> Message:
    """A message that another answers."""
    return Message(id, "bob", "alice", 1, "text", b"x", 1, 1, "e", own=False)


async def answer(peer: Peer, *seqs: int, next: Place | None = None) -> History:
    """Answer a history request with a page."""
    asked = await peer.expect(History)
    await peer.done(asked, HistoryPage(tuple(map(entry, seqs)), next))
    return asked


@pytest.mark.parametrize("reply", ["72" * 16, Sent("72" * 16, 900, "bob"), answered("72" * 16)])
async def test_a_send_carries_its_options(setting: Setting, reply: MessageRef | str) -> None:
    """HP-12.1-1, HP-12.2-1, HP-12.3-1: all of them, and nil where there is none. The answered
    message is named by its id, or is the message."""
    async with setting.live() as (client, peer):
        sending = asyncio.create_task(
            client.send("bob", "x", mentions=["carol"], reply=reply, history=False, ttl=5)
        )
        send = await peer.expect(Send)
        assert send.options == Options(("carol",), b"r" * 16, False, False, 5)
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
        inner = entry(1, extra=Extra(("alice",), b"r" * 16, 7)).message
        await peer.send(frames.Push(1, 5, inner))
        message = await anext(client.messages())
        assert (message.mentions, message.reply, message.expires) == (("alice",), "72" * 16, 7)


async def test_a_transient_message_is_an_event(setting: Setting) -> None:
    """HP-12.3-1: beside the numbered ones, which go on as they were."""
    async with setting.live() as (client, peer):
        await peer.send(frames.Transient(entry(3, "alice").message))
        message = (await setting.events.next(Transient)).message
        assert (message.seq, message.body, message.own) == (0, b"3", True)
        await peer.push(1)
        assert (await anext(client.messages())).seq == 1


async def test_history_is_read_page_by_page(setting: Setting) -> None:
    """HP-13.2-2: from where the server says, also after an empty page."""
    async with setting.live() as (client, peer):

        async def read() -> list[Message]:
            return [message async for message in client.conversation("bob").history()]

        reading = asyncio.create_task(read())
        first = await answer(peer, 5, 4, next=Place(1004, 4))
        assert (first.peer, first.limit, first.before, first.after) == ("bob", 100, None, None)
        assert (await answer(peer, next=Place(1002, 2))).before == Place(1004, 4)
        assert (await answer(peer, 1)).before == Place(1002, 2)
        messages = await reading
        assert [message.seq for message in messages] == [5, 4, 1]
        assert [message.place for message in messages] == [entry(n).place for n in (5, 4, 1)]
        client.ack(messages[0])  # of no inbox: nothing to acknowledge


async def test_history_from_a_place_and_with_a_limit(setting: Setting) -> None:
    """HP-13.2-1: oldest first after a place, and no more than asked for."""
    async with setting.live() as (client, peer):

        async def read() -> list[int]:
            history = client.conversation("bob").history(limit=3, after=Place(0, 0))
            return [message.seq async for message in history]

        reading = asyncio.create_task(read())
        asked = await answer(peer, 1, 2, next=Place(1002, 2))
        assert (asked.limit, asked.before, asked.after) == (3, None, Place(0, 0))
        asked = await answer(peer, 3, next=Place(1003, 3))
        assert (asked.limit, asked.before, asked.after) == (1, None, Place(1002, 2))
        assert await reading == [1, 2, 3]


async def test_a_message_of_the_inbox_has_no_place(setting: Setting) -> None:
    """HP-13.2-1: its number is the inbox's. Taken for a place, it made history begin anywhere."""
    async with setting.live() as (client, peer):
        await peer.push(1)
        message = await anext(client.messages())
        await peer.send(frames.Transient(entry(3, "alice").message))
        for placeless in (message, (await setting.events.next(Transient)).message):
            with pytest.raises(ValueError, match="has a place"):
                client.conversation("bob").history(before=placeless.place)


async def test_a_refusal_is_raised_by_the_iteration(setting: Setting) -> None:
    """HP-13.2-4: as by any request."""
    async with setting.live() as (client, peer):
        reading = asyncio.ensure_future(anext(client.group("0f" * 16).history()))
        asked = await peer.expect(History)
        await peer.send(frames.Error(asked.id, codes.UNKNOWN_RECIPIENT.number, "no"))
        with pytest.raises(RequestRefused):
            await reading


async def test_deleting_goes_up_to_the_newest(setting: Setting) -> None:
    """HP-13.3-1: and a repetition after a reconnect names the same place."""
    async with setting.live() as (client, peer):
        deleting = asyncio.create_task(client.conversation("bob").delete_history())
        assert (await answer(peer, 7, next=Place(1007, 7))).limit == 1
        first = await peer.expect(Forget)
        assert (first.peer, first.upto) == ("bob", Place(1007, 7))
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
