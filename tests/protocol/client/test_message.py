"""What a message's body is as a text."""

from __future__ import annotations

import pytest
from homeport import (
    Message,
    RoomMessage,
)
from hypothesis import example, given
from hypothesis import strategies as st


def both(kind: str, body: bytes, sender: str = "bob") -> tuple[Message, RoomMessage]:
    """The same of an inbox and of a room."""
    message = Message("1" * 32, sender, "alice", 1, kind, body, 1, 1, "e", own=False)
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
