"""`homeport room`, on a running `homeport dev`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from homeport import RoomGap

from gateway.cli import rooms
from gateway.cli.target import Target
from tests.gateway.cli.conftest import Ran, run
from tests.gateway.cli.devgateway import PROGRAM, Dev, started


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    """A gateway to try things on."""
    with started(tmp_path) as running:
        yield running


def ask(dev: Dev, user: str, *arguments: str) -> Ran:
    """`homeport room …` as `user`, in this process."""
    return run("room", *arguments, "--as", user, "--data", dev.folder)


@contextmanager
def joined(dev: Dev, user: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`homeport room join lobby`, which has a message to print; ended at the end."""
    process = subprocess.Popen(
        [PROGRAM, "room", "join", "lobby", "--as", user, "--data", str(dev.folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_what_is_said_in_a_room_is_printed_until_ctrl_c(dev: Dev) -> None:
    """HP-15.2-1, HP-15.3-1: first the last messages, then what comes; Ctrl-C is exit code 0."""
    sent = ask(dev, "alice", "send", "lobby", "before")
    assert sent.code == 0
    assert sent.out.startswith("ok ")
    with joined(dev, "bob") as bob:
        assert bob.stdout is not None
        assert bob.stdout.readline().endswith(" alice: before\n")
        assert ask(dev, "alice", "members", "lobby").out == "2\n"
        assert ask(dev, "carol", "send", "lobby", "live", "--priority", "high").code == 0
        assert bob.stdout.readline().endswith(" carol: live\n")
        os.kill(bob.pid, signal.SIGINT)
        assert bob.communicate(timeout=60) == ("", "")
        assert bob.returncode == 0
    # Who left by Ctrl-C is not in it any more.
    assert ask(dev, "alice", "members", "lobby", "--json").json == {"room": "lobby", "members": 1}


def test_a_count_ends_it_and_scripts_get_all_of_a_message(dev: Dev) -> None:
    """One object a line; --last says with how many to begin."""
    for text in ("one", "two", "three"):
        made = ask(dev, "alice", "send", "lobby", text, "--json").json
    heard = ask(dev, "bob", "join", "lobby", "--last", "2", "--count", "2", "--json")
    assert heard.code == 0
    records = [json.loads(line) for line in heard.out.splitlines()]
    assert [each["text"] for each in records] == ["two", "three"]
    assert records[1] == {
        "seq": 3,
        "id": made["id"],
        "time": made["time"],
        "from": "alice",
        "room": "lobby",
        "priority": "normal",
        "kind": "text",
        "text": "three",
    }


def test_a_hole_is_said(dev: Dev, monkeypatch: pytest.MonkeyPatch) -> None:
    """HP-15.6-4: on stderr, and for scripts as an object between the messages."""
    ask(dev, "alice", "send", "lobby", "hi")
    real = Target.client

    def client(self, on_event):  # type: ignore[no-untyped-def]
        on_event(RoomGap("lobby", 3))
        on_event(RoomGap("lobby", None))
        return real(self, on_event)

    monkeypatch.setattr(Target, "client", client)
    heard = ask(dev, "bob", "join", "lobby", "--count", "1", "--json")
    assert [json.loads(line) for line in heard.out.splitlines()[:2]] == [
        {"missed": 3},
        {"missed": None},
    ]
    assert heard.err.splitlines() == [
        "homeport: missed: 3 messages of the room are gone",
        "homeport: missed: an unknown number of messages of the room are gone",
    ]


def test_what_is_refused_is_exit_code_1_and_says_why(dev: Dev) -> None:
    """HP-7.1-5, HP-8.1-1: the code's name, one line."""
    ran = ask(dev, "alice", "send", "lobby", "x" * 40_000)
    assert (ran.code, ran.out) == (1, "")
    assert "body_too_large" in ran.err
    place = ["--url", dev.value("Plain"), "--token", "nonsense"]
    for command in (["join", "lobby"], ["send", "lobby", "hi"], ["members", "lobby"]):
        refused = run("room", *command, *place)
        assert refused.code == 1
        assert "token_malformed" in refused.err


def test_a_gateway_that_is_gone_is_not_reachable(dev: Dev, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 4."""
    dev.process.terminate()
    dev.process.wait(60)
    monkeypatch.setattr(rooms, "TIMEOUT_S", 0.3)
    assert ask(dev, "alice", "send", "lobby", "hi").code == 4
    assert ask(dev, "alice", "members", "lobby").code == 4


def test_an_operator_sets_a_room_and_takes_one_over(dev: Dev) -> None:
    """HP-15.4-4: as the app itself, and noted in the audit; an id of a wrong form is refused."""

    def set_room(*options: str) -> Ran:
        return run("room", "set", "hall", *options, "--data", dev.folder)

    assert set_room("--write", "admins", "--admin", "bob").out == "ok\n"
    assert ask(dev, "alice", "send", "hall", "x").code != 0
    assert ask(dev, "bob", "send", "hall", "x").code == 0
    assert set_room("--claim").out == "ok\n"
    assert ask(dev, "alice", "send", "hall", "x").code == 0
    assert set_room("--admin", "a b").code == 2
    noted = run("audit", "--data", dev.folder).out
    assert "room claim" in noted and "room set" in noted
