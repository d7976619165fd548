"""The client's rooms and signals, against a scripted server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from homeport import (
    Client,
    ClientClosed,
    Disconnected,
    RequestRefused,
    Room,
    RoomGap,
    SendTimeout,
    Sent,
    Signal,
    Unauthorized,
    frames,
)
from homeport.client.rooms import BUFFER
from homeport.frames import Message, RoomJoin, RoomLeave, RoomPush, RoomSend, RoomSet, RoomState

from tests.protocol.client.conftest import Setting
from tests.protocol.client.server import MESSAGE_ID, Peer, ok


def push(seq: int, priority: int = 1, room: str = "lobby") -> RoomPush:
    """Number `seq` of a room, whose body is the number."""
    id = seq.to_bytes(16, "big")
    return RoomPush(seq, priority, Message(id, "bob", f"r:{room}", 5, "text", str(seq).encode()))


async def let_in(
    peer: Peer, *then: frames.ServerFrame, epoch: str = "r1", seq: int = 0, members: int = 1
) -> RoomJoin:
    """Read a join and accept it; `then` comes in the same turn."""
    asked = await peer.expect(RoomJoin)
    await peer.send(ok(asked, frames.RoomJoined(epoch, seq, members)), *then)
    return asked


@asynccontextmanager
async def in_room(
    client: Client, peer: Peer, *then: frames.ServerFrame, last: int = 10, **result: Any
) -> AsyncIterator[Room]:
    """A room that the server lets in; the client's end is its end."""
    letting = asyncio.create_task(let_in(peer, *then, **result))
    room = client.room("lobby", last=last)
    await room.__aenter__()
    await letting
    yield room


async def numbers(room: Room, count: int) -> list[int]:
    """The next messages' numbers."""
    return [(await anext(room)).seq for _ in range(count)]


async def test_a_room_is_joined_read_and_left(setting: Setting) -> None:
    """HP-15.1-2, HP-15.1-4: what comes in the same read as the answer is not lost."""
    async with setting.live() as (client, peer):
        answering = asyncio.create_task(
            let_in(peer, push(5, 2), push(6, 0), RoomState("lobby", 6, 9), seq=4, members=3)
        )
        async with client.room("lobby", last=2) as room:
            assert await answering == RoomJoin(1 + 1, "lobby", 2, "", 0)
            message = await anext(room)
            assert (message.seq, message.text, message.priority) == (5, "5", "high")
            assert (message.sender, message.room, message.time) == ("bob", "lobby", 5)
            assert "5" not in repr(message).replace("seq=5", "").replace(message.id, "")
            assert (await anext(room)).priority == "low"
            await setting.settled(peer)
            assert room.size == 9

            async def leaving() -> None:
                left = await peer.expect(RoomLeave)
                await peer.send(push(7), ok(left))

            answering_leave = asyncio.create_task(leaving())
        await answering_leave
        with pytest.raises(StopAsyncIteration):
            await anext(room)


async def test_sending_to_a_room(setting: Setting) -> None:
    """HP-15.2-1: with a priority; done when the server has said so."""
    async with setting.live() as (client, peer), in_room(client, peer) as room:
        sending = asyncio.create_task(room.send("hi", priority="low", client_id="c1"))
        asked = await peer.expect(RoomSend)
        assert asked == RoomSend(asked.id, "c1", "r:lobby", "text", b"hi", 0)
        assert not sending.done()
        await peer.ok(asked, time=7)
        assert await sending == Sent("r:lobby", 0, MESSAGE_ID, 7)
        with pytest.raises(ValueError, match="priority"):
            await room.send("hi", priority="urgent")  # type: ignore[arg-type]
        sending = asyncio.create_task(room.send(b"\xff"))
        asked = await peer.expect(RoomSend)
        assert (asked.kind, asked.priority) == ("binary", 1)
        await peer.send(frames.Error(asked.id, 181, "read only"))
        with pytest.raises(Unauthorized, match="room_read_only"):
            await sending


async def test_a_hole_is_told(setting: Setting) -> None:
    """HP-15.6-4: by a push, and by the room's state; what is repeated is dropped."""
    async with setting.live() as (client, peer), in_room(client, peer) as room:
        await peer.send(push(1), push(4), push(4), push(2), push(5))
        assert await numbers(room, 3) == [1, 4, 5]
        assert await setting.events.next(RoomGap) == RoomGap("lobby", 2)
        await peer.send(RoomState("lobby", 5, 3), RoomState("lobby", 9, 3), push(8), push(10))
        assert await setting.events.next(RoomGap) == RoomGap("lobby", 4)
        assert await numbers(room, 1) == [10]


