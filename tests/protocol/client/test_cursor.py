"""The cursor file."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from homeport import (
    ClientClosed,
    Cursor,
    CursorFile,
    CursorFileDamaged,
    CursorFileForeign,
    CursorNotSaved,
    CursorUnsaved,
)
from homeport.client import consumer as module
from homeport.client.cursor import Position

from tests.harness import until
from tests.protocol.client.conftest import Setting
from tests.protocol.client.server import EPOCH, USER


def at(seq: int, epoch: str = "e1", device: str = "laptop", user: str = USER) -> Position:
    """Where a device of a user is."""
    return Position("a" * 32, user, device, Cursor(epoch, 1000 + seq, seq))


def test_a_cursor_comes_back(tmp_path: Path) -> None:
    """HP-7.2-3: what was saved is what a new process starts from; the last one counts."""
    file = CursorFile(tmp_path / "cursor")
    assert file.load() is None
    file.save(at(1))
    file.save(at(2**53 - 2000, "an epoch"))
    assert CursorFile(tmp_path / "cursor").load() == at(2**53 - 2000, "an epoch")
    assert [path.name for path in tmp_path.iterdir()] == ["cursor"]


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    """The file is 0600, also where a crashed run left a more open one half written."""
    (tmp_path / ".cursor.new").write_text("left over and longer than a cursor" * 100)
    (tmp_path / ".cursor.new").chmod(0o666)
    CursorFile(tmp_path / "cursor").save(at(1))
    assert stat.S_IMODE((tmp_path / "cursor").stat().st_mode) == 0o600
    assert CursorFile(tmp_path / "cursor").load() == at(1)


def test_it_is_saved_where_there_is_only_what_windows_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK runs on Windows, whose os module knows no pipes, modes and folders: there, saving
    failed with AttributeError."""
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "fchmod"):
        monkeypatch.delattr(os, name)
    monkeypatch.setattr(os, "O_BINARY", 0, raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    file = CursorFile(tmp_path / "cursor")
    file.save(at(1))
    file.save(at(2))
    assert file.load() == at(2)


WHOLE = b'{"app":"a","user":"u","device":"d","cursor":["e1",5,1]}\n'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"e1 5 1\n",
        WHOLE[:-10],
        WHOLE + WHOLE,
        WHOLE.replace(b"5", b"-5"),
        WHOLE.replace(b"5", b'"5"'),
        WHOLE.replace(b'"user":"u",', b""),
        WHOLE.replace(b"e1", b"\xff"),
        b"[" * 100_000,
        bytes(10_000),
    ],
    ids=range(11),
)
def test_a_damaged_file_is_said(tmp_path: Path, content: bytes) -> None:
    """Starting from nothing instead would repeat or skip messages without a word."""
    path = tmp_path / "cursor"
    path.write_bytes(WHOLE)
    assert CursorFile(path).load() == Position("a", "u", "d", Cursor("e1", 5, 1))
    path.write_bytes(content)
    with pytest.raises(CursorFileDamaged, match="delete it") as caught:
        CursorFile(path).load()
    assert caught.value.path == path


def test_a_cursor_that_can_not_be_saved_is_an_error(tmp_path: Path) -> None:
    """No silent loss of the position; what to look at is in the text and in the fields."""
    path = tmp_path / "missing" / "cursor"
    with pytest.raises(CursorNotSaved, match="No such file") as caught:
        CursorFile(path).save(at(1))
    assert isinstance(caught.value, OSError)
    assert (caught.value.path, caught.value.errno) == (path, errno.ENOENT)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old position stays whole, and nothing is left beside it."""
    file = CursorFile(tmp_path / "cursor")
    file.save(at(1))

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(CursorNotSaved, match="No space left"):
        patch.setattr(os, "fsync", no_space)
        file.save(at(2))
    assert file.load() == at(1)
    assert [path.name for path in tmp_path.iterdir()] == ["cursor"]


def test_file_and_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut after the save finds the new content under the old name."""
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    CursorFile(tmp_path / "cursor").save(at(1))
    assert synced == [".cursor.new", tmp_path.name]


async def test_a_folder_that_is_gone_is_found_when_entering(
    setting: Setting, tmp_path: Path
) -> None:
    """Before anything is acknowledged that could then not be saved."""
    file = CursorFile(tmp_path / "missing" / "cursor")
    answering = asyncio.create_task(setting.server.peer())
    entering = asyncio.create_task(setting.client(cursor=file).__aenter__())
    await (await answering).accept()
    with pytest.raises(CursorNotSaved, match="missing"):
        await entering


