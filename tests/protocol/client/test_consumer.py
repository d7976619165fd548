"""Receiving and acknowledging, against a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from homeport import (
    ClientClosed,
    Connected,
    ConversationReset,
    Cursor,
    CursorFile,
    CursorFileDamaged,
    Disconnected,
    Event,
    Lost,
    Message,
    Reset,
    TokenExpiring,
    frames,
)
from homeport.codec import encode
from homeport.frames import Limits

from tests.protocol.client.conftest import Setting
from tests.protocol.client.server import EPOCH, SEQ, USER, push, reset


async def read(messages: AsyncIterator[Message], count: int) -> list[int]:
    """The inbox' numbers of the next `count` messages."""
    return [int((await anext(messages)).text) for _ in range(count)]


async def test_messages_are_read_in_order(setting: Setting) -> None:
    """G3: with the fields of the push; the user's own are marked."""
    async with setting.live() as (client, peer):
        await peer.push(1)
        await peer.push(2, sender=USER)
        first, second = [await anext(client.messages()) for _ in range(2)]
        assert (first.seq, first.text, first.own) == (SEQ + 1, "1", False)
        assert first.cursor == Cursor(EPOCH, 1001, 1)
        assert (second.seq, second.sender, second.own) == (SEQ + 2, USER, True)


async def test_a_body_is_not_in_its_repr(setting: Setting) -> None:
    """A logged message shows neither body nor user ids."""
    async with setting.live() as (client, peer):
        await peer.send(
            frames.Push(1, 1, 1, frames.Message(b"i" * 16, "bob", "zoe", 1, "text", b"secret"))
        )
        shown = repr(await anext(client.messages()))
        assert "seq=1" in shown
        assert not {"secret", "bob", "zoe"} & set(shown.replace("'", " ").split())


async def test_coming_back_acknowledges(setting: Setting) -> None:
    """HP-7.3-2: a message counts as dealt with when the caller comes back, not when it is given."""
    async with setting.live() as (client, peer):
        await peer.push(1, 2)
        messages = client.messages()
        await anext(messages)
        assert client.cursor == Cursor(EPOCH, 0, 0)
        await anext(messages)
        assert client.cursor == Cursor(EPOCH, 1001, 1)
        assert await peer.acked(1) == [1]


async def test_acks_of_one_turn_are_one(setting: Setting) -> None:
    """HP-7.3-1: a burst read without waiting is acknowledged by its last number."""
    async with setting.live() as (client, peer):
        await peer.push(1, 60)
        messages = client.messages()
        assert await read(messages, 1) == [1]
        await setting.settled(peer)
        assert await read(messages, 59) == list(range(2, 61))
        assert await peer.acked(59) == [59]


async def test_half_a_window_is_acknowledged_at_once(setting: Setting) -> None:
    """HP-7.3-5: a reader that never waits still keeps messages flowing."""
    accept = {"limits": Limits(8192, 8, 600_000)}
    async with setting.live(accept) as (client, peer):
        await peer.push(1, 8)
        messages = client.messages()
        await read(messages, 1)
        await setting.settled(peer)
        await read(messages, 7)
        assert await peer.acked(7) == [4, 7]


async def test_explicit_acks(setting: Setting) -> None:
    """With auto_ack off, only what the caller acknowledges is, cumulatively."""
    async with setting.live(auto_ack=False) as (client, peer):
        await peer.push(1, 3)
        messages = [await anext(client.messages()) for _ in range(3)]
        assert client.cursor == Cursor(EPOCH, 0, 0)
        client.ack(messages[1])
        assert client.cursor == Cursor(EPOCH, 1002, 2)
        client.ack(messages[0])
        assert await peer.acked(2) == [2]
        client.ack(messages[2])
        assert await peer.acked(3) == [3]


async def test_acks_leave_before_the_close(setting: Setting) -> None:
    """What was dealt with is not delivered again; the message in hand is, unless acknowledged."""
    async with setting.live() as (client, peer):
        await peer.push(1, 3)
        async for message in client.messages():
            if message.text == "3":
                break
    acks = [await peer.expect(frames.Ack)]
    if acks[-1].number == 1:
        acks.append(await peer.expect(frames.Ack))
    assert acks[-1].number == 2
    assert await peer.closed() == 1000


async def test_an_explicit_ack_in_the_last_turn_leaves_too(setting: Setting) -> None:
    """`ack` and leaving at once loses nothing."""
    async with setting.live(auto_ack=False) as (client, peer):
        await peer.push(1)
        client.ack(await anext(client.messages()))
    assert await peer.acked(1) == [1]
    assert await peer.closed() == 1000


async def test_no_ack_without_a_reader(setting: Setting) -> None:
    """G9, HP-7.3-2: nobody took the messages, so they stay the server's; memory is its window."""
    async with setting.live() as (_, peer):
        await peer.push(1, 256)
        await setting.settled(peer)
    assert await peer.closed() == 1000


