"""What tests of groups share: asking about a group, sending to it, reading what came."""

from __future__ import annotations

from typing import Any

import msgspec

from protocol import codes, frames
from protocol.frames import GroupNotice
from tests.harness import RawClient

FRAMES = {
    "create": frames.GroupCreate,
    "rename": frames.GroupRename,
    "delete": frames.GroupDelete,
    "add": frames.GroupAdd,
    "remove": frames.GroupRemove,
    "leave": frames.GroupLeave,
    "role": frames.GroupRole,
    "mute": frames.GroupMute,
    "get": frames.GroupGet,
    "list": frames.GroupList,
}


async def ask(client: RawClient, what: str, *fields: Any) -> frames.Ok | frames.Error:
    """Ask about a group and return the answer; frames before it are kept for `read`."""
    request_id = client.request_id()
    await client.send(FRAMES[what](request_id, *fields))
    while True:
        frame = await client.receive()
        if isinstance(frame, frames.Ok | frames.Error) and frame.id == request_id:
            return frame
        _seen(client).append(frame)


async def done(client: RawClient, what: str, *fields: Any) -> frames.Result:
    """As `ask`, of what must be answered with ok."""
    answer = await ask(client, what, *fields)
    assert isinstance(answer, frames.Ok), answer
    return answer.result


async def refused(client: RawClient, what: str, *fields: Any) -> str:
    """As `ask`, of what must be refused; returns the name of the code."""
    answer = await ask(client, what, *fields)
    assert isinstance(answer, frames.Error), answer
    return codes.ERRORS[answer.code].name


async def said(client: RawClient, group: str, text: str, client_id: str | None = None) -> str:
    """Send a text to a group; "ok", or the name of the code it was refused with."""
    request_id = client.request_id()
    name = client_id or f"c{request_id}"
    await client.send(frames.Send(request_id, name, f"g:{group}", "text", text.encode()))
    while True:
        frame = await client.receive()
        if isinstance(frame, frames.Ok):
            return "ok"
        if isinstance(frame, frames.Error):
            assert frame.id == request_id
            return codes.ERRORS[frame.code].name
        _seen(client).append(frame)


def _seen(client: RawClient) -> list[frames.ServerFrame]:
    seen: list[frames.ServerFrame] = client.__dict__.setdefault("seen", [])
    return seen


async def read(client: RawClient) -> list[str]:
    """Every push so far, shortly: a text, or a notice as "change by users name role muted"."""
    await client.send(frames.Send(999, f"mark{client.request_id()}", "nobody", "text", b"mark"))
    found: list[str] = []
    numbers: list[int] = []
    seen = _seen(client)
    while True:
        frame = seen.pop(0) if seen else await client.receive()
        if not isinstance(frame, frames.Push):
            continue
        numbers.append(frame.seq)
        message = frame.message
        if message.body == b"mark":
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))  # G3
            return found
        if message.kind == "homeport.group":
            assert message.sender == ""
            note = msgspec.msgpack.decode(message.body, type=GroupNotice)
            words = [note.change, note.by, *note.users, note.name, note.role, note.muted]
            found.append(" ".join(str(word) for word in words if word is not None))
        else:
            found.append(message.body.decode())


async def created(client: RawClient, *members: str, name: str = "team") -> str:
    """Make a group and return its id."""
    result = await done(client, "create", f"c-{name}", name, list(members))
    assert result.id is not None
    return result.id.hex()
