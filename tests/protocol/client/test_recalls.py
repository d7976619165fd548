"""Mirrors protocol/homeport/client/recalls.py: recall and edit."""

from __future__ import annotations

import asyncio

import pytest
from homeport import MessageRef, RequestRefused, Sent, codes, frames
from homeport.frames import Edit, Recall

from tests.protocol.client.conftest import Setting

SENT = Sent(f"g:{'0f' * 16}", 12, "6d" * 16, 900)


async def test_what_was_sent_is_recalled_and_edited(setting: Setting) -> None:
    """HP-13.4-1: by what a send returns, or by conversation and number; after a reconnect with the
    same request again."""
    async with setting.live() as (client, peer):
        recalling = asyncio.create_task(client.recall(SENT))
        asked = await peer.expect(Recall)
        assert asked == Recall(asked.id, SENT.peer, 12)
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept()
        again = await peer.expect(Recall)
        assert again == Recall(again.id, SENT.peer, 12)
        await peer.done(again)
        await recalling
        editing = asyncio.create_task(client.edit(MessageRef("bob", 3), "né"))
        edit = await peer.expect(Edit)
        assert edit == Edit(edit.id, "bob", 3, "né".encode())
        await peer.send(frames.Error(edit.id, codes.EDIT_LIMIT.number, "no"))
        with pytest.raises(RequestRefused) as caught:
            await editing
        assert caught.value.name == "edit_limit"
