"""Mirrors protocol/homeport/client/recalls.py: recall, edit, and what is told of them."""

from __future__ import annotations

import asyncio

import pytest
from homeport import (
    EditNotice,
    Message,
    RecallNotice,
    RequestRefused,
    Sent,
    codec,
    codes,
    edit_notice,
    frames,
    recall_notice,
)
from homeport.frames import Edit, Extra, Recall

from tests.protocol.client.conftest import Setting

ID = bytes(range(16))


def shown(kind: str, body: bytes, sender: str = "alice", to: str = "bob") -> Message:
    """What bob is shown."""
    return Message.of(frames.Message(ID, sender, to, 900, kind, body), "bob", 1, 1)


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


def test_what_a_recall_tells() -> None:
    """HP-13.4-2, HP-13.4-3: from the notice, and from what stands in the message's place."""
    note = frames.RecallNotice(ID, "alice", 900, "carol")
    told = RecallNotice(ID.hex(), "alice", 900, "carol")
    for sender in ("", "alice"):
        assert recall_notice(shown("homeport.recall", codec.encode(note), sender)) == told
    assert recall_notice(shown("text", codec.encode(note))) is None
    assert edit_notice(shown("homeport.recall", codec.encode(note))) is None


def test_what_an_edit_tells() -> None:
    """HP-13.4-2, HP-13.4-3: from the notice; the message itself counts its edits."""
    note = frames.EditNotice(ID, "alice", 900, 2, 950, b"new\xff")
    told = EditNotice(ID.hex(), "alice", 900, 2, 950, "new\ufffd")
    assert edit_notice(shown("homeport.edit", codec.encode(note), "")) == told
    assert recall_notice(shown("homeport.edit", codec.encode(note), "")) is None
    inner = frames.Message(ID, "alice", "bob", 900, "text", b"new", Extra(edits=2, edited=950))
    message = Message.of(inner, "bob", 1, 1)
    assert (message.text, message.edits, message.edited) == ("new", 2, 950)
    assert (shown("text", b"x").edits, shown("text", b"x").edited) == (0, None)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x80", b"\x91\x01", b"\xa3\xff\xff\xff"])
def test_a_notice_that_says_too_little_is_none(body: bytes) -> None:
    """HP-4.2-5: a newer server, or a broken one, does not break the program."""
    assert recall_notice(shown("homeport.recall", body, "")) is None
    assert edit_notice(shown("homeport.edit", body, "")) is None


def test_reprs_tell_no_names() -> None:
    """G7: a notice in a log does not say what was written, nor by whom."""
    for notice in (
        RecallNotice(ID.hex(), "alice", 900, "carol"),
        EditNotice(ID.hex(), "alice", 900, 2, 950, "secret"),
        Sent(ID.hex(), 900, "alice"),
    ):
        assert ID.hex() in repr(notice)
        assert not any(word in repr(notice) for word in ("alice", "carol", "secret"))
