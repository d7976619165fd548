"""Mirrors protocol/homeport/client/notices.py: what the server's own messages say."""

from __future__ import annotations

import pytest
from homeport import (
    EditNotice,
    GroupInvitation,
    GroupNotice,
    Message,
    RecallNotice,
    codec,
    frames,
)
from homeport.frames import Extra

ID = bytes(range(16))


def shown(kind: str, body: bytes, sender: str = "alice") -> Message:
    """What bob is shown."""
    return Message.of(frames.Message(ID, sender, "bob", 900, kind, body), "bob", 5)


def test_what_a_group_tells() -> None:
    """HP-11.3-1: only the server does; no user's message is taken for it."""
    note = GroupNotice(3, "alice", "added", ["bob"], "team")
    assert shown("homeport.group", codec.encode(note), "").notice == note
    assert shown("homeport.group", codec.encode(note), "mallory").notice is None


def test_what_an_invitation_tells() -> None:
    """HP-11.6-5: it is the inviting user's message, of a kind that no client can send."""
    asked = GroupInvitation("0123456789abcdef0123456789abcdef", "team", 1_700_000_000_000)
    message = shown("homeport.invitation", codec.encode(asked))
    assert (message.notice, message.sender, message.peer) == (asked, "alice", "alice")
    assert "team" not in repr(asked)


def test_what_a_recall_tells() -> None:
    """HP-13.4-2, HP-13.4-3: from the notice, and from what stands in the message's place."""
    note = frames.RecallNotice(ID, "alice", 4, "carol")
    told = RecallNotice(ID.hex(), "alice", 4, "carol")
    for sender in ("", "alice"):
        assert shown("homeport.recall", codec.encode(note), sender).notice == told
    assert shown("text", codec.encode(note)).notice is None


def test_what_an_edit_tells() -> None:
    """HP-13.4-2, HP-13.4-3: from the notice; the message itself counts its edits."""
    note = frames.EditNotice(ID, "alice", 4, 2, 950, b"new\xff")
    told = EditNotice(ID.hex(), "alice", 4, 2, 950, "new\ufffd")
    assert shown("homeport.edit", codec.encode(note), "").notice == told
    inner = frames.Message(ID, "alice", "bob", 900, "text", b"new", Extra(edits=2, edited=950))
    message = Message.of(inner, "bob", 5)
    assert (message.text, message.edits, message.edited) == ("new", 2, 950)
    assert (shown("text", b"x").edits, shown("text", b"x").edited) == (0, None)


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x80", b"\x91\x01", b"\xa3\xff\xff\xff"])
@pytest.mark.parametrize(
    "kind", ["homeport.group", "homeport.recall", "homeport.edit", "homeport.invitation"]
)
def test_a_notice_that_says_too_little_is_none(kind: str, body: bytes) -> None:
    """HP-4.2-5: a newer server, or a broken one, does not break the program."""
    assert shown(kind, body, "").notice is None
