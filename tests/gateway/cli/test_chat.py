"""What `send` and `listen` make of their options, and of what other users write."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli.chat import line, record
from protocol.client import Message
from tests.gateway.cli.conftest import run


def message(body: bytes, kind: str = "text") -> Message:
    """A message from alice to bob."""
    return Message(b"\1" * 16, "alice", "bob", 1_767_323_045_678, kind, body, 7, 0, "e", own=False)


def test_a_line_is_time_sender_and_text() -> None:
    """What a person reads."""
    assert line(message(b"hello")).endswith(" alice: hello")


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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "say who you are"),
        (["--url", "wss://localhost"], "--url and --token"),
        (["--token", "x"], "--url and --token"),
        (["--url", "wss://localhost", "--token", "x", "--as", "alice"], "--url and --token"),
        (["--as", "a b"], "A-Z a-z 0-9"),
        (["--url", "https://localhost", "--token", "x"], "wss://host"),
        (["--url", "ws://localhost", "--token", "x", "--cacert", __file__], "wss://"),
        (["--url", "wss://localhost", "--token", "x", "--cacert", __file__], "not a PEM file"),
        (["--url", "wss://localhost", "--token", "x", "--cacert", "none.pem"], "none.pem"),
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(options: list[str], says: str) -> None:
    """Exit code 2 before anything is connected."""
    for command in (["send", "hi", "--to", "bob"], ["listen"], ["history", "--with", "bob"]):
        ran = run(*command, *options)
        assert ran.code == 2
        assert says in ran.err


def test_without_a_dev_folder_the_text_says_so(tmp_path: Path) -> None:
    """Exit code 3."""
    ran = run("listen", "--as", "bob", "--data", tmp_path)
    assert ran.code == 3
    assert str(tmp_path) in ran.err


@pytest.mark.parametrize("to", ["g:", "g:x", "g:" + "A" * 32, "r:" + "0" * 32, "a b"])
def test_a_recipient_is_a_user_or_a_group(tmp_path: Path, to: str) -> None:
    """Exit code 2 for another form; a group's goes on to look for a gateway."""
    assert run("send", "hi", "--as", "alice", "--to", to, "--data", tmp_path).code == 2
    assert run("history", "--as", "alice", "--with", to, "--data", tmp_path).code == 2
    group = "g:" + "0" * 32
    assert run("send", "hi", "--as", "alice", "--to", group, "--data", tmp_path).code == 3
    assert run("history", "--as", "alice", "--with", group, "--data", tmp_path).code == 3
