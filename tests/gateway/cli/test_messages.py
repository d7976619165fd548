"""What other users wrote, as commands print it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from homeport import GroupNotice, Message, RoomMessage, frames
from homeport.frames.recalls import EDIT_KIND, RECALL_KIND

from gateway.cli.messages import line, record

GROUP = "g:" + "0f" * 16


def message(body: bytes, kind: str = "text", to: str = "bob", sender: str = "alice") -> Message:
    """A message from alice to bob."""
    inner = frames.Message(b"\1" * 16, sender, to, 1_767_323_045_678, kind, body)
    return Message.of(inner, "bob", 7)


def notice(change: str, *users: str, **more: object) -> Message:
    """What alice changed in a group."""
    body = msgspec.msgpack.encode(
        {"version": 1, "by": "alice", "change": change, "users": list(users), **more}
    )
    return message(body, "homeport.group", GROUP, sender="")


def test_a_line_is_time_number_sender_and_text() -> None:
    """What a person reads; by the number, the message can be recalled."""
    assert line(message(b"hello")).endswith(" #7 alice: hello")


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("one\ntwo\r", r"one\ntwo\r"),
        ("\u202eright to left", r"\u202eright to left"),
        ("grüße 你好 🙂", "grüße 你好 🙂"),
    ],
)
def test_a_message_can_not_steer_the_terminal(body: str, shown: str) -> None:
    """Control characters are shown, not obeyed, and a message is one line."""
    assert line(message(body.encode())).endswith(f" alice: {shown}")


def test_what_is_not_text_is_summed_up() -> None:
    """Another kind, or a text that is not UTF-8, is named and counted."""
    assert line(message(b"\xff\xfe", "image")).endswith(" alice: [image, 2 bytes]")
    assert line(message(b"\xff\xfe")).endswith(" alice: [text, 2 bytes]")


def test_a_record_has_all_of_a_message() -> None:
    """A script gets the number, the id and the body, as text or as base64."""
    assert record(message(b"hello")) == {
        "seq": 7,
        "id": "01" * 16,
        "time": 1_767_323_045_678,
        "from": "alice",
        "to": "bob",
        "kind": "text",
        "text": "hello",
    }
    assert record(message(b"\xff\xfe", "image"))["body_base64"] == "//4="


def test_a_message_to_a_group_names_it() -> None:
    """Else a reader of two groups could not tell where an answer goes."""
    assert line(message(b"hello", to=GROUP)).endswith(f" #7 {GROUP} alice: hello")
    assert record(message(b"hello", to=GROUP))["to"] == GROUP


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (notice("created", "alice", "bob", name="Team"), "created 'Team' with alice, bob"),
        (notice("renamed", name="Crew"), "renamed it 'Crew'"),
        (notice("deleted"), "deleted it"),
        (notice("added", "bob", "carol", name="Crew"), "added bob, carol"),
        (notice("removed", "bob"), "removed bob"),
        (notice("left", "alice"), "left"),
        (notice("role", "bob", role="admin"), "made bob admin"),
        (notice("muted", "bob", muted=True), "muted bob"),
        (notice("muted", muted=True), "muted everyone"),
        (notice("muted", muted=False), "unmuted everyone"),
        (notice("of a newer server"), "of a newer server"),
    ],
)
def test_a_change_of_a_group_in_words(told: Message, words: str) -> None:
    """HP-11.3-1: every change, whoever made it, on one line."""
    assert line(told).endswith(f" {GROUP} alice {words}")


def test_a_group_can_not_steer_the_terminal() -> None:
    """Its name is what another user wrote."""
    shown = line(notice("renamed", name="\x1b[2J\n\u202e"))
    assert shown.isprintable()


def test_a_change_of_a_group_for_scripts() -> None:
    """Decoded: a script has no MessagePack. What is no notice stays bytes."""
    told = record(notice("role", "bob", role="admin"))
    assert told["notice"] == msgspec.to_builtins(
        GroupNotice(1, "alice", "role", ["bob"], role="admin")
    )
    assert json.loads(msgspec.json.encode(told))["notice"]["by"] == "alice"
    forged = message(notice("deleted").body, "homeport.group", GROUP)
    assert "notice" not in record(forged)
    assert "body_base64" in record(forged)


def test_a_rooms_message() -> None:
    """The same line as any other; a script gets the room, the number and the priority."""
    said = RoomMessage("01" * 16, "alice", "lobby", 1_767_323_045_678, "text", b"hi", 3, "high")
    assert line(said).endswith(" alice: hi")
    assert record(said) == {
        "seq": 3,
        "id": "01" * 16,
        "time": 1_767_323_045_678,
        "from": "alice",
        "room": "lobby",
        "priority": "high",
        "kind": "text",
        "text": "hi",
    }


def test_what_was_recalled_or_edited() -> None:
    """HP-13.4-2, HP-13.4-3: in its place, and as a notice; nothing in it can steer the terminal."""
    gone = frames.RecallNotice(b"\2" * 16, "alice", 4, "bob")
    body = msgspec.msgpack.encode(gone)
    assert line(message(body, RECALL_KIND)).endswith(" alice: [recalled by bob]")
    told = message(body, RECALL_KIND, GROUP, sender="")
    assert line(told).endswith(f" #7 {GROUP} bob recalled #4 of alice")
    assert record(told)["notice"] == {
        "message": "02" * 16,
        "sender": "alice",
        "seq": 4,
        "by": "bob",
    }
    new = frames.EditNotice(b"\2" * 16, "alice", 4, 2, 1_767_323_009_000, b"new\x1b\xff")
    told = message(msgspec.msgpack.encode(new), EDIT_KIND, sender="")
    assert line(told).endswith(r" #7 alice edited #4: new\x1b" + "\ufffd")
    shown: Any = record(told)["notice"]
    assert shown == {
        "message": "02" * 16,
        "sender": "alice",
        "seq": 4,
        "edits": 2,
        "edited": 1_767_323_009_000,
        "text": "new\x1b\ufffd",
    }
    changed = msgspec.structs.replace(message(b"hello"), edits=2, edited=5)
    assert line(changed).endswith(" alice: hello (edited)")
    assert (record(changed)["edits"], record(changed)["edited"]) == (2, 5)
    assert line(message(b"\xff", RECALL_KIND)).endswith(" alice: [homeport.recall, 1 bytes]")
