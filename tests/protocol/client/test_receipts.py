"""The client's receipts: what it tells by itself, what it tells when asked to, what it is told."""

from __future__ import annotations

import asyncio
import logging

import pytest
from homeport import (
    Client,
    ConversationReset,
    Message,
    Reached,
    Receipt,
    RequestRefused,
    codes,
    frames,
)
from homeport.client import receipts as module
from homeport.codec import encode
from homeport.frames import Mark
from websockets.exceptions import ConnectionClosed

from tests.protocol.client.conftest import Setting
from tests.protocol.client.server import SEQ, USER, reset


async def take(client: Client, count: int) -> list[Message]:
    """The next messages."""
    messages = []
    async for message in client.messages():
        messages.append(message)
        if len(messages) == count:
            break
    return messages


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks leave at once, but still together with all of the same turn."""
    monkeypatch.setattr(module, "MARK_EVERY_S", 0.01)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks wait for the close."""
    monkeypatch.setattr(module, "MARK_EVERY_S", 3600.0)


def test_marks_are_a_second_apart() -> None:
    """HP-14.2-8."""
    assert module.MARK_EVERY_S >= 1


@pytest.mark.usefixtures("soon")
async def test_what_is_handed_out_is_marked_as_delivered(setting: Setting) -> None:
    """HP-14.2-7, HP-14.2-8: the last of each conversation, in one mark; not what waits."""
    async with setting.live() as (client, peer):
        await peer.push(1, 3)
        await peer.push(4, sender="carol")
        await peer.push(5)
        await take(client, 4)
        marks = [await peer.mark(), await peer.mark()]
        told = {(m.peer, m.delivered, m.read) for m in marks}
        assert told == {("bob", SEQ + 3, 0), ("carol", SEQ + 4, 0)}
        await take(client, 1)
        again = await peer.mark()
        assert (again.peer, again.delivered, again.read) == ("bob", SEQ + 5, 0)


@pytest.mark.usefixtures("never")
async def test_own_messages_and_what_is_unknown_are_not_marked(setting: Setting) -> None:
    """HP-14.2-7: all that leaves is the mark of the other message."""
    async with setting.live(auto_ack=False) as (client, peer):
        await peer.push(1, sender=USER)
        await peer.push(2, sender="")
        await peer.push(3)
        mine, unknown, _ = await take(client, 3)
        assert (mine.own, mine.peer, unknown.peer) == (True, USER, "")
    assert await peer.closed() == 1000
    sent = await peer.mark()
    assert sent == Mark(sent.id, "bob", SEQ + 3, 0)
    with pytest.raises(ConnectionClosed):
        await peer.mark()


@pytest.mark.usefixtures("soon")
async def test_reading_is_marked_as_far_as_it_got(setting: Setting) -> None:
    """HP-14.1-3: with delivered, in one mark; an earlier message takes nothing back."""
    async with setting.live() as (client, peer):
        await peer.push(1, 3)
        messages = await take(client, 3)
        client.mark_read(messages[1])
        client.mark_read(messages[0])
        sent = await peer.mark()
        assert sent == Mark(sent.id, "bob", SEQ + 3, SEQ + 2)


@pytest.mark.usefixtures("never")
async def test_a_notice_is_a_message_of_its_conversation(setting: Setting) -> None:
    """HP-13.4-3: a program that marks the last message that it shows may be showing an edit; what
    was before it stayed unread for ever, because a notice had no conversation."""
    body = encode(frames.EditNotice(b"i" * 16, "bob", 3, 1, 9, b"new"))
    notice = frames.Message(b"n" * 16, "", USER, 9, "homeport.edit", body)
    async with setting.live(auto_ack=False) as (client, peer):
        await peer.push(1)
        await peer.send(frames.Push(2, 1002, SEQ + 2, notice))
        client.mark_read((await take(client, 2))[-1])
    assert await peer.closed() == 1000
    sent = await peer.mark()
    assert sent == Mark(sent.id, "bob", SEQ + 2, SEQ + 2)


@pytest.mark.usefixtures("never")
async def test_a_mark_of_what_was_reset_is_lowered(setting: Setting) -> None:
    """HP-7.5-2: numbers above the reset mean other messages now, which nobody has read; a mark that
    waited for its second would have marked them."""
    async with setting.live(auto_ack=False) as (client, peer):
        await peer.push(1, 9)
        await peer.push(10, sender="carol")
        messages = await take(client, 10)
        client.mark_read(messages[2])
        client.mark_read(messages[9])
        await peer.send(reset(11, SEQ + 5), reset(12, 3, "dora"))
        assert await setting.events.next(ConversationReset) == ConversationReset("bob", SEQ + 5)
        assert await setting.events.next(ConversationReset) == ConversationReset("dora", 3)
    assert await peer.closed() == 1000
    marks = {(mark.peer, mark.delivered, mark.read) for mark in [await peer.mark() for _ in "ab"]}
    assert marks == {("bob", SEQ + 5, SEQ + 3), ("carol", SEQ + 10, SEQ + 10)}
    with pytest.raises(ConnectionClosed):
        await peer.mark()


