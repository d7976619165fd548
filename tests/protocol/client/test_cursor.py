"""The cursor file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from protocol.client import Cursor, CursorFile, CursorFileDamaged


def test_a_cursor_comes_back(tmp_path: Path) -> None:
    """HP-7.2-3: what was saved is what a new process starts from; the last one counts."""
    file = CursorFile(tmp_path / "cursor")
    assert file.load() is None
    file.save(Cursor("e1", 5, 1))
    file.save(Cursor("an epoch", 2**53 - 1, 7))
    assert CursorFile(tmp_path / "cursor").load() == Cursor("an epoch", 2**53 - 1, 7)
    assert (tmp_path / "cursor").read_text() == "an epoch 9007199254740991 7\n"
    assert [path.name for path in tmp_path.iterdir()] == ["cursor"]


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    """The file is 0600, also where a crashed run left a more open one half written."""
    (tmp_path / ".cursor.new").write_text("left over and longer than a cursor")
    (tmp_path / ".cursor.new").chmod(0o666)
    CursorFile(tmp_path / "cursor").save(Cursor("e", 1, 1))
    assert stat.S_IMODE((tmp_path / "cursor").stat().st_mode) == 0o600
    assert (tmp_path / "cursor").read_text() == "e 1 1\n"


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"e1 5\n", b"e1 five 1\n", b"e1 -5 1\n", b"e1 5 1 \n", b"\xff 1 1"]
)
def test_a_damaged_file_is_said(tmp_path: Path, content: bytes) -> None:
    """Starting from nothing instead would repeat or skip messages without a word."""
    path = tmp_path / "cursor"
    path.write_bytes(content)
    with pytest.raises(CursorFileDamaged, match="delete it") as caught:
        CursorFile(path).load()
    assert caught.value.path == path


def test_a_cursor_that_can_not_be_saved_is_an_error(tmp_path: Path) -> None:
    """No silent loss of the position."""
    with pytest.raises(FileNotFoundError):
        CursorFile(tmp_path / "missing" / "cursor").save(Cursor("e", 1, 1))
