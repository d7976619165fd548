"""Reading files: what is refused, and that nobody waits for what does not answer."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
from pathlib import Path

import pytest

from gateway import files
from gateway.files import FileReader, FilesDoNotAnswer, UnusableFile


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    """Also through a link, as Kubernetes mounts a secret."""
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    (tmp_path / "link").symlink_to("file")
    found = files.read(tmp_path / "link")
    assert (found.data, found.status.st_size) == (b"x" * 100_000, 100_000)
    (tmp_path / "empty").touch()
    assert files.read(tmp_path / "empty").data == b""


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """A pipe has nobody who writes, and a device has no end: to read either is to wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for path, why in (
            (tmp_path / "pipe", "it is a pipe, and no file"),
            (tmp_path / "socket", "it is a socket or device, and no file"),
            (Path("/dev/zero"), "it is a socket or device, and no file"),
            (Path("/dev/tty"), "it is a socket or device, and no file"),
        ):
            with pytest.raises(UnusableFile) as refused:
                files.read(path)
            assert (refused.value.strerror, refused.value.filename) == (why, str(path))
    with pytest.raises(IsADirectoryError):
        files.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "none")


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    """One that is too large, by its size or by what comes out of it."""
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UnusableFile, match="larger than 1048576 bytes"):
        files.read(tmp_path / "sparse")
    (tmp_path / "exact").write_bytes(b"12345")
    assert files.read(tmp_path / "exact", most=5).data == b"12345"
    with pytest.raises(UnusableFile, match="larger than 4 bytes"):
        files.read(tmp_path / "exact", most=4)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_is_private(tmp_path: Path, mode: int) -> None:
    """Its owner alone may read it."""
    path = tmp_path / "key"
    path.touch(mode)
    assert files.exposed(path, path.stat(), "the key") is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o644, 0o700])
def test_an_exposed_file_is_told_with_what_to_do(tmp_path: Path, mode: int) -> None:
    """The words are the same for every secret that a gateway reads."""
    path = tmp_path / "my key"
    path.touch()
    path.chmod(mode)
    assert files.exposed(path, path.stat(), "the key") == (
        f"{path} has mode {mode:04o}, so others may get at the key; run: chmod 600 '{path}'"
    )


@pytest.mark.parametrize(
    ("owner", "mode", "told"),
    [
        (0, 0o440, None),
        (0, 0o640, None),
        (0, 0o400, None),
        (0, 0o444, "does not belong"),
        (0, 0o460, "does not belong"),
        (4242, 0o440, "does not belong"),
    ],
)
def test_root_may_own_what_a_group_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, mode: int, told: str | None
) -> None:
    """The files that Kubernetes makes of a secret are root's, and the pod's group reads them."""
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    path = tmp_path / "key"
    path.touch()
    status = os.stat_result((0o100000 | mode, 0, 0, 1, owner, 10001, 0, 0, 0, 0))
    why = files.exposed(path, status, "the key", roots=True)
    assert why is told if told is None else re.search(told, str(why))
    assert files.exposed(path, status, "the key") is not None


async def test_nobody_waits_for_a_mount_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """G10: the event loop goes on, one thread is held up and not one more each time, and once the
    mount answers, files are read again."""
    monkeypatch.setattr(files, "PATIENCE_S", 0.05)
    answers = threading.Event()
    reader = FileReader()
    turns = asyncio.create_task(asyncio.sleep(0.01, "turned"))
    with pytest.raises(FilesDoNotAnswer, match=r"more than 0\.05 s: see whether a mount hangs"):
        await reader.run(answers.wait)
    assert await turns == "turned"
    threads = threading.active_count()
    for _ in range(3):
        with pytest.raises(FilesDoNotAnswer):
            await reader.run(lambda: "not begun")
        with pytest.raises(FilesDoNotAnswer):
            reader.run_now(lambda: "not begun", 0.05)
    assert threading.active_count() == threads
    answers.set()
    monkeypatch.setattr(files, "PATIENCE_S", 30)
    async with asyncio.timeout(30):
        while True:
            try:
                assert await reader.run(lambda: "read") == "read"
                break
            except FilesDoNotAnswer:
                await asyncio.sleep(0.01)


async def test_what_a_file_raises_comes_through() -> None:
    """The reason is the file's own, both ways."""
    reader = FileReader()
    for _ in range(2):
        with pytest.raises(IsADirectoryError):
            await reader.run(lambda: files.read(Path("/")))
        with pytest.raises(IsADirectoryError):
            reader.run_now(lambda: files.read(Path("/")), 30)
    assert reader.run_now(lambda: 5, 30) == 5


def test_a_thread_that_hangs_keeps_no_process() -> None:
    """It is a daemon: a gateway that leaves does not wait for its mount."""
    seen: list[bool] = []
    FileReader().run_now(lambda: seen.append(threading.current_thread().daemon), 30)
    assert seen == [True]