async def test_a_reader_who_does_not_read_is_told_too(setting: Setting) -> None:
    """HP-15.6-4: the client holds a thousand; the oldest go."""
    async with setting.live() as (client, peer), in_room(client, peer) as room:
        await peer.send(*(push(seq) for seq in range(1, BUFFER + 3)))
        for _ in range(2):
            assert await setting.events.next(RoomGap) == RoomGap("lobby", 1)
        await setting.settled(peer)
        assert await numbers(room, BUFFER) == list(range(3, BUFFER + 3))


async def test_a_room_is_joined_again_after_a_cut(setting: Setting) -> None:
    """HP-15.1-6, HP-15.3-2, HP-15.6-4: from where it was; the gap is told."""
    async with setting.live() as (client, peer), in_room(client, peer, push(1), push(2)) as room:
        assert await numbers(room, 2) == [1, 2]
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept()
        asked = await let_in(peer, push(8), seq=7, members=5)
        assert asked == RoomJoin(asked.id, "lobby", 200, "r1", 2)
        assert await setting.events.next(RoomGap) == RoomGap("lobby", 5)
        assert await numbers(room, 1) == [8]
        assert room.size == 5


async def test_a_numbering_that_began_anew_is_told(setting: Setting) -> None:
    """HP-15.6-4: nobody knows how many were missed."""
    async with setting.live() as (client, peer), in_room(client, peer, push(1), push(2)) as room:
        assert await numbers(room, 2) == [1, 2]
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept()
        await let_in(peer, push(1), epoch="r2")
        assert await setting.events.next(RoomGap) == RoomGap("lobby", None)
        assert await numbers(room, 1) == [1]


async def test_a_send_waits_until_the_room_is_joined_again(setting: Setting) -> None:
    """HP-15.1-6: so that it is not refused after a long time away."""
    async with setting.live() as (client, peer), in_room(client, peer) as room:
        peer.cut()
        await setting.events.next(Disconnected)
        sending = asyncio.create_task(room.send("hi"))
        peer = await setting.server.peer()
        await peer.accept()
        await let_in(peer)
        asked = await peer.expect(RoomSend)
        await peer.ok(asked, time=7)
        await sending


async def test_a_send_that_overtakes_the_join_is_sent_again(setting: Setting) -> None:
    """HP-15.1-6: one that was under way when the connection was lost, with the same name."""
    async with setting.live() as (client, peer), in_room(client, peer) as room:
        sending = asyncio.create_task(room.send("hi", client_id="c1"))
        await peer.expect(RoomSend)
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept()
        early = await peer.expect(RoomSend)
        await peer.send(frames.Error(early.id, 180, "not in the room"))
        await let_in(peer)
        again = await peer.expect(RoomSend)
        assert again.client_id == early.client_id == "c1"
        await peer.ok(again, time=7)
        await sending


async def test_a_refused_join_raises(setting: Setting) -> None:
    """The first one where it was asked for; a later one where the room is read."""
    async with setting.live() as (client, peer):
        entering = asyncio.create_task(client.room("lobby").__aenter__())
        asked = await peer.expect(RoomJoin)
        await peer.send(frames.Error(asked.id, 183, "too many"))
        with pytest.raises(RequestRefused, match="too_many_rooms"):
            await entering
        async with in_room(client, peer) as room:
            peer.cut()
            peer = await setting.server.peer()
            await peer.accept()
            asked = await peer.expect(RoomJoin)
            await peer.send(frames.Error(asked.id, 183, "too many"))
            with pytest.raises(RequestRefused, match="too_many_rooms"):
                await anext(room)
            with pytest.raises(RequestRefused, match="too_many_rooms"):
                await room.send("hi")


async def test_a_send_without_a_room_runs_out_of_time(setting: Setting) -> None:
    """The outcome is unknown, and said so with the name to send it again by."""
    async with setting.live() as (client, peer), in_room(client, peer) as room:
        sending = asyncio.create_task(room.send("hi", client_id="c9", timeout=0.01))
        await peer.expect(RoomSend)
        with pytest.raises(SendTimeout) as caught:
            await sending
        assert caught.value.client_id == "c9"


async def test_the_end_of_the_client_ends_its_rooms(setting: Setting) -> None:
    """By the server: an error. By the caller: the iteration stops."""
    async with setting.live() as (client, peer), in_room(client, peer, push(1)) as room:
        await peer.ws.close(4504)
        assert await numbers(room, 1) == [1]
        with pytest.raises(ClientClosed):
            await anext(room)
    async with setting.live() as (client, peer), in_room(client, peer) as room:
        reading = asyncio.create_task(anext(room))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already waiting"):
            await anext(room)
        await client.close()
        with pytest.raises(StopAsyncIteration):
            await reading


