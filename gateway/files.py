"""Reading files that somebody else writes, so that a wrong one is refused and never waited for; and
writing those that nobody else may read.

A path in a configuration may come to name a pipe, a device, a folder or a file without end, and a
network mount may stop answering. `read` refuses the first kind; `FileReader` goes on without an
answer of the second.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import os
import secrets
import shlex
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

MAX_BYTES: Final = 1024 * 1024
"""The largest file that is read. The system's whole list of CAs is a fifth of it."""

PATIENCE_S: Final = 10.0
"""How long files may take to be read, before whoever reads them goes on without."""

_T = TypeVar("_T")


class UnusableFile(OSError):
    """It can be opened, and is nothing to read. `strerror` and `filename` say why and which."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(errno.EINVAL, why, str(path))


class FilesDoNotAnswer(OSError):
    """Reading takes longer than it may: the disk, or a network mount, does not answer."""

    def __init__(self, seconds: float) -> None:
        super().__init__(
            errno.ETIMEDOUT,
            f"reading files has taken more than {seconds:g} s: see whether a mount hangs",
        )

    def __str__(self) -> str:
        return str(self.strerror)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds; `status` is that of the opened file, whatever its name says by now."""

    data: bytes
    status: os.stat_result


def read(path: Path, most: int = MAX_BYTES) -> Contents:
    """Read a whole file of `most` bytes or fewer.

    Raises:
        UnusableFile: it is a pipe, socket or device, or larger.
        OSError: it can't be read; `IsADirectoryError` is one of them.
    """
    _check_kind(path, path.stat())  # before it is opened, which does something to some devices
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        _check_kind(path, status)
        data = b""
        while len(data) <= most:
            more = file.read(most + 1 - len(data))
            if more is None:
                raise UnusableFile(path, "it has nothing to read yet")
            if not more:
                return Contents(data, status)
            data += more
    raise UnusableFile(path, f"it is larger than {most} bytes")


def _check_kind(path: Path, status: os.stat_result) -> None:
    mode = status.st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a socket or device"
        raise UnusableFile(path, f"it is {kind}, and no file")


def exposed(path: Path, status: os.stat_result, what: str, *, roots: bool = False) -> str | None:
    """Why others could have read or written the file that holds `what`, and what to do; or None.

    `roots`: root may own it, and its group then read it, as with the files that Kubernetes makes of
    a secret. PostgreSQL has the same rule for its TLS key (its manual, section 19.9.1).
    """
    mode = stat.S_IMODE(status.st_mode)
    if roots and status.st_uid == 0 != os.geteuid() and not mode & 0o137:
        return None
    if status.st_uid != os.geteuid():
        return not_ours(path)
    if mode not in (0o600, 0o400):
        return (
            f"{path} has mode {mode:04o}, so others may get at {what}; "
            f"run: chmod 600 {shlex.quote(str(path))}"
        )
    return None


def not_ours(path: Path) -> str:
    """What to do about a private file that belongs to another user."""
    if os.geteuid() == 0:  # who obeyed a chown to root would lock the gateways out
        return (
            f"{path} belongs to another user, as the gateways' file should; "
            f"run this as that one: sudo -u '#{path.stat().st_uid}' …"
        )
    return (
        f"{path} does not belong to the user that Homeport runs as (uid {os.geteuid()}); "
        f"run: chown {os.geteuid()} {shlex.quote(str(path))}"
    )


def write_private(path: Path, data: bytes) -> None:
    """Replace `path` by a file with `data` and mode 0600, as a whole, and on disk, so that a crash
    leaves the old one or the new.

    Raises:
        OSError: it can't be written; what was there is there still.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)


class FileReader:
    """Has things read in a thread, one at a time, and goes on without those that take too long.

    The thread is a daemon: a process that ends does not wait for a mount that hangs. While one
    call has not come back, no other is begun.
    """

    def __init__(self) -> None:
        self._last: concurrent.futures.Future[object] | None = None

    async def run(self, call: Callable[[], _T]) -> _T:
        """The result of `call`, or what it raises.

        Raises:
            FilesDoNotAnswer: it, or the one before, has not come back for `PATIENCE_S`.
        """
        future = asyncio.wrap_future(self._begin(call, PATIENCE_S))
        done, _ = await asyncio.wait({future}, timeout=PATIENCE_S)
        if not done:
            future.add_done_callback(_take_note)
            raise FilesDoNotAnswer(PATIENCE_S)
        return future.result()

    def run_now(self, call: Callable[[], _T], seconds: float) -> _T:
        """As `run`, and the caller's thread waits, for `seconds` at the most."""
        future = self._begin(call, seconds)
        done, _ = concurrent.futures.wait([future], seconds)
        if not done:
            raise FilesDoNotAnswer(seconds)
        return future.result()

    def _begin(self, call: Callable[[], _T], seconds: float) -> concurrent.futures.Future[_T]:
        if self._last is not None and not self._last.done():
            raise FilesDoNotAnswer(seconds)
        future: concurrent.futures.Future[_T] = concurrent.futures.Future()
        self._last = future  # type: ignore[assignment]  # a Future is not covariant

        def work() -> None:
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
                future.set_exception(error)

        threading.Thread(target=work, name="files", daemon=True).start()
        return future


def _take_note(future: asyncio.Future[_T]) -> None:
    """Nobody waits for it any more; what it raises is no fault of the loop."""
    if not future.cancelled():
        future.exception()
