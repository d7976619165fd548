"""Arguments that make no sense, against a scripted server that must never hear of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from math import inf, nan
from typing import Any

import pytest
from homeport import Client, Conversation, Group, Message, MessageRef, frames
from homeport.client import checks
from homeport.client.message import Sent

from tests.protocol.client.conftest import Setting

GROUP = "0f" * 16
Call = Callable[[Client, Any], Awaitable[object]]


LISTS: dict[str, Call] = {
    "create_group": lambda c, users: c.create_group("Team", users),
    "add": lambda c, users: c.group(GROUP).add(users),
    "remove": lambda c, users: c.group(GROUP).remove(users),
    "presence": lambda c, users: c.presence(users),
    "watch_presence": lambda c, users: c.watch_presence(users),
    "unwatch_presence": lambda c, users: c.unwatch_presence(users),
    "send": lambda c, users: c.send("bob", "hi", mentions=users),
    "room.set": lambda c, users: c.room("lobby").set("admins", admins=users),
}


@pytest.fixture
async def client(setting: Setting) -> AsyncIterator[Client]:
    """A client that may send nothing."""
    async with setting.live() as (connected, peer):
        yield connected
        await connected.close()
        assert await peer.closed() == 1000


@pytest.mark.parametrize(
    "users", ["bob", "", b"bob", bytearray(b"bob"), 5, None, [5], [b"bob"], ["bob", None]]
)
@pytest.mark.parametrize("name", LISTS)
async def test_what_is_no_list_of_users(client: Client, name: str, users: Any) -> None:
    """A str is an iterable of str: users called `b` and `o` were added to the group."""
    with pytest.raises(TypeError, match=r"users|members|mentions|admins"):
        await LISTS[name](client, users)


@pytest.mark.parametrize("users", [["bob"], ("bob", "bob"), {"bob"}, {"bob": 1}, iter(["bob"])])
def test_a_list_of_users(users: Any) -> None:
    """Any iterable is one; each user counts once."""
    assert checks.user_ids("users", users) == ["bob"]


SENT = Sent("bob", 7, "6d" * 16, 1)
TEXTS: dict[str, Call] = {
    "send to": lambda c, value: c.send(value, "hi"),
    "send body": lambda c, value: c.send("bob", value),
    "send kind": lambda c, value: c.send("bob", "hi", kind=value),
    "send client_id": lambda c, value: c.send("bob", "hi", client_id=value),
    "block": lambda c, value: c.block(value),
    "unblock": lambda c, value: c.unblock(value),
    "room": lambda c, value: _async(lambda: c.room(value)),
    "conversation": lambda c, value: _async(lambda: c.conversation(value)),
    "signal kind": lambda c, value: _async(lambda: c.conversation("bob").signal(value)),
    "signal body": lambda c, value: _async(lambda: c.conversation("bob").signal("call", value)),
    "create_group": lambda c, value: c.create_group(value),
    "group": lambda c, value: _async(lambda: c.group(value)),
    "rename": lambda c, value: c.group(GROUP).rename(value),
    "set_role": lambda c, value: c.group(GROUP).set_role(value, "admin"),
    "mute": lambda c, value: c.group(GROUP).mute(value),
    "unmute": lambda c, value: c.group(GROUP).unmute(value),
    "set_presence": lambda c, value: c.set_presence("online", status=value),
    "edit": lambda c, value: c.edit(SENT, value),
}


async def _async(call: Callable[[], object]) -> None:
    call()


@pytest.mark.parametrize("name", TEXTS)
async def test_what_is_no_text(client: Client, name: str) -> None:
    """A number, an object of the SDK, or what a shell made of bytes that are not UTF-8."""
    with pytest.raises(TypeError):
        await TEXTS[name](client, 5)
    with pytest.raises(TypeError):
        await TEXTS[name](client, SENT)
    with pytest.raises(ValueError, match="surrogate"):
        await TEXTS[name](client, "caf\udce9")


async def _history(client: Client, **options: Any) -> None:
    client.conversation("bob").history(**options)


NOTICE = Message("6d" * 16, "", "alice", "", 3, 1, "homeport.recall", b"", own=False)
TRANSIENT = Message("6d" * 16, "bob", "alice", "bob", 0, 1, "text", b"", own=False)
OTHERS = MessageRef("carol", 7)
WRONG: dict[str, tuple[type[Exception], Callable[[Client], Awaitable[object]]]] = {
    "write": (ValueError, lambda c: c.room("lobby").set("nobody")),  # type: ignore[arg-type]
    "role": (ValueError, lambda c: c.group(GROUP).set_role("bob", "boss")),  # type: ignore[arg-type]
    "state": (ValueError, lambda c: c.set_presence("busy")),  # type: ignore[arg-type]
    "reply": (TypeError, lambda c: c.send("bob", "hi", reply=b"r" * 16)),  # type: ignore[arg-type]
    "an id as reply": (TypeError, lambda c: c.send("bob", "hi", reply="0f" * 16)),  # type: ignore[arg-type]
    "reply to others": (ValueError, lambda c: c.send("bob", "hi", reply=OTHERS)),
    "reply to a transient": (ValueError, lambda c: c.send("bob", "hi", reply=TRANSIENT)),
    "ttl": (TypeError, lambda c: c.send("bob", "hi", ttl="5")),  # type: ignore[arg-type]
    "expires": (TypeError, lambda c: c.watch_presence(["bob"], expires="5")),  # type: ignore[arg-type]
    "limit": (TypeError, lambda c: _history(c, limit="5")),
    "before": (TypeError, lambda c: _history(c, before="5")),
    "after": (ValueError, lambda c: _history(c, after=OTHERS)),
    "both": (ValueError, lambda c: _history(c, before=0, after=0)),
    "upto": (ValueError, lambda c: c.conversation("bob").delete_history(upto=OTHERS)),
    "how many conversations": (TypeError, lambda c: _async(lambda: c.conversations(limit="5"))),  # type: ignore[arg-type]
    "recall of a notice": (ValueError, lambda c: c.recall(NOTICE)),
    "reached of a notice": (ValueError, lambda c: c.reached(NOTICE)),
    "edit of a transient": (ValueError, lambda c: c.edit(TRANSIENT, "hi")),
    "mark_read of a transient": (ValueError, lambda c: _async(lambda: c.mark_read(TRANSIENT))),
    "recall": (TypeError, lambda c: c.recall("00" * 16)),  # type: ignore[arg-type]
    "reached": (TypeError, lambda c: c.reached("00" * 16)),  # type: ignore[arg-type]
    "ack": (TypeError, lambda c: _async(lambda: c.ack(5))),  # type: ignore[arg-type]
    "mark_read": (TypeError, lambda c: _async(lambda: c.mark_read(5))),  # type: ignore[arg-type]
    "timeout": (TypeError, lambda c: c.unread(timeout="5")),  # type: ignore[arg-type]
    "negative timeout": (ValueError, lambda c: c.unread(timeout=-1)),
    "nan": (ValueError, lambda c: c.unread(timeout=nan)),  # it never came
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_makes_no_sense_elsewhere(client: Client, name: str) -> None:
    """Each is said by what is wrong, and nothing is sent."""
    kind, call = WRONG[name]
    with pytest.raises(kind):
        await call(client)


async def test_a_room_is_used_in_its_block(setting: Setting) -> None:
    """Outside of it, its methods waited for a seat that nobody asked for."""
    async with setting.live() as (client, peer):
        room = client.room("lobby")
        with pytest.raises(RuntimeError, match="async with"):
            await room.send("hi")
        with pytest.raises(RuntimeError, match="async with"):
            await anext(room)
        entering = asyncio.create_task(room.__aenter__())
        asked = await peer.expect(frames.RoomJoin)
        await peer.done(asked, frames.RoomJoined("r1", 0, 1))
        await entering
        for wrong, error in ((5, TypeError), ("caf\udce9", ValueError)):
            with pytest.raises(error):
                await room.send(wrong)  # type: ignore[arg-type]
            with pytest.raises(error):
                await room.send("hi", kind=wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="timeout"):
            await room.send("hi", timeout=nan)
        with pytest.raises(RuntimeError, match="entered once"):
            await room.__aenter__()
        leaving = asyncio.create_task(room.__aexit__(None, None, None))
        await peer.done(await peer.expect(frames.RoomLeave))
        await leaving
        with pytest.raises(RuntimeError, match="entered once"):
            await room.__aenter__()


def test_times_to_wait() -> None:
    """Any number of seconds from 0 on, and none."""
    for value in (0, 0.5, 30, inf, None):
        checks.seconds("timeout", value)


IDS: dict[str, Call] = {
    "send": lambda c, id: c.send(id, "hi"),
    "conversation": lambda c, id: _async(lambda: c.conversation(id)),
    "group": lambda c, id: _async(lambda: c.group(id)),
    "room": lambda c, id: _async(lambda: c.room(id)),
    "block": lambda c, id: c.block(id),
    "unblock": lambda c, id: c.unblock(id),
    "set_role": lambda c, id: c.group(GROUP).set_role(id, "admin"),
    "mute": lambda c, id: c.group(GROUP).mute(id),
}


@pytest.mark.parametrize("id", ["", "a b", "r:lobby", "g:", f"g:{'0F' * 16}", f"g:{'0' * 31}", "é"])
@pytest.mark.parametrize("name", [*IDS, *LISTS])
async def test_what_is_no_id(client: Client, name: str, id: str) -> None:
    """HP-3.1, HP-3.5: the server would refuse a typing error, or close the connection at it; the
    caller hears of it before anything is sent."""
    with pytest.raises(ValueError, match="must be"):
        await (IDS[name](client, id) if name in IDS else LISTS[name](client, ["bob", id]))


async def test_a_conversation_of_a_group_is_the_group(client: Client) -> None:
    """HP-3.5: `Message.peer` leads to either; and to what a group can do."""
    group = client.conversation(f"g:{GROUP}")
    assert isinstance(group, Group)
    assert (group.id, group.peer) == (GROUP, client.group(GROUP).peer)
    assert type(client.conversation("bob")) is Conversation
