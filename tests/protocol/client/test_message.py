"""What a message's body is as a text."""

from __future__ import annotations

import pytest
from homeport import Message, MessageRef, RoomMessage, Sent, codec, frames
from homeport.client.message import named, numbered
from hypothesis import example, given
from hypothesis import strategies as st


def both(kind: str, body: bytes, sender: str = "bob") -> tuple[Message, RoomMessage]:
    """The same of an inbox and of a room."""
    inner = frames.Message(b"\x11" * 16, sender, "alice", 1, kind, body)
    message = Message.of(inner, "alice", 1)
    return message, RoomMessage("1" * 32, sender, "lobby", 1, kind, body, 1, "normal")


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("text", "grüße 你好 🙂".encode(), "grüße 你好 🙂"),
        ("text", b"", ""),
        ("text", b"a\xffb\xc3", "a\ufffdb\ufffd"),
        ("text", b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),  # a surrogate, which UTF-8 has not
        ("markdown", b"*hi*", "*hi*"),  # of a sender's own kind: as good as it gets
        ("image", b"\x89PNG", "\ufffdPNG"),
        ("binary", b"hi", ""),
        ("homeport.group", b"\x82\xa7version\x01", ""),
        ("homeport.recall", b"", ""),
        ("homeport.of a newer server", b"x", ""),
    ],
)
def test_every_body_has_a_text(kind: str, body: bytes, text: str) -> None:
    """A stranger's bytes made the loop of README raise at the same message after each start: so no
    later message was ever read."""
    for message in both(kind, body):
        assert message.text == text


NOTICE_KINDS = ("homeport.group", "homeport.recall", "homeport.edit")


@given(
    st.text(max_size=64) | st.sampled_from(NOTICE_KINDS), st.binary(), st.sampled_from(["", "bob"])
)
@example("homeport.group", b"\x91" * 100_000, "")
@example("homeport.group", b"\x81\xa1x" + b"\x91" * 100_000, "")
@example("homeport.recall", b"\x81\xa1x" + b"\x91" * 100_000, "")
@example("homeport.edit", b"\xdd\xff\xff\xff\xff", "")
def test_nothing_of_a_message_raises(kind: str, body: bytes, sender: str) -> None:
    """Whatever comes, reading it and asking whether it is a notice goes on."""
    message, said = both(kind, body, sender)
    for text in (message.text, said.text):
        text.encode()
    assert message.notice is None or kind in NOTICE_KINDS
    assert message.peer is not None
    assert repr(message)
    assert repr(said)


def shown(sender: str, to: str, user: str, kind: str = "text", body: bytes = b"") -> Message:
    """What `user` is shown of a message from `sender` to `to`."""
    return Message.of(frames.Message(b"i" * 16, sender, to, 9, kind, body), user, 7)


@pytest.mark.parametrize(
    ("sender", "to", "user", "peer"),
    [
        ("alice", "bob", "alice", "bob"),
        ("bob", "alice", "alice", "bob"),
        ("alice", "alice", "alice", "alice"),
        ("bob", "g:team", "alice", "g:team"),
        ("alice", "g:team", "alice", "g:team"),
        ("", "g:team", "alice", "g:team"),
    ],
)
def test_the_peer_is_the_conversation(sender: str, to: str, user: str, peer: str) -> None:
    """HP-14.2-3: the other user, or the group. With the number there it names the message."""
    message = shown(sender, to, user)
    assert message.peer == peer
    assert named(message) == (peer, 7)


@pytest.mark.parametrize(
    ("sender", "to", "user", "peer"),
    [
        ("alice", "bob", "alice", "bob"),
        ("alice", "bob", "bob", "alice"),
        ("alice", "alice", "alice", "alice"),
        ("alice", "g:team", "bob", "g:team"),
    ],
)
def test_a_notice_has_the_peer_of_its_message(sender: str, to: str, user: str, peer: str) -> None:
    """HP-13.4-3: it has no sender and is addressed as the message was; it is a message of the same
    conversation, with a number of its own there."""
    recall = codec.encode(frames.RecallNotice(b"i" * 16, sender, 3, "carol"))
    edit = codec.encode(frames.EditNotice(b"i" * 16, sender, 3, 1, 9, b"new"))
    assert shown("", to, user, "homeport.recall", recall).peer == peer
    assert shown("", to, user, "homeport.edit", edit).peer == peer


def test_a_notice_that_can_not_be_read_is_of_no_conversation() -> None:
    """HP-4.2-5: nobody knows which; it is handed out, and can't be named."""
    notice = shown("", "alice", "alice", "homeport.of a newer server", b"\xc1")
    assert notice.peer == ""
    with pytest.raises(ValueError, match="no number"):
        named(notice)


def test_a_number_is_of_one_conversation() -> None:
    """HP-12.1-1: an answer to bob that named the seventh message of carol would show bob another
    message as the one that is answered."""
    assert numbered("reply", 7, "bob") == 7
    assert numbered("reply", MessageRef("bob", 7), "bob") == 7
    assert numbered("reply", shown("bob", "alice", "alice"), "bob") == 7
    for other in (MessageRef("carol", 7), shown("carol", "alice", "alice")):
        with pytest.raises(ValueError, match="reply is a message of another conversation"):
            numbered("reply", other, "bob")
    with pytest.raises(ValueError, match="no number"):
        numbered("reply", Sent("bob", 0, "1" * 32, 5), "bob")  # only for those who were there


def test_no_user_in_a_repr() -> None:
    """G7: what is named ends up in logs."""
    assert repr(MessageRef("bob", 7)) == "<MessageRef seq=7>"
    assert repr(Sent("bob", 7, "1" * 32, 5)) == "<Sent seq=7>"
