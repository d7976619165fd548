"""The client's receipts: what it tells by itself, what it tells when asked to, what it is told."""

from __future__ import annotations

import asyncio
import logging

import pytest
from homeport import Client, Message, Reached, Receipt, RequestRefused, codes, frames
from homeport.client import receipts as module
from homeport.frames import Mark
from websockets.exceptions import ConnectionClosed

from tests.protocol.client.conftest import Setting
from tests.protocol.client.server import USER


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
        assert {(m.peer, m.delivered, m.read) for m in marks} == {("bob", 3, 0), ("carol", 4, 0)}
        await take(client, 1)
        again = await peer.mark()
        assert (again.peer, again.delivered, again.read) == ("bob", 5, 0)


@pytest.mark.usefixtures("never")
async def test_own_messages_and_notices_are_not_marked(setting: Setting) -> None:
    """HP-14.2-7: all that leaves is the mark of the other message."""
    async with setting.live(auto_ack=False) as (client, peer):
        await peer.push(1, sender=USER)
        await peer.push(2, sender="")
        await peer.push(3)
        mine, notice, _ = await take(client, 3)
        assert (mine.own, mine.peer, notice.peer) == (True, USER, "")
        client.mark_read(notice)
    assert await peer.closed() == 1000
    sent = await peer.mark()
    assert sent == Mark(sent.id, "bob", 3, 0)
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
        assert sent == Mark(sent.id, "bob", 3, 2)


@pytest.mark.usefixtures("never")
async def test_the_rest_leaves_before_the_close(setting: Setting) -> None:
    """What was read just before the end is told."""
    async with setting.live(auto_ack=False) as (client, peer):
        await peer.push(1, 2)
        for message in await take(client, 2):
            client.mark_read(message)
    assert await peer.closed() == 1000
    sent = await peer.mark()
    assert sent == Mark(sent.id, "bob", 2, 2)


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
        assert (await peer.mark()).delivered == 2


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
        assert (await peer.mark()).delivered == 2
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
        assert (second.peer, second.delivered) == ("bob", 1)


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
        rows = [("bob", 3), ("carol", 1000)]
        await peer.done(request, frames.UnreadCounts(rows, True))
        counts = await asking
        assert counts == {"bob": 3, "carol": 1000}
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
        assert request == frames.Receipts(request.id, "bob", message.time)
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


def test_the_peer_of_a_message_is_whom_an_answer_goes_to() -> None:
    """HP-14.2-3: the other user of a direct conversation, and a group by its own name."""
    fields = {
        "id": b"",
        "time": 1,
        "kind": "text",
        "body": b"",
        "seq": 1,
        "stored": 1,
        "epoch": "e",
    }
    made = [
        Message(sender=sender, to=to, own=own, **fields)  # type: ignore[arg-type]
        for sender, to, own in (
            ("bob", "alice", False),
            ("alice", "bob", True),
            ("bob", "g:1", False),
            ("alice", "g:1", True),
        )
    ]
    assert [message.peer for message in made] == ["bob", "bob", "g:1", "g:1"]
