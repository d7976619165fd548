"""Reads the files that a client is given; refuses wrong ones without waiting for them.

A path may name a pipe, whose opening waits for a writer, or a device without end. The client opens
files in its event loop, so such a file would stop everything that runs in the loop.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 1024 * 1024
"""The largest file that is used. The system's whole list of CAs is a fifth of it."""


def check(path: Path) -> None:
    """See that `path` is a file that can be read to its end, before it is opened.

    Raises:
        OSError: it is a folder, pipe, socket or device, or over `MAX_BYTES`; or it is not there.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe, socket or device, and no file", str(path))
    if found.st_size > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {MAX_BYTES} bytes", str(path))
