"""What tests of groups share: asking about a group, sending to it, reading what came."""

from __future__ import annotations

from typing import Any

import msgspec
from homeport import codes, frames
from homeport.frames import GroupInvitation, GroupNotice

from tests.harness import RawClient

FRAMES: dict[str, type[frames.Request[Any]]] = {
    "create": frames.GroupCreate,
    "rename": frames.GroupRename,
    "delete": frames.GroupDelete,
    "add": frames.GroupAdd,
    "remove": frames.GroupRemove,
    "leave": frames.GroupLeave,
    "join": frames.GroupJoin,
    "role": frames.GroupRole,
    "mute": frames.GroupMute,
    "get": frames.GroupGet,
    "list": frames.GroupList,
}


async def ask(client: RawClient, what: str, *fields: Any) -> frames.Ok | frames.Error:
    """Ask about a group and return the answer."""
    return await client.answer(FRAMES[what], *fields)


async def done(client: RawClient, what: str, *fields: Any) -> Any:
    """As `ask`, of what must be answered with ok; returns what that says."""
    return await client.ask(FRAMES[what], *fields)


async def refused(client: RawClient, what: str, *fields: Any) -> str:
    """As `ask`, of what must be refused; returns the name of the code."""
    return (await client.refused(FRAMES[what], *fields)).name


async def said(client: RawClient, group: str, text: str, client_id: str | None = None) -> str:
    """Send a text to a group; "ok", or the name of the code it was refused with."""
    answer = await client.say(f"g:{group}", text, client_id)
    return "ok" if isinstance(answer, frames.Ok) else codes.ERRORS[answer.code].name


async def read(client: RawClient) -> list[str]:
    """Every push so far, shortly: a text, a notice as "change by users name role muted invited",
    an invitation as "invitation by user name"."""
    await client.send(frames.Send(999, f"mark{client.request_id()}", "nobody", "text", b"mark"))
    found: list[str] = []
    numbers: list[int] = []
    while True:
        frame = await client.next(frames.Push)
        numbers.append(frame.number)
        message = frame.message
        if message.body == b"mark":
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))  # G3
            return found
        if message.kind == "homeport.group":
            assert message.sender == ""
            note = msgspec.msgpack.decode(message.body, type=GroupNotice)
            words = [note.change, note.by, *note.users, note.name, note.role, note.muted]
            words += ["invited", *note.invited] if note.invited else []
            found.append(" ".join(str(word) for word in words if word is not None))
        elif message.kind == "homeport.invitation":
            asked = msgspec.msgpack.decode(message.body, type=GroupInvitation)
            found.append(f"invitation {message.sender} {message.to} {asked.name}")
        else:
            found.append(message.body.decode())


async def created(client: RawClient, *members: str, name: str = "team") -> str:
    """Make a group and return its id."""
    made = await client.ask(frames.GroupCreate, f"c-{name}", name, list(members))
    return made.id
