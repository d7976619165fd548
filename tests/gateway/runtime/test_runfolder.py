"""Where the processes of one gateway meet."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gateway.config import Settings
from gateway.runtime import runfolder
from tests.gateway.runtime.replica import Replica


def test_it_is_private_and_goes() -> None:
    """Nobody else may hear reports, and nothing is left behind."""
    with runfolder.run_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_where_memory_takes_nothing_it_lies_on_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A machine without /dev/shm, or with one that is full or read-only, is no reason not to
    start."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(runfolder, "MEMORY", tmp_path / "missing")
    with runfolder.run_folder() as folder:
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writable", [True, False])
def test_no_temporary_folder_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, writable: bool
) -> None:
    """In a container whose root is read-only a gateway did not start for want of /tmp, of which it
    needs nothing; where memory takes nothing either, it says what to give it."""

    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    if writable:
        with runfolder.run_folder() as folder:
            assert folder.parent == Path("/dev/shm")
    else:
        monkeypatch.setattr(runfolder, "MEMORY", tmp_path / "missing")
        with pytest.raises(OSError, match=r"make .*missing writable, or name a folder as TMPDIR"):
            runfolder.run_folder().__enter__()


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="only root can have a read-only root file system of its own, and unshare makes it",
)
def test_a_gateway_starts_on_a_read_only_root(settings: Settings, tmp_path: Path) -> None:
    """The whole of `homeport serve`: no /tmp and no HOME."""
    config = Replica(tmp_path, settings).config(ops_listen="127.0.0.1:0", workers=1)
    program = Path(sys.executable).with_name("homeport")
    script = (
        f"mount -o remount,bind,ro / && cd / && exec env -u HOME {program} serve --config {config}"
    )
    inside = subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert inside.stdout is not None
    lines = [inside.stdout.readline(), inside.stdout.readline()]
    inside.terminate()
    _, log = inside.communicate(timeout=60)
    assert lines[1:] == ["ready\n"], log
    assert inside.returncode == 0, log