@pytest.mark.parametrize(
    ("room", "last", "says"),
    [("a b", 10, "id"), ("r:a", 10, "id"), ("a", -1, "last"), ("a", 201, "last")],
)
async def test_arguments_that_make_no_sense(
    setting: Setting, room: str, last: int, says: str
) -> None:
    """HP-15.1-1, HP-15.3-1: before anything is sent."""
    client = setting.client()
    with pytest.raises(ValueError, match=says):
        client.room(room, last=last)
    with pytest.raises(ValueError, match="4096"):
        client.conversation("bob").signal("call", bytes(4097))


async def test_a_client_is_in_a_room_once(setting: Setting) -> None:
    """Two readers of one room would each miss what the other got."""
    async with setting.live() as (client, peer), in_room(client, peer):
        with pytest.raises(RuntimeError, match="already"):
            await client.room("lobby").__aenter__()


async def test_setting_a_room(setting: Setting) -> None:
    """HP-15.4-1: creates it, or says who may write; nobody has to be in it."""
    async with setting.live() as (client, peer):
        asking = asyncio.create_task(client.room("news").set("admins", admins=["bob"]))
        asked = await peer.expect(RoomSet)
        assert asked == RoomSet(asked.id, "news", "admins", ("bob",))
        await peer.done(asked)
        await asking


async def test_signals(setting: Setting) -> None:
    """HP-16.1-1, HP-16.1-6: out once, or not at all; in as an event."""
    async with setting.live() as (client, peer):
        bob = client.conversation("bob")
        assert bob.signal("typing", "x")
        assert await peer.expect(frames.Signal) == frames.Signal("bob", "typing", b"x")
        await peer.send(frames.Signaled("bob", "alice", "call", b"y"))
        event = await setting.events.next(Signal)
        assert event == Signal("bob", "alice", "call", b"y")
        assert "bob" not in repr(event)
        peer.cut()
        await setting.events.next(Disconnected)
        assert not bob.signal("typing")
        peer = await setting.server.peer()
        await peer.accept()
        sending = asyncio.create_task(client.send("bob", "hi"))
        await peer.ok(await peer.expect(frames.Send))  # and no signal before it
        await sending


async def test_a_new_numbering_is_told_and_gone_on_with(setting: Setting) -> None:
    """HP-15.6-6, HP-15.6-4: numbers that were had come again, for other messages. An empty epoch
    says nothing."""
    async with setting.live() as (client, peer), in_room(client, peer, epoch="e1") as room:
        await peer.send(push(1), push(2), RoomState("lobby", 2, 3), push(3))
        await peer.send(RoomState("lobby", 1, 3, "e2"), push(2), push(3))
        assert await numbers(room, 5) == [1, 2, 3, 2, 3]
        assert await setting.events.next(RoomGap) == RoomGap("lobby", None)
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept()
        asked = await let_in(peer, push(4), epoch="e2", seq=3)
        assert (asked.epoch, asked.after) == ("e2", 3)
        assert await numbers(room, 1) == [4]


async def test_a_server_that_knows_less_gives_numbers_again(setting: Setting) -> None:
    """HP-15.3-4: its answer to a join is below what the client had, in the same epoch."""
    async with setting.live() as (client, peer), in_room(client, peer, epoch="e1") as room:
        await peer.send(push(1), push(2), push(3))
        assert await numbers(room, 3) == [1, 2, 3]
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept()
        await let_in(peer, push(2), epoch="e1", seq=1)
        assert await numbers(room, 1) == [2]
        assert await setting.events.next(RoomGap) == RoomGap("lobby", None)


async def test_numbers_that_mean_the_same_go_on_in_a_new_numbering(setting: Setting) -> None:
    """HP-15.6-6, HP-15.6-4: told in a state and in the answer to a join, the client knows how much
    it missed: number 4, and then 6 and 7. Where it had a number above those, it knows nothing."""
    async with setting.live() as (client, peer), in_room(client, peer, epoch="e1") as room:
        await peer.send(push(1), push(2), push(3), RoomState("lobby", 4, 1, "e2", 3), push(5))
        assert await numbers(room, 4) == [1, 2, 3, 5]
        assert await setting.events.next(RoomGap) == RoomGap("lobby", 1)
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept()
        joining = asyncio.create_task(peer.expect(RoomJoin))
        asked = await joining
        assert (asked.epoch, asked.after) == ("e2", 5)
        await peer.send(ok(asked, frames.RoomJoined("e3", 7, 1, 7)), push(8))
        assert await numbers(room, 1) == [8]
        assert await setting.events.next(RoomGap) == RoomGap("lobby", 2)
        await peer.send(RoomState("lobby", 7, 1, "e4", 7), push(8))
        assert await numbers(room, 1) == [8]
        assert await setting.events.next(RoomGap) == RoomGap("lobby", None)