@pytest.mark.usefixtures("never")
async def test_the_rest_leaves_before_the_close(setting: Setting) -> None:
    """What was read just before the end is told."""
    async with setting.live(auto_ack=False) as (client, peer):
        await peer.push(1, 2)
        for message in await take(client, 2):
            client.mark_read(message)
    assert await peer.closed() == 1000
    sent = await peer.mark()
    assert sent == Mark(sent.id, "bob", SEQ + 2, SEQ + 2)


@pytest.mark.usefixtures("soon")
async def test_a_mark_without_an_answer_is_repeated_after_a_reconnect(setting: Setting) -> None:
    """HP-8.3-3: marks may be repeated, so they are, with what came meanwhile apart."""
    async with setting.live() as (client, peer):
        await peer.push(1)
        (message,) = await take(client, 1)
        client.mark_read(message)
        first = await peer.mark()
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept()
        assert await peer.mark() == first
        await peer.done(first)
        await peer.push(1, 2)  # the first was not acknowledged
        await take(client, 1)
        assert (await peer.mark()).delivered == SEQ + 2


@pytest.mark.usefixtures("soon")
async def test_a_refused_mark_is_logged_and_harms_nothing(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    """HP-8.1-1: it is not repeated."""
    caplog.set_level(logging.WARNING, "homeport.client")
    async with setting.live() as (client, peer):
        await peer.push(1)
        await take(client, 1)
        sent = await peer.mark()
        await peer.send(frames.Error(sent.id, codes.NOT_A_MEMBER.number, "no"))
        await peer.push(2)
        await take(client, 1)
        assert (await peer.mark()).delivered == SEQ + 2
    assert "not_a_member" in caplog.text
    assert "bob" not in caplog.text


@pytest.mark.usefixtures("soon")
async def test_a_mark_that_may_not_be_repeated_is_made_anew(setting: Setting) -> None:
    """HP-14.1-3: a mark never becomes wrong, so the end of the dedupe window does not end it."""
    limits = frames.Limits(8192, 256, 0)
    async with setting.live({"limits": limits}) as (client, peer):
        await peer.push(1)
        await take(client, 1)
        first = await peer.mark()
        await peer.send(frames.Error(first.id, codes.UNAVAILABLE.number, "later", 0.0))
        second = await peer.mark()
        assert second.id != first.id
        assert (second.peer, second.delivered) == ("bob", SEQ + 1)


async def test_a_receipt_is_told_as_an_event(setting: Setting) -> None:
    """HP-14.2-3: as it came."""
    async with setting.live() as (_, peer):
        await peer.send(frames.Receipt("bob", "bob", 7, 5))
        assert await setting.events.next(Receipt) == Receipt("bob", "bob", 7, 5)


async def test_asking_for_unread_counts(setting: Setting) -> None:
    """HP-14.3-4, HP-14.3-5."""
    async with setting.live() as (client, peer):
        asking = asyncio.create_task(client.unread())
        request = await peer.expect(frames.Unread)
        rows = [("bob", 3), ("carol", 123_456)]
        await peer.done(request, frames.UnreadCounts(rows, True))
        counts = await asking
        assert counts == {"bob": 3, "carol": 123_456}
        assert counts.more
        asking = asyncio.create_task(client.unread())
        request = await peer.expect(frames.Unread)
        await peer.done(request, frames.UnreadCounts([], False))
        counts = await asking
        assert (counts, counts.more) == ({}, False)


async def test_asking_for_receipts(setting: Setting) -> None:
    """HP-14.2-4, HP-14.2-6."""
    async with setting.live() as (client, peer):
        await peer.push(1)
        (message,) = await take(client, 1)
        asking = asyncio.create_task(client.conversation("bob").receipts())
        request = await peer.expect(frames.Receipts)
        assert request == frames.Receipts(request.id, "bob", 0)
        await peer.done(request, frames.Reach([("bob", 7, 5)], (1, 0, 0)))
        assert await asking == [Receipt("bob", "bob", 7, 5)]
        counting = asyncio.create_task(client.reached(message))
        request = await peer.expect(frames.Receipts)
        assert request == frames.Receipts(request.id, "bob", message.seq)
        await peer.done(request, frames.Reach([], (3, 2, 1)))
        assert await counting == Reached(people=3, delivered=2, read=1)


async def test_a_refused_question_is_raised(setting: Setting) -> None:
    """HP-14.1-8, as a program sees it."""
    async with setting.live() as (client, peer):
        asking = asyncio.create_task(client.group("0f" * 16).receipts())
        request = await peer.expect(frames.Receipts)
        await peer.send(frames.Error(request.id, codes.UNKNOWN_RECIPIENT.number, "no"))
        with pytest.raises(RequestRefused) as caught:
            await asking
        assert caught.value.name == "unknown_recipient"