async def test_replays_are_dropped(setting: Setting) -> None:
    """G2, HP-7.2-4: after a cut the server pushes again what was not acknowledged."""
    async with setting.live() as (client, peer):
        await peer.push(1, 3)
        messages = client.messages()
        assert await read(messages, 3) == [1, 2, 3]
        peer.cut()
        peer = await setting.server.peer()
        connect = await peer.accept()
        assert connect.cursor == Cursor(EPOCH, 1002, 2)
        await peer.push(3, 5)
        assert await read(messages, 2) == [4, 5]


async def test_an_ack_made_between_connections_is_sent_when_it_may_be(setting: Setting) -> None:
    """HP-7.3-4: not before this connection has pushed that number again."""
    async with setting.live(auto_ack=False) as (client, peer):
        await peer.push(1, 3)
        messages = [await anext(client.messages()) for _ in range(3)]
        peer.cut()
        peer = await setting.server.peer()
        assert (await peer.accept()).cursor == Cursor(EPOCH, 0, 0)
        await setting.settled(peer)
        client.ack(messages[2])
        await peer.push(1, 3)
        assert await peer.acked(3) == [3]


async def test_a_gap_is_not_read_over(setting: Setting) -> None:
    """G3: the client reconnects with its cursor rather than hand out what is out of order."""
    async with setting.live() as (client, peer):
        await peer.push(1, 2)
        messages = client.messages()
        await read(messages, 2)
        await peer.push(4)
        told = await setting.events.next(Disconnected)
        assert (told.reason, told.will_reconnect) == ("number 4 came where 3 was due", True)
        peer = await setting.server.peer()
        connect = await peer.accept()
        assert connect.cursor == Cursor(EPOCH, 1001, 1)
        await peer.push(2, 4)
        assert await read(messages, 2) == [3, 4]


async def test_loss_is_told(setting: Setting) -> None:
    """G5: on connect and later; reading goes on after it."""
    accept = {"cursor": Cursor(EPOCH, 9, 9), "lost": (4, 9), "resumed": False}
    async with setting.live(accept, cursor=Cursor(EPOCH, 3, 3)) as (client, peer):
        assert not (await setting.events.next(Connected)).resumed
        assert await setting.events.next(Lost) == Lost(4, 9)
        await peer.push(10)
        await peer.send(frames.Lost(11, 12))
        await peer.push(13)
        assert await read(client.messages(), 2) == [10, 13]
        assert await setting.events.next(Lost) == Lost(11, 12)


async def test_a_reset_is_told(setting: Setting) -> None:
    """HP-7.2-5: the numbers begin again, and so does the cursor."""
    accept = {"cursor": Cursor("e2", 0, 0), "resumed": False}
    async with setting.live(accept, cursor=Cursor(EPOCH, 3, 3)) as (client, peer):
        assert await setting.events.next(Reset) == Reset(EPOCH, "e2")
        await peer.push(1)
        assert await read(client.messages(), 1) == [1]
        assert client.cursor == Cursor("e2", 0, 0)


async def test_a_conversation_that_is_reset_is_told(setting: Setting) -> None:
    """HP-7.5-1: between the messages, to a reader of events and to ``on_event``; then it is
    acknowledged as a message is, and after a reconnect the client goes on behind it."""
    async with setting.live() as (client, peer):
        await peer.push(1, 2)
        await peer.send(reset(3, 40))
        messages = client.messages()
        assert await read(messages, 2) == [1, 2]
        await setting.settled(peer)
        assert not any(isinstance(event, ConversationReset) for event in setting.events.passed)
        waiting = asyncio.create_task(read(messages, 1))
        assert await setting.events.next(ConversationReset) == ConversationReset("bob", 40)
        assert client.cursor == Cursor(EPOCH, 1003, 3)
        assert await peer.acked(3)
        peer.cut()
        peer = await setting.server.peer()
        assert (await peer.accept()).cursor == Cursor(EPOCH, 1003, 3)
        await peer.push(4)
        assert await waiting == [4]


async def test_a_reset_needs_no_reader(setting: Setting) -> None:
    """HP-7.5-1: a program that only sends learns of it too, where no message waits before it; else
    it would be pushed anew on each connection."""
    async with setting.live() as (client, peer):
        await peer.send(reset(1, 40))
        assert await setting.events.next(ConversationReset) == ConversationReset("bob", 40)
        assert await peer.acked(1) == [1]
        assert client.cursor == Cursor(EPOCH, 1001, 1)


async def test_a_reset_out_of_order_is_not_read_over(setting: Setting) -> None:
    """G3, HP-7.5-1: its number counts as a message's does."""
    async with setting.live() as (_, peer):
        await peer.send(reset(2, 40))
        told = await setting.events.next(Disconnected)
        assert (told.reason, told.will_reconnect) == ("number 2 came where 1 was due", True)


