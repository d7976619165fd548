"""What tests of rooms do as a client."""

from __future__ import annotations

import os
from typing import Any

from homeport import frames
from homeport.frames import RoomJoin, RoomPush, RoomSend, RoomState

from tests.harness import (
    RawClient,
)

TWO_MINUTES = 120.0


async def join(client: RawClient, room: str = "lobby", **fields: Any) -> frames.RoomJoined:
    """Take a seat."""
    return await client.ask(RoomJoin, room, **fields)


async def write(
    client: RawClient, text: str, room: str = "lobby", priority: int = 1, name: str | None = None
) -> frames.Ok | frames.Error:
    """Send to a room and return the answer."""
    name = name or os.urandom(8).hex()
    return await client.answer(RoomSend, name, f"r:{room}", "text", text.encode(), priority)


async def pushed(client: RawClient, count: int = 1) -> list[tuple[int, str]]:
    """The next room pushes as (seq, text)."""
    found = [await client.next(RoomPush) for _ in range(count)]
    return [(push.seq, push.message.body.decode()) for push in found]


def code(answer: frames.Ok | frames.Error) -> int:
    """The code of a refusal."""
    assert isinstance(answer, frames.Error), answer
    return answer.code


def stands(state: RoomState) -> tuple[int, int]:
    """How far the room is past, and its members."""
    return state.seq, state.members
