"""Mirrors gateway/files.py: files that only their owner may read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.files import write_private


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    """G7: from its first byte on, also where a file was there that others could read."""
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    umask = os.umask(0)
    try:
        write_private(path, b"new")
    finally:
        os.umask(umask)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]


def test_what_was_there_stays_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full leaves the old file, and what it left behind does not stop the next."""
    path = tmp_path / "secret"
    write_private(path, b"old")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space"):
            write_private(path, b"new")
    assert path.read_bytes() == b"old"
    write_private(path, b"newer")
    assert path.read_bytes() == b"newer"
