"""What tests of recall and edit share: asking for them, and reading what is told."""

from __future__ import annotations

from typing import Any

import msgspec

from protocol import codes, frames
from protocol.frames import EditNotice, Message, Options, RecallNotice
from protocol.frames.recalls import EDIT_KIND, RECALL_KIND
from tests.harness import RawClient

Sent = tuple[bytes, int]
"""A message's id and time."""


async def sent(client: RawClient, to: str, text: str, **options: Any) -> Sent:
    """Send a text, which must be accepted."""
    id = client.request_id()
    frame = frames.Send(
        id, f"c{id}-{client.connected.session}", to, "text", text.encode(), Options(**options)
    )
    answer = await _answer(client, frame)
    assert isinstance(answer, frames.Ok), answer
    assert answer.result.id is not None
    assert answer.result.time is not None
    return answer.result.id, answer.result.time


async def recall(client: RawClient, peer: str, message: Sent) -> str:
    """Recall a message; "ok", or the name of the code it was refused with."""
    return await _asked(client, frames.Recall(client.request_id(), peer, *message))


async def edit(client: RawClient, peer: str, message: Sent, text: str) -> str:
    """Edit a message; "ok", or the name of the code it was refused with."""
    return await _asked(client, frames.Edit(client.request_id(), peer, *message, text.encode()))


async def _asked(client: RawClient, frame: frames.Recall | frames.Edit) -> str:
    answer = await _answer(client, frame)
    return "ok" if isinstance(answer, frames.Ok) else codes.ERRORS[answer.code].name


async def _answer(
    client: RawClient, frame: frames.Send | frames.Recall | frames.Edit | frames.History
) -> frames.Ok | frames.Error:
    """Frames before the answer are kept for `pushed`."""
    await client.send(frame)
    while True:
        answer = await client.receive()
        if isinstance(answer, frames.Ok | frames.Error) and answer.id == frame.id:
            return answer
        _kept(client).append(answer)


def _kept(client: RawClient) -> list[frames.ServerFrame]:
    kept: list[frames.ServerFrame] = client.__dict__.setdefault("kept", [])
    return kept


def shortly(message: Message) -> str:
    """A message as its text and edits; a tombstone or notice as what it says, "told" where it is
    a notice."""
    head = "" if message.sender else "told "
    if message.kind == RECALL_KIND:
        gone = msgspec.msgpack.decode(message.body, type=RecallNotice)
        assert gone.message == message.id or not message.sender
        assert gone.sender == message.sender or not message.sender
        return f"{head}recalled by {gone.by}"
    if message.kind == EDIT_KIND:
        new = msgspec.msgpack.decode(message.body, type=EditNotice)
        return f"{head}{new.body.decode()} {new.edits}"
    edits = message.extra.edits if message.extra is not None else 0
    return message.body.decode() + (f" {edits}" if edits else "")


async def pushed(client: RawClient, count: int) -> list[str]:
    """The next `count` pushes, whose numbers must follow each other (G3)."""
    found: list[frames.Push] = []
    while len(found) < count:
        frame = _kept(client).pop(0) if _kept(client) else await client.receive()
        assert not isinstance(frame, frames.Lost)
        if isinstance(frame, frames.Push):
            found.append(frame)
    assert [push.seq for push in found] == list(range(found[0].seq, found[0].seq + count))
    return [shortly(push.message) for push in found]


async def history(client: RawClient, peer: str, limit: int = 50) -> list[str]:
    """The conversation's last messages, the newest first."""
    answer = await _answer(client, frames.History(client.request_id(), peer, limit))
    assert isinstance(answer, frames.Ok), answer
    return [shortly(entry.message) for entry in answer.result.history or ()]
