"""What tests of recall and edit share: asking for them, and reading what is told."""

from __future__ import annotations

from typing import Any

import msgspec
from homeport import codes, frames
from homeport.frames import EditNotice, Message, Options, RecallNotice
from homeport.frames.recalls import EDIT_KIND, RECALL_KIND

from tests.harness import RawClient

Sent = tuple[bytes, int]
"""A message's id and time."""


async def sent(client: RawClient, to: str, text: str, **options: Any) -> Sent:
    """Send a text, which must be accepted."""
    name = f"c{client.request_id()}-{client.connected.session}"
    accepted = await client.ask(frames.Send, name, to, "text", text.encode(), Options(**options))
    return accepted.id, accepted.time


async def recall(client: RawClient, peer: str, message: Sent) -> str:
    """Recall a message; "ok", or the name of the code it was refused with."""
    return _told(await client.answer(frames.Recall, peer, *message))


async def edit(client: RawClient, peer: str, message: Sent, text: str) -> str:
    """Edit a message; "ok", or the name of the code it was refused with."""
    return _told(await client.answer(frames.Edit, peer, *message, text.encode()))


def _told(answer: frames.Ok | frames.Error) -> str:
    return "ok" if isinstance(answer, frames.Ok) else codes.ERRORS[answer.code].name


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
        frame = await client.next((frames.Push, frames.Lost))
        assert isinstance(frame, frames.Push), frame
        found.append(frame)
    assert [push.seq for push in found] == list(range(found[0].seq, found[0].seq + count))
    return [shortly(push.message) for push in found]


async def history(client: RawClient, peer: str, limit: int = 50) -> list[str]:
    """The conversation's last messages, the newest first."""
    page = await client.ask(frames.History, peer, limit)
    return [shortly(entry.message) for entry in page.entries]
