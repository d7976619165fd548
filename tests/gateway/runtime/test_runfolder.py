"""Where the processes of one gateway meet."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from gateway.ops.reports import METRICS_FOLDER
from gateway.runtime import runfolder


def test_it_is_private_and_goes() -> None:
    """Nobody else may hear reports, and nothing is left behind."""
    with runfolder.run_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / METRICS_FOLDER).is_dir()
    assert not folder.exists()


def test_where_memory_is_full_it_lies_on_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A worker whose metrics found no room there was killed by SIGBUS, and so was the next one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(runfolder, "ROOM", 2**62)
    with runfolder.run_folder() as folder:
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []
