"""What commands that are chat clients make of the options that they share."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from homeport import Event, TokenExpiring

from gateway.cli.target import printed
from tests.gateway.cli.conftest import run
from tests.processes import PROGRAM

GROUP = "g:" + "0" * 32
NUMBER = "7"
CHATS = (
    ["send", "hi", "--to", "bob"],
    ["listen"],
    ["history", "--with", "bob"],
    ["unread"],
    ["conversations"],
    ["recall", NUMBER, "--with", "bob"],
    ["edit", NUMBER, "new", "--with", "bob"],
    ["group", "create", "team", "bob"],
    ["group", "rename", GROUP, "crew"],
    ["group", "delete", GROUP],
    ["group", "add", GROUP, "bob"],
    ["group", "remove", GROUP, "bob"],
    ["group", "leave", GROUP],
    ["group", "role", GROUP, "bob", "admin"],
    ["group", "mute", GROUP, "bob", "--off"],
    ["group", "list"],
    ["group", "show", GROUP],
    ["room", "join", "lobby"],
    ["room", "send", "lobby", "hi"],
    ["room", "members", "lobby"],
    ["presence", "bob"],
)


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
    for command in CHATS:
        ran = run(*command, *options)
        assert ran.code == 2
        assert says in ran.err


@pytest.mark.parametrize("command", CHATS, ids=" ".join)
def test_without_a_dev_folder_the_text_says_so(tmp_path: Path, command: list[str]) -> None:
    """Exit code 3: the arguments are right, and there is no gateway here."""
    ran = run(*command, "--as", "bob", "--data", tmp_path)
    assert ran.code == 3
    assert str(tmp_path) in ran.err


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["group", "show", "g:" + "A" * 32], "32 lower-case hex digits"),
        (["group", "delete", "team"], "32 lower-case hex digits"),
        (["group", "create", "team", "bob", "a b"], "A-Z a-z 0-9"),
        (["group", "add", GROUP], "USER"),
        (["group", "add", GROUP, "bob", "a:b"], "A-Z a-z 0-9"),
        (["group", "role", GROUP, "bob", "boss"], "boss"),
        (["group", "mute", GROUP, "a b"], "A-Z a-z 0-9"),
        (["recall", "xyz", "--with", "bob"], "valid integer"),
        (["edit", "0", "new", "--with", "bob"], "greater than or equal to 1"),
        (["edit", NUMBER, "new"], "--with"),
        (["recall", NUMBER, "--with", "a b"], "A-Z a-z 0-9"),
        (["room", "join", "r:lobby"], "A-Z a-z 0-9"),
        (["room", "join", "lobby", "--last", "201"], "--last"),
        (["room", "send", "lobby", "hi", "--priority", "urgent"], "urgent"),
        (["room", "members", "a b"], "A-Z a-z 0-9"),
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_wrong_usage(command: list[str], says: str) -> None:
    """Exit code 2, and what is wrong."""
    ran = run(*command, "--as", "alice")
    assert ran.code == 2
    assert says in ran.err


@pytest.mark.parametrize("to", ["g:", "g:x", "g:" + "A" * 32, "r:" + "0" * 32, "a b"])
def test_a_recipient_is_a_user_or_a_group(tmp_path: Path, to: str) -> None:
    """Exit code 2 for another form; a group's goes on to look for a gateway."""
    assert run("send", "hi", "--as", "alice", "--to", to, "--data", tmp_path).code == 2
    assert run("history", "--as", "alice", "--with", to, "--data", tmp_path).code == 2
    group = "g:" + "0" * 32
    assert run("send", "hi", "--as", "alice", "--to", group, "--data", tmp_path).code == 3
    assert run("history", "--as", "alice", "--with", group, "--data", tmp_path).code == 3


@pytest.mark.parametrize("command", CHATS, ids=" ".join)
def test_an_argument_that_is_not_utf8_is_wrong_usage(command: list[str]) -> None:
    """Python hands such bytes on as lone surrogates, which can't be sent: there was a traceback."""
    for at in range(1, len(command) + 1):
        ran = run(*command[:at], "caf\udce9", *command[at:], "--as", "alice")
        assert ran.code == 2
        assert f"argument {at + 1} is not UTF-8" in ran.err


def test_a_real_argument_that_is_not_utf8(tmp_path: Path) -> None:
    """As a shell in another encoding hands it over."""
    words: list[str | bytes] = [str(PROGRAM), "send", "--as", "alice", "--to", "bob", b"caf\xe9"]
    ran = subprocess.run(words, capture_output=True, check=False, timeout=60, cwd=tmp_path)
    assert ran.returncode == 2
    assert b"argument 6 is not UTF-8" in ran.stderr
    assert b"Traceback" not in ran.stderr


async def test_a_command_ends_when_an_event_can_not_be_printed() -> None:
    """`presence --watch | head -1`: the client went on without a reader, logging each event."""

    def on_event(event: Event) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        async with asyncio.timeout(5):
            with printed(on_event) as handler:
                asyncio.get_running_loop().call_soon(handler, TokenExpiring(1))
                await asyncio.Event().wait()
