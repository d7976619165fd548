"""The backup and restore commands of the runbook, done as they stand there, on real servers."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import redis

from gateway.apps.app import App, create_app
from gateway.dev.embedded import packaged_server
from gateway.runtime.core import Core
from gateway.security.keyring import Keyring
from gateway.store.errors import RegionMissing
from tests.conftest import REDIS
from tests.deploy.tools import DEPLOY
from tests.processes import START_S

CLI: Final = shutil.which("redis-cli")
pytestmark = pytest.mark.skipif(CLI is None, reason="redis-cli is not installed")


class Machine:
    """One machine with a Redis, whose folders lie elsewhere than the runbook's."""

    def __init__(self, folder: Path, binary: str) -> None:
        self.folder = folder
        self.binary = binary
        self.data = folder / "data"
        self.backups = folder / "backups"
        for each in (self.data, self.backups):
            each.mkdir()
        self.socket = folder / "redis.sock"
        self.config = folder / "redis.conf"
        self.config.write_text(
            f"port 0\nunixsocket {self.socket}\ndir {self.data}\nappendonly yes\n"
            f"maxmemory-policy noeviction\nlogfile {folder}/redis.log\n"
        )
        self.keyring = Keyring.create(folder / "sg.keys.json", "sg")

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"unix://{self.socket}"

    @contextlib.contextmanager
    def running(self) -> Iterator[redis.Redis]:
        """Redis, started as always, and ended by SIGTERM."""
        with subprocess.Popen([self.binary, str(self.config)]) as server:
            try:
                with redis.Redis.from_url(self.url) as raw:
                    self._until_it_answers(raw)
                    yield raw
            finally:
                server.terminate()

    def _until_it_answers(self, raw: redis.Redis) -> None:
        async def wait() -> None:
            async with asyncio.timeout(START_S):
                while True:
                    with contextlib.suppress(redis.RedisError):
                        raw.ping()
                        return
                    await asyncio.sleep(0.02)

        asyncio.run(wait())

    def do(self, title: str) -> None:
        """Run the runbook's block that begins with ``# <title>``, on this machine's folders."""
        [block] = re.findall(
            rf"^```sh\n# {re.escape(title)}\n(.*?)^```$",
            (DEPLOY / "RUNBOOK.md").read_text(),
            re.DOTALL | re.MULTILINE,
        )
        for theirs, ours in (
            ("/var/lib/redis", self.data),
            ("/var/backups/homeport", self.backups),
            ("/etc/redis/redis.conf", self.config),
            ("redis-server", self.binary),
            ("redis-cli", f"{CLI} -s {self.socket}"),
        ):
            block = block.replace(theirs, str(ours))
        assert "/var/" not in block.replace(str(self.folder), "")
        ran = subprocess.run(
            ["sh", "-euc", block], capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def create(self, name: str) -> App:
        """Register an app."""

        async def create() -> App:
            made = create_app(name, "sg", "pro", "global", 1_764_000_000_000)
            async with Core.at(self.url, self.keyring).admin() as admin:
                await admin.apps.create(made, made.created_ms)
            return made

        return asyncio.run(create())

    def apps(self) -> set[str]:
        """The names of those that are there."""

        async def names() -> set[str]:
            async with Core.at(self.url, self.keyring).admin() as admin:
                return {app.name for app in await admin.apps.all()}

        return asyncio.run(names())


@pytest.fixture(params=["valkey", "redis7"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """A machine with Valkey, and one with Debian's Redis 7.0."""
    binary = str(packaged_server()) if request.param == "valkey" else REDIS
    if not Path(binary).exists():
        pytest.skip(f"Redis 7.0 is not installed ({REDIS}): apt install redis-server")
    return Machine(tmp_path, binary)


@pytest.mark.parametrize("kind", ["snapshot", "append-only files"])
def test_the_runbook_restores_what_its_backup_has(machine: Machine, kind: str) -> None:
    """The runbook said to bring Redis up from the backup, which gave an empty region: a snapshot is
    not read where the append-only file is on and missing. What it says now brings it back, and it
    is kept through a further restart."""
    with machine.running() as raw:
        machine.create("kept")
        raw.set("filler", "x" * 100_000)
        machine.do(f"backup: {kind}")
        machine.create("too late")
        assert machine.apps() == {"kept", "too late"}
    machine.do(f"restore: {kind}")
    for _ in range(2):
        with machine.running() as raw:
            assert machine.apps() == {"kept"}
            assert raw.config_get("appendonly") == {"appendonly": "yes"}
            assert raw.strlen("filler") == 100_000


def test_a_snapshot_alone_is_not_read_and_the_region_says_so(machine: Machine) -> None:
    """Why the runbook takes the way around; and who forgets it is told, and adopts nothing."""
    with machine.running():
        machine.create("kept")
        machine.do("backup: snapshot")
    shutil.rmtree(machine.data / "appendonlydir")
    shutil.copy(machine.backups / "dump.rdb", machine.data / "dump.rdb")
    with machine.running() as raw:
        assert raw.dbsize() == 0
        with pytest.raises(RegionMissing):
            machine.apps()
        with pytest.raises(RegionMissing):
            machine.create("another")
        assert raw.dbsize() == 0
