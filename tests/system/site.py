"""One region as it is run: a store with its append-only file, gateway processes, one app."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from homeport import Client, Event
from homeport.client.backoff import Backoff
from homeport.limits import PATH

from gateway.apps.app import App, create_app
from gateway.config import Settings
from gateway.dev.embedded import EmbeddedValkey, packaged_server
from gateway.runtime.core import Core
from gateway.security import tokens
from gateway.security.keyring import Keyring
from gateway.store.admin import Admin
from tests.clients import client_with
from tests.harness import make_settings
from tests.processes import PROGRAM, GatewayProcess

DEADLINE_S = 30.0
"""How long a test waits for what must come when processes die and start. Nothing is measured."""

PATIENCE_S = 60.0
"""How long a send may be repeated, reconnects included."""


class Servers(Protocol):
    """The region's Redis, of whatever kind: where it is, and how it ends."""

    @property
    def url(self) -> str:
        """Where gateways connect."""

    def close(self) -> None:
        """End it, in whatever state it is."""


class Store:
    """The region's Valkey, which a test stops, kills and restores."""

    def __init__(self, folder: Path, options: Sequence[str]) -> None:
        self.server = EmbeddedValkey(folder, binary=packaged_server(), extra=options)
        self.aof = self.server.data_dir / "appendonlydir"
        self.server.start()

    @property
    def url(self) -> str:
        """Where gateways connect."""
        return self.server.url

    def kill(self) -> None:
        """SIGKILL: what is not in the append-only file is gone."""
        os.kill(self.server.pid, signal.SIGKILL)
        self.server.stop()

    def start(self) -> None:
        """Start it again, from its append-only file."""
        self.server.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP, and SIGCONT at the end: its sockets stay open, and nobody answers."""
        os.kill(self.server.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.server.pid, signal.SIGCONT)

    def restore(self, backup: Path) -> None:
        """Put an older append-only file in the place of the present one."""
        shutil.rmtree(self.aof)
        shutil.copytree(backup, self.aof)

    def close(self) -> None:
        """End it, in whatever state it is."""
        with contextlib.suppress(RuntimeError, ProcessLookupError):  # it does not run
            os.kill(self.server.pid, signal.SIGKILL)
        self.server.stop()


class Site:
    """A region: a folder, a Redis, a key file, one app, and the gateways that were started."""

    def __init__(
        self, folder: Path, region: str, servers: Servers, stack: contextlib.ExitStack
    ) -> None:
        self.folder = folder
        self.region = region
        self._servers = servers
        self.keyring = Keyring.load(self.settings().key_file, region)
        self._stack = stack
        self.app: App
        self.log = folder / "gateways.log"

    @property
    def store(self) -> Store:
        """The Redis, where it is one server."""
        assert isinstance(self._servers, Store)
        return self._servers

    def settings(self, **changes: Any) -> Settings:
        """A gateway's settings here."""
        redis_url = changes.pop("redis_url", self._servers.url)
        return make_settings(redis_url, self.folder, self.region, **changes)

    def config(self, name: str, **changes: Any) -> Path:
        """A configuration file of these settings."""
        path = self.folder / f"{name}.toml"
        given = self.settings(**changes).model_dump(mode="json", exclude_unset=True)
        lines = [f"{key} = {_toml(value)}\n" for key, value in given.items() if value is not None]
        path.write_text("".join(lines))
        return path

    async def gateway(self, name: str = "a", patch: str = "", **changes: Any) -> GatewayProcess:
        """Start a gateway. It is killed at the end of the test. `patch`: see `GatewayProcess`."""
        gateway = GatewayProcess(self.config(name, **changes), self.log, patch)
        self._stack.callback(gateway.kill)
        await asyncio.to_thread(gateway.start)
        return gateway

    def token(self, user: str) -> str:
        """A token for `user`, issued now."""
        return tokens.mint(self.app.id, self.app.certificates[0], self.region, user, time.time())

    def client(
        self,
        url: str,
        user: str,
        device: str = "phone",
        on_event: Callable[[Event], None] | None = None,
        **options: Any,
    ) -> Client:
        """The SDK. It comes back faster than it would: a test has no thundering herd."""

        async def get_token() -> str:
            return self.token(user)

        backoff = Backoff(random=lambda: random.random() / 20)
        options |= {"device": device, "get_token": get_token, "on_event": on_event}
        return client_with(backoff, url, **options)

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[Admin]:
        """The region's admin."""
        async with Core.at(self._servers.url, self.keyring).admin() as admin:
            yield admin


OpenSite = Callable[..., Awaitable[Site]]


async def open_site(
    stack: contextlib.ExitStack,
    folder: Path,
    region: str = "sg",
    tier: str = "pro",
    store_options: Sequence[str] = ("--appendfsync", "always"),
    servers: Servers | None = None,
) -> Site:
    """Start a store, unless there are `servers`, and register an app. It all ends with `stack`."""
    if servers is None:
        servers = Store(folder / f"{region}-store", store_options)
    stack.callback(servers.close)
    site = Site(folder / region, region, servers, stack)
    now_ms = int(time.time() * 1000)
    site.app = create_app("test", region, tier, "global", now_ms)
    async with site.admin() as admin:
        await admin.apps.create(site.app, now_ms)
    return site


def ws(gateway: GatewayProcess) -> str:
    """The address of a gateway's first listener."""
    return f"{gateway.urls[0]}{PATH}"


def refused(config: Path) -> str:
    """What `homeport serve` says last, as it ends with exit code 1."""
    ran = subprocess.run(
        [PROGRAM, "serve", "--config", config], capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert (ran.returncode, ran.stdout) == (1, ""), ran.stderr
    return ran.stderr.splitlines()[-1]


class Front:
    """A load balancer of the test's own: each connection goes to some gateway that accepts.

    It lives in the test's loop, knows nothing of what it carries, and drops a client whose gateway
    is gone.
    """

    def __init__(self, gateways: Sequence[GatewayProcess], rng: random.Random) -> None:
        self._gateways = list(gateways)
        self._rng = rng
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    async def __aenter__(self) -> Front:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        scheme = self._gateways[0].urls[0].partition("://")[0]
        self.url = f"{scheme}://127.0.0.1:{port}{PATH}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            back = await self._dial()
            if back is not None:
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(_pipe(reader, back[1]))
                        group.create_task(_pipe(back[0], writer))
                except* _Ended:
                    pass
                finally:
                    back[1].transport.abort()
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for gateway in self._rng.sample(self._gateways, len(self._gateways)):
            if gateway.urls:
                host, _, port = gateway.urls[0].partition("://")[2].rpartition(":")
                with contextlib.suppress(ConnectionError):
                    return await asyncio.open_connection(host, int(port))
        return None


class _Ended(Exception):
    """One side of a forwarded connection is gone."""


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError as error:
        raise _Ended from error
    raise _Ended


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f'{key} = "{text}"' for key, text in value.items()) + "}"
    return f'"{value}"' if isinstance(value, str) else str(value)
