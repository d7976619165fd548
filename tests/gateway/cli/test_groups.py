"""`homeport group`, on a running `homeport dev`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import groups
from tests.gateway.cli.conftest import Ran, run
from tests.gateway.cli.devgateway import Dev, started


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    """A gateway to try things on."""
    with started(tmp_path) as running:
        yield running


def ask(dev: Dev, user: str, *arguments: str) -> Ran:
    """`homeport group …` as `user`, in this process."""
    return run("group", *arguments, "--as", user, "--data", dev.folder)


def heard(dev: Dev, user: str, count: int) -> list[str]:
    """What `listen` prints, without moment and group."""
    ran = run("listen", "--as", user, "--count", str(count), "--data", dev.folder)
    assert ran.code == 0, ran.err
    return [line.split(" ", 4)[4] for line in ran.out.splitlines()]


def test_a_group_from_its_beginning_to_its_end(dev: Dev) -> None:
    """HP-11.3-1: every verb does what it says, and `listen` tells the members of it in words."""
    made = ask(dev, "alice", "create", "Team", "bob", "carol")
    assert made.code == 0
    group = made.out.strip()
    assert run("send", "hello", "--to", group, "--as", "bob", "--data", dev.folder).code == 0
    for user, *change in (
        ("alice", "rename", group, "Crew"),
        ("alice", "add", group, "dave", "erin"),
        ("alice", "remove", group, "erin"),
        ("alice", "mute", group, "carol"),
        ("alice", "mute", group, "carol", "--off"),
        ("alice", "mute", group),
        ("alice", "role", group, "bob", "admin"),
        ("bob", "mute", group, "--off"),
        ("carol", "leave", group.removeprefix("g:")),
    ):
        ran = ask(dev, user, *change)
        assert (ran.code, ran.out) == (0, "ok\n"), (change, ran.err)
    assert heard(dev, "bob", 11) == [
        "alice created 'Team' with alice, bob, carol",
        "bob: hello",
        "alice renamed it 'Crew'",
        "alice added dave, erin",
        "alice removed erin",
        "alice muted carol",
        "alice unmuted carol",
        "alice muted everyone",
        "alice made bob admin",
        "bob unmuted everyone",
        "carol left",
    ]
    assert heard(dev, "erin", 2)[-1] == "alice removed erin"
    assert ask(dev, "alice", "delete", group).out == "ok\n"
    ran = run("listen", "--as", "bob", "--count", "1", "--data", dev.folder)
    assert ran.out.endswith(f" #12 {group} alice deleted it\n")
    assert (
        ran.err == "homeport: lost: 11 of the messages that waited are no longer kept\n"
    )  # HP-13.1-5


def test_list_and_show(dev: Dev) -> None:
    """HP-11.5-1, HP-11.5-2: a table for people, one object a line for scripts."""
    empty = ask(dev, "alice", "list")
    assert (empty.code, empty.out) == (0, "")
    assert "group create" in empty.err
    first = ask(dev, "alice", "create", "Team", "bob", "--json").json
    assert (first["name"], first["role"], first["size"], first["muted"]) == (
        "Team",
        "owner",
        2,
        False,
    )
    second = ask(dev, "bob", "create", "evil\nrow\u202e", "alice").out.strip()
    assert ask(dev, "bob", "mute", second, "alice").code == 0
    listed = ask(dev, "alice", "list")
    assert [line.split()[0] for line in listed.out.splitlines()] == [
        "GROUP",
        *sorted([first["group"], second]),
    ]
    assert r"evil\nrow\u202e" in listed.out
    rows = [json.loads(line) for line in ask(dev, "alice", "list", "--json").out.splitlines()]
    assert {row["group"]: row["role"] for row in rows} == {
        first["group"]: "owner",
        second: "member",
    }
    shown = ask(dev, "alice", "show", second)
    assert r"evil\nrow\u202e" in shown.out
    assert shown.out.splitlines()[-2:] == ["member  alice  muted", "owner   bob"]
    whole = ask(dev, "alice", "show", second, "--json").json
    assert whole["members"] == [
        {"user": "alice", "role": "member", "muted": True},
        {"user": "bob", "role": "owner", "muted": False},
    ]


def test_what_is_refused_is_exit_code_1_and_says_why(dev: Dev) -> None:
    """HP-11.4-1 to HP-11.4-4, HP-11.1-3: one line with the code's name, nothing on stdout."""
    group = ask(dev, "alice", "create", "Team", "bob").out.strip()
    for user, arguments, says in (
        ("bob", ("rename", group, "x"), "not_allowed"),
        ("bob", ("delete", group), "not_allowed"),
        ("mallory", ("add", group, "mallory"), "not_a_member"),
        ("mallory", ("show", group), "not_a_member"),
        ("alice", ("role", group, "mallory", "admin"), "not_a_member"),
        ("alice", ("leave", group), "owner_stays"),
        ("alice", ("show", "g:" + "0" * 32), "unknown_group"),
        ("alice", ("rename", group, "x" * 129), "invalid_field"),
        ("alice", ("create", ""), "invalid_field"),
        ("alice", ("add", group, *(f"u{n}" for n in range(1000))), "group_full"),
    ):
        ran = ask(dev, user, *arguments)
        assert (ran.code, ran.out) == (1, ""), arguments
        assert says in ran.err
        assert len(ran.err.splitlines()) == 1


def test_with_a_url_and_a_token(dev: Dev) -> None:
    """Outside a dev folder, as `send`; a refused token is exit code 1."""
    place = ["--url", dev.value("Plain"), "--token"]
    ran = run("group", "create", "Team", *place, dev.value("Token of   alice"))
    assert ran.code == 0, ran.err
    assert ran.out.startswith("g:")
    refused = run("group", "list", *place, "nonsense")
    assert refused.code == 1
    assert "token_malformed" in refused.err


def test_a_gateway_that_is_gone_is_not_reachable(dev: Dev, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 4, after as long as the command says."""
    dev.process.terminate()
    dev.process.wait(60)
    monkeypatch.setattr(groups, "TIMEOUT_S", 0.3)
    began = time.monotonic()
    ran = ask(dev, "alice", "list")
    assert ran.code == 4
    assert "not known to be done" in ran.err
    assert time.monotonic() - began < 15


def test_who_left_is_invited_and_joins(dev: Dev) -> None:
    """HP-11.6-2, HP-11.6-4, HP-11.6-7, HP-11.6-8: the command says who is not a member, `listen`
    shows the invitation with what to type, and `leave` declines one."""
    group = ask(dev, "alice", "create", "Team", "bob", "carol").out.strip()
    for user in ("bob", "carol"):
        assert ask(dev, user, "leave", group).code == 0
    ran = ask(dev, "alice", "add", group, "bob", "carol", "dave")
    assert (ran.code, ran.out) == (0, "ok\n")
    assert [line.rpartition(": ")[2] for line in ran.err.splitlines()] == ["bob", "carol"]
    ran = run("listen", "--as", "bob", "--count", "3", "--data", dev.folder)
    assert f"alice invites to 'Team', {group}" in ran.out
    assert ask(dev, "bob", "join", group).out == "ok\n"
    assert ask(dev, "carol", "leave", group).out == "ok\n"
    assert ask(dev, "carol", "join", group).code != 0
    ran = run("listen", "--as", "alice", "--count", "8", "--data", dev.folder)
    assert "alice added dave and invited bob, carol" in ran.out
    assert "bob joined" in ran.out
    assert "carol declined the invitation" in ran.out
