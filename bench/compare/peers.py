"""Starting the peers. One that is not installed is skipped, with a word on how to get it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from bench.options import BenchError
from bench.place import Place
from gateway.dev.embedded import EmbeddedValkey

START_TIMEOUT_S: Final = 20.0
_SOCKETIO: Final = Path(__file__).with_name("socketio")


def missing(peer: str) -> str | None:
    """What `peer` lacks to be started, and how to get it; None where it is there."""
    if peer == "nats" and shutil.which("nats-server") is None:
        return "there is no nats-server on PATH (Debian: apt install nats-server)"
    if peer == "socketio":
        if shutil.which("node") is None:
            return "there is no node on PATH"
        if not (_SOCKETIO / "node_modules").is_dir():
            return f"its packages are not installed (npm ci --prefix {_SOCKETIO})"
    return None


@contextlib.contextmanager
def nats() -> Iterator[Place]:
    """A NATS server with its WebSocket listener."""
    with tempfile.TemporaryDirectory(prefix="bench-nats-") as name, contextlib.ExitStack() as stack:
        folder, port = Path(name), _free_port()
        config = folder / "nats.conf"
        config.write_text(
            f"listen: 127.0.0.1:{_free_port()}\n"
            f"websocket {{ listen: 127.0.0.1:{port}, no_tls: true }}\n"
        )
        process = _start(["nats-server", "-c", str(config)], folder / "log", stack)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _accepts(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"nats-server did not start:\n{(folder / 'log').read_text()}")
            time.sleep(0.02)
        yield _place(f"ws://127.0.0.1:{port}/", "nats", process.pid, None)


@contextlib.contextmanager
def socketio() -> Iterator[Place]:
    """A Socket.IO server and a Valkey for its adapter."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-socketio-") as name,
        contextlib.ExitStack() as stack,
    ):
        folder, port = Path(name), _free_port()
        options = ["--bind", "127.0.0.1", "--port", str(port)]
        valkey = stack.enter_context(EmbeddedValkey(folder / "valkey", extra=options))
        command = ["node", str(_SOCKETIO / "server.mjs"), f"redis://127.0.0.1:{port}"]
        process = _start(command, folder / "log", stack)
        assert process.stdout is not None
        too_late = threading.Timer(START_TIMEOUT_S, process.kill)
        too_late.start()
        line = process.stdout.readline().strip()
        too_late.cancel()
        if not line:
            raise BenchError(f"the Socket.IO server did not start:\n{(folder / 'log').read_text()}")
        url = f"ws://127.0.0.1:{line}/socket.io/?EIO=4&transport=websocket"
        yield _place(url, "socketio", process.pid, valkey.pid)


PEERS: Final[dict[str, Callable[[], AbstractContextManager[Place]]]] = {
    "nats": nats,
    "socketio": socketio,
}


def version(peer: str) -> str:
    """The version of a peer that is installed."""
    if peer == "nats":
        command = ["nats-server", "--version"]
    else:
        code = (
            "console.log(require('socket.io/package.json').version + ', node ' + process.version)"
        )
        command = ["node", "-e", code]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=20, check=True, cwd=_SOCKETIO
    )
    return ran.stdout.strip().removeprefix("nats-server: ")


def _place(url: str, speaks: str, pid: int, redis_pid: int | None) -> Place:
    own = {speaks: version(speaks)}
    return Place((url,), None, None, None, (pid,), redis_pid, speaks=speaks, versions=own)


def _start(command: list[str], log: Path, stack: contextlib.ExitStack) -> subprocess.Popen[str]:
    with log.open("w") as words:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=words, text=True)

    def end() -> None:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    stack.callback(end)
    return process


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
