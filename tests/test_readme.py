"""README and tutorial are run: their commands in order, and the output held against what they show.

The tutorial begins where README's first five minutes end.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from homeport import Client

from gateway.config import load_settings
from gateway.dev import datafolder
from gateway.security import tokens as minting
from tests.everything import send_everything
from tests.processes import PROGRAM

ROOT = Path(__file__).parent.parent
README = "".join((ROOT / page).read_text() for page in ("README.md", "docs/tutorial.md"))
START_S = 120

VARYING = (
    (r"eyJ[\w\-.]+…?", "<token>"),
    (r"hpk_sg_\w+…?", "<key>"),
    (r"\b(?:[0-9a-f]{32}|[0-9a-f]{16})\b", "<id>"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ?", "<moment>"),
    (r"\d{4}-\d\d-\d\d", "<day>"),
    (r'"time":\d+', '"time":<ms>'),
    (r"127\.0\.0\.1:\d+", "<address>"),
    (r"(CA file|Data) +\S+", r"\1 <path>"),
    (r"\S*\.venv/bin/homeport", "homeport"),
    (r" --data \S+", ""),
    (r"open files +\d+", "open files <n>"),
    (r"(Valkey|Redis) \d+(\.\d+)+", "<server>"),
)


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[tuple[str, list[str]]]:
    """Every command of the console blocks with the lines shown under it."""
    found: list[tuple[str, list[str]]] = []
    for line in "".join(blocks("console")).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def same(lines: list[str]) -> list[str]:
    """`lines` with what differs from run to run, or machine to machine, taken out."""
    text = "\n".join(lines).rstrip()
    for pattern, name in VARYING:
        text = re.sub(pattern, name, text)
    return text.splitlines()


class Dev:
    """`make run` in a folder and on ports of the test's own."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.output: list[str] = []
        arguments = f"ARGS=--data {data} --port 0 --wss-port 0"
        self.process = subprocess.Popen(
            ["make", "-s", "run", arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait(self) -> None:
        """Until its last line, which is just `ready`."""
        assert self.process.stdout is not None
        deadline, text = time.monotonic() + START_S, b""
        while not text.endswith(b"\nready\n"):
            readable, _, _ = select.select([self.process.stdout], [], [], 1)
            assert time.monotonic() < deadline, text.decode()
            if readable:
                read = self.process.stdout.read1(65536)  # type: ignore[attr-defined]
                assert read, f"make run ended: {text.decode()}"
                text += read
        self.output = text.decode().splitlines()

    def field(self, name: str) -> str:
        """What follows `name` in the output."""
        line = next(line for line in self.output if line.startswith(name))
        return line.removeprefix(name).strip()

    def stop(self) -> None:
        """Ctrl-C, which a terminal sends to all of a command's processes."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    started = Dev(tmp_path / "data")
    try:
        started.wait()
        yield started
    finally:
        started.stop()


@pytest.mark.timeout(240)
def test_the_readmes_commands_work_and_print_what_it_shows(dev: Dev, tmp_path: Path) -> None:
    """G1, G3, G4: by the README from nothing to messages that waited for Bob."""
    shown = commands()
    assert shown[0][0] == "make run"
    assert same(dev.output) == same(shown[0][1])
    api = {"API": dev.field("API  "), "KEY": dev.field("API key")}
    for command, expected in shown[1:]:
        line = command.replace("/tmp/", f"{tmp_path}/").replace(
            ".venv/bin/homeport", str(Path(sys.executable).parent / "homeport")
        )
        if " keys " not in line and not line.startswith("curl "):
            head, arrow, target = line.partition(" > ")
            line = f"{head} --data {dev.data}{arrow}{target}"
        run = subprocess.run(
            line,
            shell=True,
            cwd=ROOT,
            env=os.environ | api,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, (command, run.stderr)
        if expected:
            assert same(run.stdout.splitlines()) == same(expected), command


@pytest.mark.timeout(240)
def test_the_readmes_python_works(dev: Dev, tmp_path: Path) -> None:
    """G1: messages, a group, a room, receipts, presence: as the SDK's users write them."""
    url = dev.field("Plain")
    tokens = [dev.field("Token of   alice"), dev.field("Token of   bob")]
    last_lines = []
    for program in blocks("python"):
        script = tmp_path / "example.py"
        script.write_text(program)
        run = subprocess.run(
            [sys.executable, str(script), url, *tokens[: 1 + ("bob: str" in program)]],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        last_lines.append(run.stdout.splitlines()[-1])
    assert last_lines == ["alice Hello from Python", "Hello, room from alice", "bob is online"]
    assert run.stdout.splitlines()[1] == "read by 1"


READS = (
    ("listen", "--as", "alice", "--count", "30"),
    ("history", "--as", "alice", "--with", "mallory"),
    ("room", "join", "lobby", "--as", "alice", "--count", "9"),
    ("unread", "--as", "alice"),
    ("conversations", "--as", "alice"),
    ("presence", "mallory", "--as", "alice"),
    ("group", "list", "--as", "mallory"),
)


@pytest.mark.timeout(300)
def test_what_another_user_sends_stops_nobody(dev: Dev, tmp_path: Path) -> None:
    """G9: a group's notice, a recall or a body that is no text made README's loop raise at the same
    message after each start, so nothing behind it was ever read. Each program of README, and each
    command that reads, gets over whatever a stranger can send; no terminal is steered."""
    state = datafolder.load(dev.data)

    def token(user: str) -> str:
        return minting.mint(state.app_id, state.certificate, datafolder.REGION, user, time.time())

    url = dev.field("Plain")
    asyncio.run(send_everything(url, token("mallory"), ["alice", "bob"], "lobby"))
    asyncio.run(_send(url, token("carol"), "important"))
    latin = {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1:strict"}
    for words in READS:
        for form in ((), ("--json",)):
            shown = _run([str(PROGRAM), *words, *form, "--data", str(dev.data)], latin)
            assert b"\x1b" not in shown, words
            assert shown or words[0] == "group"
            for line in shown.splitlines() if form else ():
                json.loads(line)
    script = tmp_path / "example.py"
    first, *others = blocks("python")
    # README's own loop, going on to a message that came last.
    script.write_text(first.replace("break  #", 'if message.text == "important": break  #'))
    shown = _run([sys.executable, str(script), url, token("alice")], {"PYTHONPATH": str(ROOT)})
    assert b"carol important" in shown
    for program in (first, *others):
        script.write_text(program)
        users = ["alice", "bob"] if "bob: str" in program else ["alice"]
        _run(
            [sys.executable, str(script), url, *map(token, users)],
            {"PYTHONPATH": str(ROOT)},
        )


def _run(command: list[str], env: dict[str, str]) -> bytes:
    ran = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=60, check=False)
    assert ran.returncode == 0, (command, ran.stderr.decode())
    assert b"Traceback" not in ran.stderr
    return ran.stdout


async def _send(url: str, token: str, text: str) -> None:
    async with Client(url, device="d", token=token) as client:
        await client.send("alice", text)


def test_the_readmes_configuration_is_accepted(tmp_path: Path) -> None:
    """The settings that the README shows are settings that there are."""
    [text] = blocks("toml")
    file = tmp_path / "gateway.toml"
    file.write_text(text)
    assert load_settings(file, {}).region == "sg"
