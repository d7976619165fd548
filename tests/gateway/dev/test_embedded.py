"""The embedded Valkey: one owner a folder, data kept, and never a survivor."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest

from gateway.dev import embedded
from gateway.dev.embedded import (
    EmbeddedError,
    EmbeddedValkey,
    FolderInUse,
    NoServerBinary,
    ServerFailed,
    find_binary,
    packaged_server,
)

VALKEY = packaged_server()
REDIS = shutil.which("redis-server")

both_servers = pytest.mark.parametrize(
    "binary",
    [
        pytest.param(VALKEY, id="valkey"),
        pytest.param(
            Path(REDIS or "redis-server"),
            id="redis",
            marks=pytest.mark.skipif(not REDIS, reason="no redis-server on PATH"),
        ),
    ],
)

OWNER = """
import sys
from pathlib import Path
from gateway.dev.embedded import EmbeddedValkey
valkey = EmbeddedValkey(Path(sys.argv[1]), binary=Path(sys.argv[2]))
valkey.start()
print(valkey.pid, flush=True)
sys.stdin.read()
"""


def command(valkey: EmbeddedValkey, text: str) -> str:
    """One inline command, and its answer as it came."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(valkey.socket))
        client.sendall(text.encode() + b"\r\n")
        return client.recv(4096).decode()


