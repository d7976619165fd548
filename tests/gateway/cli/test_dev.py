"""`homeport dev`, `send` and `listen`, as a newcomer meets them: real processes and sockets."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from gateway.cli import chat
from tests.gateway.cli.conftest import Ran, run
from tests.gateway.cli.devgateway import PROGRAM, started


def refused(*arguments: str) -> Ran:
    """Run a `homeport` that has to end by itself."""
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60)
    return Ran(done.returncode, done.stdout, done.stderr)


def valkey_of(folder: Path) -> int | None:
    """The process id of the Valkey that works in `folder`."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(folder / "valkey.sock") in command and b"valkey" in command:
                return int(entry.name)
    return None


def test_the_two_printed_commands_work_as_printed(tmp_path: Path) -> None:
    """From another folder, through a shell: bob's terminal shows what alice's sent (G1, G3)."""
    with started(tmp_path / "data with a blank") as dev:
        listening = subprocess.Popen(
            f"exec {dev.after('In a second terminal:')}",  # so that the signal meets no shell
            shell=True,
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            sent = subprocess.run(
                dev.after("In a third one:"),
                shell=True,
                cwd="/",
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert sent.returncode == 0, sent.stderr
            assert sent.stdout.startswith("ok ")
            assert listening.stdout is not None
            assert listening.stdout.readline().endswith(" alice: Hello, Bob!\n")
            os.killpg(listening.pid, signal.SIGINT)
            assert listening.communicate(timeout=60) == ("", "")
            assert listening.returncode == 0
        finally:
            if listening.poll() is None:
                os.killpg(listening.pid, signal.SIGKILL)
                listening.communicate()


def test_everything_printed_is_good(tmp_path: Path) -> None:
    """Tokens, both URLs and the CA file, used by hand; `ready` is the last line."""
    with started(tmp_path) as dev:
        assert dev.lines[-1] == "ready"
        assert dev.value("App ID").startswith("02")
        assert "tier pro" in dev.value("App ID")
        for user in ("alice", "bob"):
            token = dev.value(f"Token of   {user}")
            checked = dev.homeport("token", "check", token, "--json")
            assert checked.json["user"] == user
            places = (
                ["--url", dev.value("Plain")],
                ["--url", dev.value("WSS"), "--cacert", dev.value("CA file")],
            )
            for place in places:
                sent = refused("send", *place, "--token", token, "--to", "carol", "hi", "--json")
                assert sent.code == 0, sent.err
                assert len(sent.json["id"]) == 32
        listed = dev.homeport("listen", "--as", "carol", "--count", "4", "--json")
        shown = [json.loads(line) for line in listed.out.splitlines()]
        assert [(each["from"], each["seq"]) for each in shown] == [
            ("alice", 1),
            ("alice", 2),
            ("bob", 1),
            ("bob", 2),
        ]


def test_history_is_read_again_and_again(tmp_path: Path) -> None:
    """HP-13.1-2: what was listened to is still history, from both ends, the oldest first."""
    with started(tmp_path) as dev:
        for text in ("one", "two", "three"):
            assert dev.homeport("send", text, "--as", "alice", "--to", "bob").code == 0
        assert dev.homeport("listen", "--as", "bob", "--count", "3").code == 0
        shown = dev.homeport("history", "--as", "bob", "--with", "alice").out.splitlines()
        assert [line.rpartition(": ")[2] for line in shown] == ["one", "two", "three"]
        last = dev.homeport("history", "--as", "alice", "--with", "bob", "--limit", "2", "--json")
        assert [json.loads(line)["text"] for line in last.out.splitlines()] == ["two", "three"]


def test_a_message_is_edited_and_recalled(tmp_path: Path) -> None:
    """HP-13.4-1, HP-13.4-3, HP-14.3-1: by its number; in its place, and as a notice where it was
    had."""

    def changes(user: str, peer: str, *what: str) -> Ran:
        return dev.homeport(*what, "--as", user, "--with", peer)

    def said(*what: str) -> list[str]:
        return [line.split(" ", 2)[2] for line in dev.homeport(*what).out.splitlines()]

    with started(tmp_path) as dev:
        for number, text in enumerate(("helo", "oops"), 1):
            sent = dev.homeport("send", text, "--as", "alice", "--to", "bob")
            assert (sent.code, sent.out) == (0, f"ok {number}\n")
        listened = ("listen", "--as", "bob", "--device", "phone", "--count", "2")
        assert said(*listened) == ["#1 alice: helo", "#2 alice: oops"]
        assert dev.homeport("unread", "--as", "bob").out == "alice 2\n"
        assert changes("alice", "bob", "edit", "1", "hello").out == "ok 1\n"
        assert changes("bob", "alice", "recall", "2").code == 1
        for _ in range(2):
            assert changes("alice", "bob", "recall", "2").out == "ok 2\n"
        notices = ["#3 alice edited #1: hello", "#4 alice recalled #2 of alice"]
        shown = ["#1 alice: hello (edited)", "#2 alice: [recalled by alice]", *notices]
        assert said("history", "--as", "bob", "--with", "alice") == shown
        assert said(*listened) == notices
        gone = changes("alice", "bob", "edit", "9", "x")
        assert gone.code == 1
        assert "unknown_message" in gone.err
        counts = dev.homeport("unread", "--as", "bob", "--json")
        assert counts.json == {"with": "alice", "unread": 2}


def test_conversations_are_listed(tmp_path: Path) -> None:
    """HP-13.5-1: the one with the newest message first, what is unread, and the last message."""
    with started(tmp_path) as dev:
        for sender, text in (("alice", "one"), ("carol", "two"), ("alice", "three")):
            assert dev.homeport("send", text, "--as", sender, "--to", "bob").code == 0
        shown = dev.homeport("conversations", "--as", "bob").out.splitlines()
        assert [re.sub(r"\d{4}-\S+ \S+", "<moment>", line) for line in shown] == [
            "alice 2 unread, last: <moment> #2 alice: three",
            "carol 1 unread, last: <moment> #1 carol: two",
        ]
        [only] = dev.homeport("conversations", "--as", "bob", "--limit", "1", "--json").out.split()
        row = json.loads(only)
        assert (row["with"], row["seq"], row["unread"]) == ("alice", 2, 2)
        assert row["message"]["text"] == "three"


def test_presence_is_shown_once_or_watched(tmp_path: Path) -> None:
    """HP-20.2-1, HP-20.2-2: how users are, and each change until Ctrl-C."""
    with started(tmp_path) as dev:
        shown = dev.homeport("presence", "--as", "alice", "bob", "alice")
        assert shown.out.splitlines() == ["bob offline", "alice offline"]
        at = ["--data", str(dev.folder)]
        watching = subprocess.Popen(
            [PROGRAM, "presence", "--as", "alice", "bob", "--watch", "--json", *at],
            stdout=subprocess.PIPE,
            text=True,
        )
        listening = None
        try:
            assert watching.stdout is not None
            assert json.loads(watching.stdout.readline()) == {
                "user": "bob",
                "state": "offline",
                "status": "",
                "since": 0,
            }
            listening = subprocess.Popen([PROGRAM, "listen", "--as", "bob", "--device", "pc", *at])
            assert json.loads(watching.stdout.readline())["state"] == "online"
            watching.send_signal(signal.SIGINT)
            assert watching.wait(60) == 0
        finally:
            for process in (watching, listening):
                if process is not None:
                    process.kill()
                    process.communicate()


def test_both_listeners_are_on_loopback_only(tmp_path: Path) -> None:
    """A gateway for trying out must not be open to the network."""
    with started(tmp_path) as dev:
        for name in ("Plain", "WSS"):
            host, _, port = dev.value(name).partition("://")[2].removesuffix("/v1").partition(":")
            assert host == "127.0.0.1"
            with socket.socket() as other, pytest.raises(ConnectionRefusedError):
                other.connect(("127.0.0.2", int(port)))


def test_what_a_device_printed_once_it_does_not_print_again(tmp_path: Path) -> None:
    """`listen` as a device acknowledges what it printed, so the next run goes on after it (G2);
    without one it reads all that waits, and takes none of it from anybody (HP-19.2-2)."""
    with started(tmp_path) as dev:
        for text in ("one", "two"):
            assert dev.homeport("send", "--as", "alice", "--to", "bob", text).code == 0
        looked = dev.homeport("listen", "--as", "bob", "--count", "2")
        again = dev.homeport("listen", "--as", "bob", "--count", "2")
        shown = [line.split(" ", 2)[2] for line in again.out.splitlines()]
        assert shown == ["#1 alice: one", "#2 alice: two"]
        assert again.out == looked.out
        listen = ("listen", "--as", "bob", "--device", "phone", "--count", "1")
        assert dev.homeport(*listen).out.endswith(" alice: one\n")
        assert dev.homeport(*listen).out.endswith(" alice: two\n")


def test_send_reads_nothing_away(tmp_path: Path) -> None:
    """G4: what came to alice while she only sent is there when she first listens."""
    with started(tmp_path) as dev:
        for sender, to, text in (
            ("alice", "bob", "one"),
            ("bob", "alice", "two"),
            ("alice", "bob", "three"),
        ):
            assert dev.homeport("send", "--as", sender, "--to", to, text).code == 0
        heard = dev.homeport("listen", "--as", "alice", "--count", "3")
        assert [line.split(" ", 3)[3] for line in heard.out.splitlines()] == [
            "alice: one",
            "bob: two",
            "alice: three",
        ]


def test_a_message_survives_a_kill(tmp_path: Path) -> None:
    """G1, G4, G10: kill -9 of the gateway loses nothing, leaves no Valkey, and keeps the app."""
    with started(tmp_path) as dev:
        app = dev.value("App ID")
        assert dev.homeport("send", "--as", "alice", "--to", "bob", "kept").code == 0
        dev.end(signal.SIGKILL)
    with started(tmp_path) as dev:
        assert dev.value("App ID") == app
        assert dev.homeport("listen", "--as", "bob", "--count", "1").out.endswith(" alice: kept\n")


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_of_it_cleanly(tmp_path: Path, by: signal.Signals) -> None:
    """Exit code 0, nothing on stderr, no Valkey left, and the folder is free."""
    with started(tmp_path) as dev:
        assert valkey_of(tmp_path) is not None
        assert dev.end(by) == (0, "")
        assert valkey_of(tmp_path) is None
        assert not (tmp_path / "valkey.sock").exists()


def test_a_second_user_of_the_folder_is_refused(tmp_path: Path) -> None:
    """Exit code 1, and the first one goes on."""
    with started(tmp_path) as dev:
        second = refused("dev", "--data", str(tmp_path), "--port", "0", "--wss-port", "0")
        assert second.code == 1
        assert second.err == (
            f"homeport: the data folder {tmp_path} is in use by process {dev.process.pid}; "
            "stop that one, or choose another folder\n"
        )
        assert dev.homeport("send", "--as", "alice", "--to", "bob", "still here").code == 0


@pytest.mark.parametrize("option", ["--port", "--wss-port"])
def test_a_taken_port_is_told(tmp_path: Path, option: str) -> None:
    """Exit code 1, one line that names the port, no traceback, no Valkey left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        other = "--wss-port" if option == "--port" else "--port"
        ran = refused("dev", "--data", str(tmp_path), option, port, other, "0")
    assert ran.code == 1
    assert f"127.0.0.1:{port}" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert valkey_of(tmp_path) is None


def test_a_redis_url_of_no_known_kind_is_wrong_usage(tmp_path: Path) -> None:
    """Exit code 2, and the kinds there are."""
    ran = run("dev", "--data", tmp_path, "--redis-url", "http://localhost")
    assert ran.code == 2
    assert "--redis-url must begin with redis://" in ran.err


def test_the_folder_is_private(tmp_path: Path) -> None:
    """Certificates, keys and data are for this user only."""
    folder = tmp_path / "data"
    with started(folder):
        assert folder.stat().st_mode & 0o777 == 0o700
        for name in ("dev.json", "keys.json", "server.key", "ca.pem"):
            assert (folder / name).stat().st_mode & 0o777 == 0o600


def test_a_refused_token_is_told(tmp_path: Path) -> None:
    """G8: exit code 1, and nothing of the token in the text."""
    with started(tmp_path) as dev:
        token = dev.value("Token of   alice")
        forged = token[:-8] + ("AAAAAAAA" if not token.endswith("AAAAAAAA") else "BBBBBBBB")
        place = ["--url", dev.value("Plain"), "--token", forged]
        for ran in (
            refused("send", *place, "--to", "bob", "hi"),
            refused("listen", *place, "--count", "1"),
        ):
            assert ran.code == 1
            assert "token_signature" in ran.err
            assert forged[:40] not in ran.err


def test_kick_and_revoke_reach_a_listener(tmp_path: Path) -> None:
    """G8: a kicked or revoked listener ends within moments, and its text says why."""
    with started(tmp_path) as dev:
        for command, says in ((["kick"], "kicked"), (["token", "revoke"], "revoked")):
            dev.homeport("send", "--as", "alice", "--to", "bob", "hello")
            listening = subprocess.Popen(
                [PROGRAM, "listen", "--as", "bob", "--data", str(dev.folder)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            try:
                assert listening.stdout is not None
                listening.stdout.readline()  # it is connected
                assert dev.homeport(*command, "--user", "bob").code == 0
                _, err = listening.communicate(timeout=60)
            finally:
                listening.kill()
                listening.communicate()
            assert listening.returncode == 1
            assert says in err


def test_doctor_is_content_with_it(tmp_path: Path) -> None:
    """Nothing of what `homeport dev` sets up needs attention."""
    with started(tmp_path) as dev:
        ran = dev.homeport("doctor")
        assert ran.code == 0, ran.out
        assert "BAD" not in ran.out


def test_a_gateway_that_is_gone_is_not_reachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 4 for both ways to it: the store's and the listener's."""
    with started(tmp_path) as dev:
        dev.end(signal.SIGTERM)
    monkeypatch.setattr(chat, "SEND_TIMEOUT_S", 0.5)
    sent = run("send", "--as", "alice", "--to", "bob", "hi", "--data", tmp_path)
    assert sent.code == 4
    assert "not known to be sent" in sent.err
    listed = run("app", "list", "--data", tmp_path)
    assert listed.code == 4
    assert "is `homeport dev` running?" in listed.err
