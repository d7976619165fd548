"""`homeport user`: what an operator is told of one user, by a running gateway."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.gateway.cli.conftest import Ran, Region, run
from tests.harness import ANSWER_S
from tests.processes import PROGRAM, START_S, GatewayProcess


class Site:
    """A gateway, and an app on it."""

    def __init__(self, region: Region, gateway: GatewayProcess) -> None:
        self.region = region
        self.gateway = gateway
        self.app = region.create()["id"]
        self.log = region.folder / "log"

    def chat(self, user: str, *command: str) -> Ran:
        """A command that acts as `user`."""
        token = self.region.run("token", "new", "--user", user, "--app", self.app).out.strip()
        ran = run(*command, "--url", self.gateway.urls[0], "--token", token)
        assert ran.code == 0, ran.err
        return ran

    def user(self, verb: str, user: str, *options: str) -> Ran:
        """`homeport user`."""
        return self.region.run("user", verb, user, "--app", self.app, *options)


@pytest.fixture
def site(region: Region) -> Iterator[Site]:
    """One of them."""
    gateway = GatewayProcess(region.config, region.folder / "log").start()
    with contextlib.ExitStack() as stack:
        stack.callback(gateway.kill)
        yield Site(region, gateway)


def test_bob_gets_no_messages(site: Site) -> None:
    """What could be found only with redis-cli: whom he blocks, how far his device is, by what its
    session ended; and by the hash the lines of the log. No text of a message."""
    site.chat("alice", "send", "first words", "--to", "bob")
    site.chat("bob", "listen", "--device", "phone", "--count", "1")
    site.chat("alice", "send", "other words", "--to", "bob")
    assert site.region.run("token", "revoke", "--user", "bob", "--app", site.app).code == 0
    shown = site.user("show", "bob", "--json")
    facts: Any = shown.json
    [phone] = facts["devices"]
    assert (phone["device"], phone["session"]) == ("phone", None)
    assert (phone["acknowledged"], phone["unacknowledged"]) == (1, 1)
    assert phone["oldest_s"] < 60
    assert (facts["inbox"]["head"], facts["inbox"]["kept"]) == (2, 1)
    assert facts["unread"] == {"alice": 2}
    assert facts["revoked_before"] is not None
    assert (facts["presence"], facts["looking"]) == ("offline", [])
    [end] = facts["ends"]
    assert (end["device"], end["by"], end["code"]) == ("phone", "client", 1000)
    text = site.user("show", "bob").out
    assert "acknowledged 1 of 2; 1 wait, the oldest " in text
    assert "phone: not connected, last seen " in text
    assert "closed by the client, 1000" in text
    for said in (shown.out, text):
        assert "words" not in said

    lines = [json.loads(line) for line in site.log.read_text().splitlines()]
    mine = [line for line in lines if line.get("user") == facts["hash"]["user"]]
    assert {"connected", "left"} <= {line["event"] for line in mine}
    assert {line["app"] for line in mine} == {facts["hash"]["app"]}
    assert all(line["session"].endswith(line["gateway"]) for line in mine)
    assert site.user("hash", "bob", "--json").json == facts["hash"]
    assert '"bob"' not in site.log.read_text()


def test_a_connected_device_is_where_it_is_told_to_be(site: Site) -> None:
    """The session's gateway, by the name that its log lines have, and the machine it is on."""
    token = site.region.run("token", "new", "--user", "bob", "--app", site.app).out.strip()
    url = site.gateway.urls[0]
    command = [str(PROGRAM), "listen", "--url", url, "--token", token, "--device", "phone"]
    listening = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_S
        while not (devices := site.user("show", "bob", "--json").json["devices"]):
            assert time.monotonic() < until
        session = devices[0]["session"]
        assert session["connected"]
        assert session["where"] == f"{socket.gethostname()} 1"
        lines = [json.loads(line) for line in site.log.read_text().splitlines()]
        [here] = {line["gateway"] for line in lines if line.get("session") == session["id"]}
        assert here == session["gateway"]
        assert f"on gateway {here} ({session['where']})" in site.user("show", "bob").out
    finally:
        listening.kill()
        listening.wait(ANSWER_S)


def test_it_works_while_redis_is_full_and_changes_nothing(site: Site) -> None:
    """An operator needs it most when nothing else goes."""
    site.chat("alice", "send", "words", "--to", "bob")
    with redis.Redis.from_url(site.region.valkey.url) as raw:
        raw.config_set("maxmemory", 1)
        try:
            ran = site.user("show", "bob", "--json")
            assert ran.code == 0, ran.err
            assert ran.json["inbox"]["kept"] == 1
        finally:
            raw.config_set("maxmemory", 0)


def test_an_app_or_user_that_is_not_there(site: Site) -> None:
    """Exit codes as everywhere; a user whom nobody has heard of is no error."""
    assert site.region.run("user", "show", "bob", "--app", "03" + "0" * 30).code == 3
    assert site.region.run("user", "show", "bob", "--app", "02" + "0" * 30).code == 1
    assert site.user("show", "a b").code == 2
    assert "none was ever here" in site.user("show", "nobody").out


def test_a_trace_prints_frames_and_ends_with_its_command(site: Site) -> None:
    """From another process than the gateway: what bob's device did while it was watched."""
    command = ["user", "trace", "bob", "--app", site.app, "--json"]
    tracing = subprocess.Popen(
        [str(PROGRAM), *command, "--config", str(site.region.config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert tracing.stdout is not None
        assert tracing.stderr is not None
        assert f"({socket.gethostname()} 1) traces" in tracing.stderr.readline()
        site.chat("alice", "send", "secret words", "--to", "bob")
        site.chat("bob", "listen", "--device", "phone", "--count", "1")
        lines: list[dict[str, Any]] = []
        while not lines or lines[-1]["frame"] != "close":
            lines.append(json.loads(tracing.stdout.readline()))
        tracing.send_signal(signal.SIGINT)
        out, err = tracing.communicate(timeout=START_S)
    finally:
        tracing.kill()
        tracing.communicate()
    assert tracing.returncode == 0, err
    ways = [(line["way"], line["frame"]) for line in lines]
    assert ways[:3] == [("in", "connect"), ("out", "connected"), ("out", "push")]
    assert {line["device"] for line in lines} == {"phone"}
    assert "secret" not in json.dumps(lines) + out
    log = site.log.read_text()
    assert "trace_began" in log
    assert '"bob"' not in log


def test_a_trace_of_nothing_says_so(site: Site) -> None:
    """Exit codes before anything is asked; and where no gateway runs, the command says that."""
    assert site.region.run("user", "trace", "bob", "--app", "03" + "0" * 30).code == 3
    assert site.user("trace", "bob", "--minutes", "61").code == 2
    site.gateway.kill()
    tracing = subprocess.Popen(
        [
            str(PROGRAM),
            "user",
            "trace",
            "bob",
            "--app",
            site.app,
            *("--config", str(site.region.config)),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert tracing.stderr is not None
        assert "no gateway of the region has answered" in tracing.stderr.readline()
    finally:
        tracing.kill()
        tracing.communicate()