@contextmanager
def owner_process(folder: Path, binary: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another Python that owns an embedded Valkey; gives it and its Valkey's process id."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder), str(binary)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdin is not None
    assert owner.stdout is not None
    try:
        yield owner, int(owner.stdout.readline())
    finally:
        owner.kill()
        owner.wait()
        owner.stdin.close()
        owner.stdout.close()


def ends_within(pidfd: int, seconds: float) -> bool:
    """A pidfd is readable once its process has ended (pidfd_open(2))."""
    return bool(select.select([pidfd], [], [], seconds)[0])


@both_servers
def test_data_is_kept_between_runs(tmp_path: Path, binary: Path) -> None:
    """G1: what the store said is kept is there after a restart."""
    valkey = EmbeddedValkey(tmp_path / "data", binary=binary)
    with valkey:
        assert command(valkey, "SET k v") == "+OK\r\n"
    with valkey:
        assert command(valkey, "GET k") == "$1\r\nv\r\n"


@both_servers
def test_the_server_dies_with_a_killed_parent(tmp_path: Path, binary: Path) -> None:
    """A parent killed with SIGKILL leaves no Valkey, a free folder, and its data (G10)."""
    valkey = EmbeddedValkey(tmp_path, binary=binary)
    with owner_process(tmp_path, binary) as (owner, pid):
        assert command(valkey, "SET k v") == "+OK\r\n"
        pidfd = os.pidfd_open(pid)
        try:
            owner.send_signal(signal.SIGKILL)
            assert ends_within(pidfd, 5)
        finally:
            os.close(pidfd)
    with valkey:
        assert command(valkey, "GET k") == "$1\r\nv\r\n"


def test_a_second_user_of_the_folder_is_refused(tmp_path: Path) -> None:
    """A second process on the same data would corrupt it (G1): it is told who has the folder."""
    with EmbeddedValkey(tmp_path, binary=VALKEY) as first:
        second = EmbeddedValkey(tmp_path, binary=VALKEY, lock_wait_s=0)
        with pytest.raises(FolderInUse) as refused:
            second.start()
        assert refused.value.folder == tmp_path
        assert refused.value.pid == os.getpid()
        assert "choose another folder" in str(refused.value)
        assert command(first, "PING") == "+PONG\r\n"
    with second:
        assert command(second, "PING") == "+PONG\r\n"


def test_the_folder_stays_taken_until_the_server_has_ended(tmp_path: Path) -> None:
    """The parent's lock is the Valkey's too, so a successor waits for its last write (G1)."""
    with owner_process(tmp_path, VALKEY) as (owner, pid):
        os.kill(pid, signal.SIGSTOP)
        owner.kill()
        owner.wait()
        try:
            with pytest.raises(FolderInUse):
                EmbeddedValkey(tmp_path, binary=VALKEY, lock_wait_s=0).start()
        finally:
            os.kill(pid, signal.SIGCONT)
    with EmbeddedValkey(tmp_path, binary=VALKEY) as successor:
        assert command(successor, "PING") == "+PONG\r\n"


def test_a_long_path_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    """A unix socket's path holds 107 bytes (unix(7)); a longer data folder works all the same."""
    folder = tmp_path / ("long" * 30)
    valkey = EmbeddedValkey(folder, binary=VALKEY)
    with valkey:
        assert len(os.fsencode(valkey.socket)) <= embedded.MAX_SOCKET_PATH
        assert valkey.socket.parent.stat().st_mode & 0o777 == 0o700
        assert command(valkey, "PING") == "+PONG\r\n"
    assert not valkey.socket.parent.exists()
    assert not (folder / "valkey.sock").exists()


def test_a_foreign_socket_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    """The temporary folder's name can be guessed, so one that others can write to is not used."""
    valkey = EmbeddedValkey(tmp_path / ("long" * 30), binary=VALKEY)
    valkey.socket.parent.mkdir()
    try:
        valkey.socket.parent.chmod(0o777)
        with pytest.raises(EmbeddedError, match="nobody else can write"):
            valkey.start()
        assert valkey.socket.parent.exists()
    finally:
        valkey.socket.parent.rmdir()


def test_the_url_is_percent_encoded(tmp_path: Path) -> None:
    """Redis clients unquote the path of a unix URL: a blank or a % in it must survive that."""
    assert EmbeddedValkey(tmp_path / "a b%").url.endswith("/a%20b%25/valkey.sock")


def test_a_server_that_can_not_start_says_why(tmp_path: Path) -> None:
    """The operator reads the server's own last words, and the folder is free again."""
    broken = EmbeddedValkey(tmp_path, binary=VALKEY, extra=["--no-such-option", "1"])
    with pytest.raises(ServerFailed, match="Bad directive") as failed:
        broken.start()
    assert failed.value.log == tmp_path / "valkey.log"
    with EmbeddedValkey(tmp_path, binary=VALKEY, lock_wait_s=0) as valkey:
        assert command(valkey, "PING") == "+PONG\r\n"


def test_nobody_else_can_reach_it(tmp_path: Path) -> None:
    """No TCP port, and a folder and a socket for our user only."""
    folder = tmp_path / "data"
    with EmbeddedValkey(folder, binary=VALKEY) as valkey:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert valkey.socket.stat().st_mode & 0o777 == 0o700
        assert "tcp_port:0" in command(valkey, "INFO server")


def test_starting_outside_the_main_thread_is_refused(tmp_path: Path) -> None:
    """The kernel would end the server with the thread that started it (prctl(2))."""
    raised: list[BaseException] = []

    def start() -> None:
        try:
            EmbeddedValkey(tmp_path, binary=VALKEY).start()
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(raised[0])


def test_the_packaged_server_is_preferred() -> None:
    """G1: a folder that Valkey 9 wrote can't be read by an older server that is installed later."""
    assert find_binary() == VALKEY


def without_files(name: str) -> None:
    """Of a package whose list of files was not installed with it."""


def not_installed(name: str) -> None:
    """Of a package that is not there."""
    raise metadata.PackageNotFoundError(name)


@pytest.mark.parametrize("files", [without_files, not_installed])
@pytest.mark.parametrize(("shown", "taken"), [("v=7.0.15", True), ("v=6.2.14", False)])
def test_where_there_is_no_packaged_server_the_path_has_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shown: str,
    taken: bool,
    files: Callable[[str], None],
) -> None:
    """Sharded pub/sub needs 7.0: an older server is passed over. Where there is none at all, one
    sentence names each way to get one; without the extra `dev` it was a traceback."""
    program = tmp_path / "redis-server"
    program.write_text(f"#!/bin/sh\necho 'Redis server {shown} sha=0'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(metadata, "files", files)
    if taken:
        assert find_binary() == program
    else:
        with pytest.raises(NoServerBinary, match=r"homeport-gateway\[dev\].*7\.0.*--redis-url"):
            find_binary()


def test_what_it_keeps_is_private(tmp_path: Path) -> None:
    """A folder that was there, open to all, stayed so, and in it the log and the append-only file
    could be read by everybody."""
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o755)
    with EmbeddedValkey(folder):
        assert folder.stat().st_mode & 0o777 == 0o700
        found = [path for path in folder.rglob("*") if path.is_file()]
        assert any("aof" in path.name for path in found)
        assert [path for path in found if path.stat().st_mode & 0o077] == []
