"""A cursor kept in a file."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from homeport.client.errors import CursorFileDamaged, CursorNotSaved
from homeport.frames import Cursor

MAX_BYTES: Final = 4096
"""No file of a cursor is larger."""


class Position(Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds: how far one device of one user of one app has got."""

    app: str
    user: str
    device: str
    cursor: Cursor


class CursorFile:
    """A small JSON file with a client's cursor, which only its owner can read. On Windows, the
    rights of its folder say who can.

    A client with such a file starts from it, saves its cursor as soon as it is connected, then at
    most once per second, and once more when it is closed. Each save replaces the whole file. The
    file belongs to the app, user and device that saved it first. Only one client may use it at a
    time.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def load(self) -> Position | None:
        """What the file holds, or None when there is no file.

        Raises:
            CursorFileDamaged: it holds something else.
            OSError: it can't be read, or is no file: a folder, a pipe, a device.
        """
        try:
            _check_kind(self.path)
            with self.path.open("rb") as file:
                return msgspec.json.decode(file.read(MAX_BYTES), type=Position)
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):  # msgspec's errors, and those of UTF-8
            raise CursorFileDamaged(self.path) from None

    def save(self, position: Position) -> None:
        """Replace the file's content. When this returns, it survives a power cut.

        Raises:
            CursorNotSaved: it can't be written; what was there before is still there.
        """
        fresh = self.path.with_name(f".{self.path.name}.new")
        try:
            try:
                _write(fresh, msgspec.json.encode(position) + b"\n")
                fresh.replace(self.path)
            except OSError:
                with contextlib.suppress(OSError):
                    fresh.unlink()
                raise
            _sync_folder(self.path.parent)
        except OSError as error:
            raise CursorNotSaved(self.path, error) from error


def _check_kind(path: Path) -> None:
    """A pipe or device may never end, and the whole event loop would wait for it to be read."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a pipe, socket or device, and no file", str(path))


def _write(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    if sys.platform == "win32":
        flags |= os.O_BINARY
    else:
        # A pipe of this name is refused: to open it would wait for a reader of it.
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        if sys.platform != "win32":
            os.fchmod(file.fileno(), 0o600)  # a file left by an older run keeps its mode
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # else a power cut after the rename may leave an empty file


def _sync_folder(folder: Path) -> None:
    """The rename itself survives a power cut only with its folder. Windows opens no folders."""
    if sys.platform != "win32":
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
