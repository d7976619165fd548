"""The commands that act as a user: none of them may leave a device behind."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest
import redis

from gateway.store.keys import Keys
from tests.gateway.cli.conftest import Region, run
from tests.harness import ANSWER_S
from tests.processes import PROGRAM, START_S, GatewayProcess

LOOKS = (
    ("unread",),
    ("conversations",),
    ("history", "--with", "alice"),
    ("presence", "alice"),
    ("send", "hi", "--to", "alice"),
    ("group", "create", "team", "alice"),
    ("group", "list"),
    ("room", "send", "lobby", "hi"),
    ("room", "members", "lobby"),
    ("room", "join", "lobby", "--count", "1"),
    ("listen", "--count", "2"),
)


def rows(region: Region, app: str, user: str) -> set[str]:
    """What the user's hash holds of devices and sessions."""
    with redis.Redis.from_url(region.valkey.url) as raw:
        names = raw.hkeys(Keys("eu").user(app, user).meta)
    return {name.decode() for name in names if b":" in name}


def is_gone(region: Region, app: str, user: str) -> bool:
    """True once the hash holds none; a session's end is told soon after it."""
    until = time.monotonic() + ANSWER_S
    while time.monotonic() < until:
        if not rows(region, app, user):
            return True
        time.sleep(0.02)
    return False


def test_no_command_leaves_a_device_behind(region: Region) -> None:
    """HP-19.2-1: each of them used to leave one in the user's row, which never acknowledged, so the
    inbox was not trimmed for the tier's time: 180 days for having looked at what is unread."""
    app = region.create()["id"]
    token = region.run("token", "new", "--user", "bob", "--app", app).out.strip()
    gateway = GatewayProcess(region.config, region.folder / "log").start()
    try:
        [url] = gateway.urls
        as_bob = ("--url", url, "--token", token)
        for command in LOOKS:
            ran = run(*command, *as_bob)
            assert ran.code == 0, (command, ran.err)
            assert is_gone(region, app, "bob"), (command, rows(region, app, "bob"))
        sent = run("send", "hi", "--to", "alice", *as_bob).out.removeprefix("ok ").strip()
        for change in (("edit", sent, "hello"), ("recall", sent)):
            assert run(*change, "--with", "alice", *as_bob).code == 0
            assert is_gone(region, app, "bob"), change
        assert run("listen", *as_bob, "--device", "phone", "--count", "1").code == 0
        assert rows(region, app, "bob") == {"d:phone"}
    finally:
        gateway.kill()


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_one_that_is_killed_leaves_none_either(region: Region, by: signal.Signals) -> None:
    """HP-19.2-1: nobody says goodbye for it, and the socket's end is enough."""
    app = region.create()["id"]
    token = region.run("token", "new", "--user", "bob", "--app", app).out.strip()
    gateway = GatewayProcess(region.config, region.folder / "log").start()
    [url] = gateway.urls
    command = [str(PROGRAM), "listen", "--url", url, "--token", token]
    listening = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_S
        while not rows(region, app, "bob"):
            assert time.monotonic() < until
            time.sleep(0.02)
        listening.send_signal(by)
        listening.wait(ANSWER_S)
        assert is_gone(region, app, "bob")
    finally:
        listening.kill()
        listening.wait(ANSWER_S)
        gateway.kill()
