"""A cursor kept in a file."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from protocol.client.errors import CursorFileDamaged
from protocol.frames import Cursor


class CursorFile:
    """One line of text, ``epoch ms seq``, replaced as a whole and readable by its owner only.

    A client given one starts from it, saves its own cursor at most once a second, and once more
    when it is closed. One client at a time.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def load(self) -> Cursor | None:
        """The cursor in the file, or None when there is no file.

        Raises:
            CursorFileDamaged: the file holds something else.
            OSError: the file can't be read.
        """
        try:
            text = self.path.read_text("utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            raise CursorFileDamaged(self.path) from None
        try:
            epoch, ms, seq = text.removesuffix("\n").rsplit(" ", 2)
            return msgspec.convert([epoch, int(ms), int(seq)], Cursor)
        except ValueError:  # msgspec.ValidationError is one
            raise CursorFileDamaged(self.path) from None

    def save(self, cursor: Cursor) -> None:
        """Replace the file's content.

        Raises:
            OSError: the file can't be written.
        """
        fresh = self.path.with_name(f".{self.path.name}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(fresh, flags, 0o600), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)  # a file left by an older run keeps its mode
            file.write(f"{cursor.epoch} {cursor.ms} {cursor.seq}\n")
            file.flush()
            os.fsync(file.fileno())  # else a power cut after the rename may leave an empty file
        fresh.replace(self.path)