async def test_a_save_that_fails_is_told_and_tried_again(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It failed in a timer, of which the program heard nothing; after a restart, messages that it
    had acknowledged came again."""
    monkeypatch.setattr(module, "SAVE_EVERY_S", 0.01)
    folder = tmp_path / "there"
    folder.mkdir()
    file = CursorFile(folder / "cursor")
    async with setting.live(cursor=file, auto_ack=False) as (client, peer):
        folder.rename(tmp_path / "elsewhere")
        await peer.push(1)
        client.ack(await anext(client.messages()))
        told = await setting.events.next(CursorUnsaved)
        assert told == CursorUnsaved(file.path, "No such file or directory")
        folder.mkdir()
        await until(file.path.exists)
        assert await peer.acked(1) == [1]
    position = file.load()
    assert position is not None
    assert position.cursor == Cursor(EPOCH, 1001, 1)


async def test_a_save_that_fails_at_the_close_is_raised(setting: Setting, tmp_path: Path) -> None:
    """And it does not hide what the program itself raised."""
    for own_error in (False, True):
        folder = tmp_path / str(own_error)
        folder.mkdir()
        file = CursorFile(folder / "cursor")

        async def run(file: CursorFile, own_error: bool) -> None:
            async with setting.live(cursor=file, auto_ack=False) as (client, peer):
                await peer.push(1)
                client.ack(await anext(client.messages()))
                file.path.unlink()
                file.path.parent.rmdir()
                if own_error:
                    raise LookupError("the program's own")

        if own_error:
            with pytest.raises(LookupError) as caught:
                await run(file, own_error)
            assert "the cursor is not saved" in caught.value.__notes__[0]
        else:
            with pytest.raises(CursorNotSaved):
                await run(file, own_error)


async def test_a_file_of_another_device_is_refused(setting: Setting, tmp_path: Path) -> None:
    """The phone's place in the queue is not the laptop's: messages would be skipped."""
    file = CursorFile(tmp_path / "cursor")
    file.save(at(7, device="phone"))
    with pytest.raises(CursorFileForeign, match="another device") as caught:
        setting.client(cursor=file)
    assert (caught.value.differs, caught.value.path) == ("device", file.path)
    assert file.load() == at(7, device="phone")


async def test_a_file_of_another_user_is_refused(setting: Setting, tmp_path: Path) -> None:
    """Where the token tells nothing, the server's `connected` does; the file is left as it was."""
    file = CursorFile(tmp_path / "cursor")
    file.save(at(7, user="bob"))
    answering = asyncio.create_task(setting.server.peer())
    entering = asyncio.create_task(setting.client(cursor=file).__aenter__())
    await (await answering).accept()
    with pytest.raises(CursorFileForeign, match="another user"):
        await entering
    assert file.load() == at(7, user="bob")


async def test_a_closed_client_saves_no_more(setting: Setting, tmp_path: Path) -> None:
    """The file may be another client's by then."""
    file = CursorFile(tmp_path / "cursor")
    async with setting.live(cursor=file, auto_ack=False) as (client, peer):
        await peer.push(1)
        message = await anext(client.messages())
    file.path.unlink()
    with pytest.raises(ClientClosed):
        client.ack(message)
    assert file.load() is None


WRONG: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "device without end": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
}


@pytest.mark.timeout(20)  # the fault was to wait for ever, with the whole event loop
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    """A client that was given a pipe as its cursor file stood still, and its program with it, until
    somebody wrote into the pipe."""
    path = tmp_path / "path"
    WRONG[kind](path)
    with pytest.raises(OSError, match="path") as caught:
        CursorFile(path).load()
    assert caught.value.filename == str(path)
    assert caught.value.strerror


@pytest.mark.timeout(20)
def test_a_pipe_in_the_way_of_a_save_is_refused(tmp_path: Path) -> None:
    """A save writes a new file beside the old one; where that name is a pipe's, it says so."""
    os.mkfifo(tmp_path / ".cursor.new")
    with pytest.raises(CursorNotSaved):
        CursorFile(tmp_path / "cursor").save(at(1))


@pytest.mark.timeout(20)
def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    """No cursor is as large as that."""
    path = tmp_path / "cursor"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(CursorFileDamaged):
        CursorFile(path).load()