async def test_a_cancelled_read_loses_nothing(setting: Setting) -> None:
    """A read under a timeout can be given up and begun again, in any iterator of the client."""
    async with setting.live() as (client, peer):
        for _ in range(3):
            reading = asyncio.ensure_future(anext(client.messages()))
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        await peer.push(1, 2)
        assert await read(client.messages(), 2) == [1, 2]


async def test_a_read_cancelled_as_its_message_comes_loses_nothing(setting: Setting) -> None:
    """The message was there, the reader woken, and then cancelled before it ran: by an event of the
    same read, whose turn was before the reader's."""
    readings: list[asyncio.Future[Message]] = []

    def cancel(event: Event) -> None:
        if isinstance(event, TokenExpiring):
            readings[0].cancel()

    async with setting.live(on_event=cancel) as (client, peer):
        reading = asyncio.ensure_future(anext(client.messages()))
        readings.append(reading)
        await asyncio.sleep(0)
        peer.send_together(frames.Expiring(1), push(1))
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await read(client.messages(), 1) == [1]


async def test_two_readers_are_a_mistake(setting: Setting) -> None:
    """Each would see holes; the second one is told."""
    async with setting.live() as (client, _):
        reading = asyncio.ensure_future(anext(client.messages()))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(client.messages())
        reading.cancel()


async def test_reading_stops_when_the_caller_closes(setting: Setting) -> None:
    """A reader in another task ends by itself, without an error."""

    async def read_all() -> list[int]:
        return [int(message.text) async for message in client.messages()]

    async with setting.live() as (client, peer):
        reading = asyncio.create_task(read_all())
        await peer.push(1)
        await setting.settled(peer)
    assert await reading == [1]


async def test_reading_ends_with_the_reason_of_the_server(setting: Setting) -> None:
    """HP-8.2-2: what had come is read first, then the reader is told."""
    async with setting.live() as (client, peer):
        await peer.push(1, 2)
        await peer.ws.close(4503)
        told = await setting.events.next(Disconnected)
        assert (told.code, told.will_reconnect, told.retry_in) == (4503, False, None)
        assert await read(client.messages(), 2) == [1, 2]
        with pytest.raises(ClientClosed) as caught:
            await anext(client.messages())
        assert caught.value.code == 4503
    assert setting.server.peers.empty()


def saved(file: CursorFile) -> Cursor:
    """What is in the file."""
    position = file.load()
    assert position is not None
    return position.cursor


async def test_the_cursor_file_goes_on(setting: Setting, tmp_path: Path) -> None:
    """G3: the next process starts where this one acknowledged; one write at the close is enough."""
    file = CursorFile(tmp_path / "cursor")
    async with setting.live(cursor=file) as (client, peer):
        await peer.push(1, 3)
        assert await read(client.messages(), 3) == [1, 2, 3]
        assert saved(file) == Cursor(EPOCH, 0, 0), "coalesced: no more within the first second"
    assert saved(file) == Cursor(EPOCH, 1002, 2)
    accepting = asyncio.create_task(setting.server.peer())
    async with asyncio.TaskGroup() as tasks:
        entering = tasks.create_task(setting.client(cursor=file).__aenter__())
        connect = await (await accepting).accept()
        client = await entering
        await client.close()
    assert connect.cursor == Cursor(EPOCH, 1002, 2)


async def test_a_damaged_cursor_file_stops_the_start(setting: Setting, tmp_path: Path) -> None:
    """Said before anything is connected."""
    (tmp_path / "cursor").write_text("garbage")
    with pytest.raises(CursorFileDamaged):
        setting.client(cursor=CursorFile(tmp_path / "cursor"))


async def test_unknown_frames_are_ignored(setting: Setting) -> None:
    """HP-4.4-2: a newer server may say more."""
    async with setting.live() as (client, peer):
        await peer.ws.send(b"\x92\x7f\x01")
        await peer.push(1)
        assert await read(client.messages(), 1) == [1]


@pytest.mark.parametrize("garbage", [b"\xc1", b"\x92\x11\x01", "text"])
async def test_garbage_ends_the_connection_only(setting: Setting, garbage: bytes | str) -> None:
    """HP-4.2-5: a faulty server costs a reconnect, not the program."""
    async with setting.live() as (client, peer):
        await peer.ws.send(garbage)
        assert (await setting.events.next(Disconnected)).will_reconnect
        peer = await setting.server.peer()
        await peer.accept()
        await peer.push(1)
        assert await read(client.messages(), 1) == [1]


async def test_a_fragmented_message_is_one_frame(setting: Setting) -> None:
    """RFC 6455 section 5.4: something in between may have split it."""
    async with setting.live() as (client, peer):
        whole = frames.Push(1, 1, 1, frames.Message(b"i" * 16, "bob", USER, 1, "text", b"x" * 500))
        data = encode(whole)
        await peer.ws.send([data[:1], data[1:300], data[300:]])
        assert (await anext(client.messages())).body == b"x" * 500
