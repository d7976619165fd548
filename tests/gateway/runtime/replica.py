"""A gateway of several processes, as `homeport serve` starts it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from homeport import frames
from homeport.limits import PATH
from websockets.exceptions import WebSocketException

from gateway.address import Address
from gateway.apps.app import App, create_app
from gateway.config import Settings
from gateway.runtime import runfolder
from gateway.runtime.core import Core
from gateway.security import tokens
from gateway.security.keyring import Keyring
from gateway.store.presence import GATEWAY_CHARS
from tests.harness import RawClient
from tests.processes import GatewayProcess

FAST = "from gateway.runtime import child, supervisor; child.BEAT_S = 0.2; supervisor.HANG_S = 2.0"
"""Silence is noticed after two seconds instead of thirty."""

SOON_S = 30.0
"""How long a test waits for a process to do something."""


def until(condition: Callable[[], Any]) -> Any:
    """Wait until `condition` holds; returns what it gave. Processes tell nobody."""
    deadline = time.monotonic() + SOON_S
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return result


def alive(pid: int) -> bool:
    """True while there is such a process that is not a zombie (proc(5), stat)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Replica:
    """`homeport serve` in a folder of its own, with one app."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self.log = folder / "gateway.log"
        self.app: App = create_app("test", "sg", "pro", "global", int(time.time() * 1000))
        asyncio.run(self._register())
        self.process: GatewayProcess

    async def _register(self) -> None:
        keyring = Keyring.load(self.settings.key_file, "sg")
        async with Core.at(self.settings.redis_url, keyring).admin() as admin:
            await admin.apps.create(self.app, self.app.created_ms)

    def config(self, **changes: Any) -> Path:
        """A configuration file."""
        given = {
            "region": "sg",
            "redis_url": self.settings.redis_url,
            "durability": "memory",
            "key_file": str(self.settings.key_file),
            "plain_listen": "127.0.0.1:0",
            **changes,
        }
        path = self.folder / "gateway.toml"
        path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items()))
        return path

    def start(self, patch: str = "", **changes: Any) -> GatewayProcess:
        """Start it, with two workers where `changes` don't say otherwise."""
        config = self.config(**{"workers": 2, **changes})
        self.process = GatewayProcess(config, self.log, patch).start()
        return self.process

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.process.urls[0] + PATH

    @property
    def address(self) -> Address:
        """The same."""
        return Address.parse(self.process.urls[0].removeprefix("ws://"))

    def token(self, user: str) -> str:
        """A token for `user`."""
        return tokens.mint(self.app.id, self.app.certificates[0], "sg", user, time.time())

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log's entries of `event`."""
        lines = self.log.read_text().splitlines()
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        return [entry for entry in entries if entry["event"] == event]

    def logged_by_workers(self, event: str) -> list[dict[str, Any]]:
        """Those of workers, who are numbered: not those of the process that sends webhooks, which
        comes when it comes."""
        return [entry for entry in self.logged(event) if entry["worker"].isdigit()]

    async def serves(self) -> str:
        """Connect, send and go; returns the name of the worker that took the connection."""
        async with RawClient.open(self.url) as client:
            connected = await client.connect(self.token("alice"))
            assert isinstance(await client.say("bob", "x"), frames.Ok)
            return connected.session[-GATEWAY_CHARS:]

    async def serves_again(self) -> None:
        """`serves`, once whoever was killed has been seen to be gone."""
        async with asyncio.timeout(SOON_S):
            while True:
                with contextlib.suppress(OSError, WebSocketException):
                    await self.serves()
                    return


def run_folders(pid: int) -> list[Path]:
    """The run folders of the supervisor `pid`."""
    return [folder for folder in runfolder.folders() if f"-{pid}-" in folder.name]
