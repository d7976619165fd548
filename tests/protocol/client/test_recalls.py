"""Mirrors protocol/homeport/client/recalls.py: recall and edit."""

from __future__ import annotations

import asyncio

import pytest
from homeport import Message, RequestRefused, Sent, codes, frames
from homeport.frames import Edit, Recall

from tests.protocol.client.conftest import Setting

ID = bytes(range(16))


async def test_what_was_sent_is_recalled_and_edited(setting: Setting) -> None:
    """HP-13.4-1: by what a send returns, after a reconnect with the same request again."""
    async with setting.live() as (client, peer):
        recalling = asyncio.create_task(client.recall(Sent(ID.hex(), 900, "g:team")))
        asked = await peer.expect(Recall)
        assert asked == Recall(asked.id, "g:team", ID, 900)
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept()
        again = await peer.expect(Recall)
        assert again == Recall(again.id, "g:team", ID, 900)
        await peer.done(again)
        await recalling
        editing = asyncio.create_task(client.edit(Sent(ID.hex(), 900, "bob"), "né"))
        edit = await peer.expect(Edit)
        assert edit == Edit(edit.id, "bob", ID, 900, "né".encode())
        await peer.send(frames.Error(edit.id, codes.EDIT_LIMIT.number, "no"))
        with pytest.raises(RequestRefused) as caught:
            await editing
        assert caught.value.name == "edit_limit"


@pytest.mark.parametrize(
    ("sender", "to", "user", "expected"),
    [
        ("alice", "bob", "alice", "bob"),
        ("bob", "alice", "alice", "bob"),
        ("alice", "alice", "alice", "alice"),
        ("bob", "g:team", "alice", "g:team"),
    ],
)
async def test_a_message_names_its_conversation(
    setting: Setting, sender: str, to: str, user: str, expected: str
) -> None:
    """HP-13.4-4: one's own, another's in a group (for its admins), and one to oneself."""
    async with setting.live() as (client, peer):
        inner = frames.Message(ID, sender, to, 900, "text", b"x")
        recalling = asyncio.create_task(client.recall(Message.of(inner, user, 1, 1)))
        asked = await peer.expect(Recall)
        assert (asked.peer, asked.message, asked.time) == (expected, ID, 900)
        await peer.done(asked)
        await recalling
