"""The run folder: what the processes of one `homeport serve` share, for as long as it runs.

Its supervisor holds a lock on it, and so do the children that it forks. A folder without a lock is
therefore that of a supervisor that was killed, and whose workers have ended: the next start removes
it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of ours in it, mode 0700


@contextlib.contextmanager
def run_folder() -> Iterator[Path]:
    """Make one, mode 0700, for as long as the context lasts; remove those that were left behind.

    It lies in memory where that can be written to, else in the temporary folder, where there is
    one: a container's root may be read-only as a whole.

    Raises:
        OSError: it can't be made.
    """
    sweep()
    while True:
        folder = _make(f"{_prefix(os.getuid())}{os.getpid()}-")
        lock = _lock(folder)
        if lock is not None and folder.exists():
            break
        if lock is not None:  # another start took it for one that was left behind
            os.close(lock)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep() -> None:
    """Remove our user's folders whose processes have all ended."""
    for folder in folders(os.getuid()):
        lock = _lock(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def folders(user: int | None = None) -> Iterator[Path]:
    """The run folders that there are: those of one user, or all."""
    for base in (MEMORY, _temporary()):
        if base is not None:
            yield from base.glob(f"{_prefix(user)}*")


def is_left_behind(folder: Path) -> bool:
    """True where all its processes have ended."""
    lock = _lock(folder)
    if lock is None:
        return False
    os.close(lock)
    return True


def _lock(folder: Path) -> int | None:
    """The descriptor that holds the folder's lock; None where others hold it, or it is gone."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _make(prefix: str) -> Path:
    with contextlib.suppress(OSError):  # it is not there, full or read-only
        return Path(tempfile.mkdtemp(prefix=prefix, dir=MEMORY))
    temporary = _temporary()
    if temporary is None:
        raise OSError(
            errno.EROFS,
            f"there is nowhere to write: make {MEMORY} writable, or name a folder as TMPDIR",
        )
    return Path(tempfile.mkdtemp(prefix=prefix, dir=temporary))


def _temporary() -> Path | None:
    """The temporary folder, or None where nothing of that kind can be written to."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return None


def _prefix(user: int | None) -> str:
    return "homeport-run-" + ("" if user is None else f"{user}-")
