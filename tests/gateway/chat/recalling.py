"""What tests of recall and edit share: asking for them, and reading what is told."""

from __future__ import annotations

from typing import Any

import msgspec
import redis
from homeport import codes, frames
from homeport.frames import EditNotice, Message, Options, RecallNotice
from homeport.frames.recalls import EDIT_KIND, RECALL_KIND

from gateway.store.stored import parse_message
from tests.harness import RawClient, RunningWorker

Sent = frames.Accepted
"""A message's id, time and number."""


async def sent(client: RawClient, to: str, text: str, **options: Any) -> Sent:
    """Send a text, which must be accepted."""
    name = f"c{client.request_id()}-{client.connected.session}"
    return await client.ask(frames.Send, name, to, "text", text.encode(), Options(**options))


async def recall(client: RawClient, peer: str, message: Sent) -> str:
    """Recall a message; "ok", or the name of the code it was refused with."""
    return _told(await client.answer(frames.Recall, peer, message.seq))


async def edit(client: RawClient, peer: str, message: Sent, text: str) -> str:
    """Edit a message; "ok", or the name of the code it was refused with."""
    return _told(await client.answer(frames.Edit, peer, message.seq, text.encode()))


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
    """What the next `count` numbers of the inbox say, which must follow each other (G3): a message
    as `shortly`, or "lost"."""
    found: list[str] = []
    first = 0
    while len(found) < count:
        frame = await client.next((frames.Push, frames.Lost, frames.Reset))
        assert isinstance(frame, frames.Push | frames.Lost), frame
        number = frame.first if isinstance(frame, frames.Lost) else frame.number
        first = first or number
        assert number == first + len(found)
        if isinstance(frame, frames.Lost):
            found += ["lost"] * (frame.last - frame.first + 1)
        else:
            found.append(shortly(frame.message))
    return found


async def history(client: RawClient, peer: str, limit: int = 50) -> list[str]:
    """What users said in the conversation's last `limit` messages, the newest first."""
    page = await client.ask(frames.History, peer, limit)
    return [shortly(entry.message) for entry in page.entries if entry.message.sender]


def stored(running: RunningWorker) -> dict[bytes, bytes]:
    """The sealed records of all conversations, by the id of their message."""
    with redis.Redis.from_url(running.redis_url) as client:
        found = [
            parse_message(int(seq), value)
            for key in client.scan_iter("hp:*:conv:*", count=1000, _type="hash")
            for seq, value in client.hgetall(key).items()
            if seq.isdigit()
        ]
    return {message.record[:16]: message.record for message in found if message.record}


def secret(running: RunningWorker, message: Sent) -> bytes:
    """The end of what is stored of a message: its ciphertext's and the tag, which no other has."""
    return stored(running)[message.id][-40:]
