"""What is loaded: gateways named by --url, or one that the bench starts with its own Valkey."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from homeport.limits import PATH

from bench import proc
from bench.options import BenchError, Options
from gateway.apps.app import App, create_app
from gateway.apps.regions import region_of
from gateway.dev import certificates
from gateway.dev.embedded import EmbeddedValkey
from gateway.runtime import runfolder
from gateway.runtime.core import Core
from gateway.security import tokens
from gateway.security.keyring import Keyring

HOMEPORT: Final = "homeport"
REGION: Final = "sg"
START_TIMEOUT_S: Final = 30.0
LARGEST_INBOX: Final = "enterprise"
"""The tier of an own app: the limits of the others would stop the load before the gateway does."""


@dataclass(frozen=True, slots=True)
class Place:
    """Gateways, or a peer, and the processes whose CPU can be seen.

    `start_s` is of a gateway of our own. `speaks` names the protocol, see `bench.worker.SPEAKS`;
    `versions` are a peer's own.
    """

    urls: tuple[str, ...]
    cacert: str | None
    app: str | None
    certificate: str | None
    gateway_pids: tuple[int, ...]
    redis_pid: int | None
    start_s: float | None = None
    speaks: str = HOMEPORT
    versions: dict[str, str] = field(default_factory=dict)

    def token(self, user: str) -> str:
        """A token for `user`, good for a day; empty where a peer asks for none."""
        if self.speaks != HOMEPORT:
            return ""
        assert self.app is not None
        assert self.certificate is not None
        region = region_of(self.app)
        if region is None:
            raise BenchError("--app must be an app id: 32 lower-case hex digits")
        return tokens.mint(self.app, self.certificate, region.code, user, time.time())


@contextlib.contextmanager
def open_place(options: Options) -> Iterator[Place]:
    """The gateways that `options` name, or one of our own for as long as the context lasts.

    Raises:
        BenchError: ours does not start.
    """
    if options.urls:
        pids = {pid for url in options.urls for pid in _listeners(url)}
        yield Place(
            options.urls,
            options.cacert,
            options.app,
            options.certificate,
            tuple(sorted(pids)),
            None,
        )
        return
    with (
        tempfile.TemporaryDirectory(prefix="homeport-bench-") as name,
        contextlib.ExitStack() as stack,
    ):
        yield _start(Path(name), options.tls, stack)


def _listeners(url: str) -> tuple[int, ...]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    return proc.listener_pids(parts.hostname or "", port)


def _start(folder: Path, tls: bool, stack: contextlib.ExitStack) -> Place:
    """Start Valkey on loopback TCP, as an operator's would be, and `homeport serve`.

    With one worker, which is what the targets are for, and the only process that is measured: the
    supervisor sleeps, and what it holds in memory is the worker's too.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    options = ["--bind", "127.0.0.1", "--port", str(port)]
    valkey = stack.enter_context(EmbeddedValkey(folder / "valkey", extra=options))
    redis_url = f"redis://127.0.0.1:{port}"
    key_file = folder / "keys.json"
    Keyring.create(key_file, REGION)
    certs = certificates.ensure(folder, datetime.now(UTC))
    app = asyncio.run(_register(redis_url, key_file))
    settings: dict[str, str | int] = {
        "region": REGION,
        "redis_url": redis_url,
        "durability": "memory",
        "key_file": str(key_file),
        "log_level": "warning",
        "workers": 1,
    }
    if tls:
        settings |= {"wss_listen": "127.0.0.1:0", "tls_cert": str(certs.cert)}
        settings["tls_key"] = str(certs.key)
    else:
        settings["plain_listen"] = "127.0.0.1:0"
    config = folder / "gateway.toml"
    config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    begun = time.monotonic()
    address = serve(config, folder / "gateway.log", stack)
    start_s = time.monotonic() - begun
    return Place(
        (f"{address}{PATH}",),
        str(certs.ca),
        app.id,
        app.certificates[0],
        _listeners(address),
        valkey.pid,
        start_s,
    )


async def _register(redis_url: str, key_file: Path) -> App:
    now_ms = time.time_ns() // 1_000_000
    app = create_app("bench", REGION, LARGEST_INBOX, "global", now_ms)
    async with Core.at(redis_url, Keyring.load(key_file, REGION)).admin() as admin:
        await admin.apps.create(app, now_ms)
    return app


def serve(config: Path, log: Path, stack: contextlib.ExitStack) -> str:
    """Start `homeport serve`, which ends with `stack`; returns when it accepts, with its address.

    Raises:
        BenchError: it ended instead; with its last words.
    """
    program = Path(sys.executable).with_name("homeport")
    with log.open("w") as words:
        process = subprocess.Popen(
            [program, "serve", "--config", config],
            stdout=subprocess.PIPE,
            stderr=words,
            text=True,
            start_new_session=True,
        )
    stack.callback(_end, process)
    assert process.stdout is not None
    too_late = threading.Timer(START_TIMEOUT_S, _kill, (process,))
    too_late.start()
    address = ""
    try:
        for line in process.stdout:
            if line.strip() == "ready":
                return address
            address = line.strip()
    finally:
        too_late.cancel()
    raise BenchError(f"homeport serve did not start:\n{log.read_text()}")


def _kill(process: subprocess.Popen[str]) -> None:
    """At one stroke, supervisor and worker: its connections need no goodbye."""
    os.killpg(process.pid, signal.SIGKILL)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        _kill(process)
    process.wait()
    assert process.stdout is not None
    with process.stdout:
        process.stdout.read()  # to its end: the worker is gone too
    runfolder.sweep()


def user_of(token: str) -> str:
    """The user that a token names (`sub`), without a check: the gateway checks.

    Raises:
        BenchError: this is no token.
    """
    try:
        claims = token.split(".")[1]
        return str(json.loads(base64.urlsafe_b64decode(claims + "=="))["sub"])
    except (IndexError, KeyError, ValueError, TypeError):
        raise BenchError("--token-file must hold one token a line") from None
