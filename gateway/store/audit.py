"""The audit: which operator did what, and when.

A note lies in two places, sealed: in Redis, and in a file beside the key file of the machine where
the command ran. Redis may come back from a backup; what only the file has by then was undone by
that (`homeport region check`).
"""

from __future__ import annotations

import base64
import contextlib
import getpass
import os
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from gateway.redis.link import Link
from gateway.security.sealing import REGION, Kind, Sealer, SealError
from gateway.store.keys import Keys
from gateway.store.region_clock import time_of
from gateway.store.scripts import script

AUDIT: Final = script("audit")

KEPT: Final = 1000
"""Notes that are kept in each place."""

_FILE_ROOM: Final = KEPT // 4
"""By how many more the file may hold before it is written anew."""


class Note(msgspec.Struct, frozen=True):
    """An operator's action: `ms` is when, since 1970; `by` the user and host that it ran on.

    `about` says more, as whom it was about. It holds no secret.
    """

    id: str
    ms: int
    by: str
    action: str
    app: str = ""
    about: str = ""


class AuditStore:
    """The notes of a region. `file` is the one beside the key file; None: there is none."""

    def __init__(self, link: Link, keys: Keys, sealer: Sealer, file: Path | None) -> None:
        self._link = link
        self._keys = keys
        self._sealer = sealer
        self._file = file

    async def note(self, action: str, app_id: str = "", about: str = "") -> None:
        """Say that this process' user did it."""
        made = note(await time_of(self._link, self._keys), action, app_id, about)
        if self._file is not None:  # first: it is what is left when Redis comes from a backup
            with contextlib.suppress(OSError):  # read-only, as in Kubernetes: then Redis has it
                keep(self._file, seal(self._sealer, made))
        await self.put(made)

    async def put(self, made: Note) -> None:
        """Have a note in Redis."""
        sealed = seal(self._sealer, made)
        await self._link.run(AUDIT, (self._keys.audit,), sealed, KEPT)

    async def notes(self) -> tuple[list[Note], list[Note]]:
        """What operators did: what Redis has, and what only the file has, each the oldest first.

        Raises:
            OSError: the file can't be read.
        """
        sealed = await self._link.call("LRANGE", self._keys.audit, 0, -1)
        there = opened(self._sealer, reversed(sealed))
        oldest = there[0].ms if len(there) == KEPT else 0
        ids = {each.id for each in there}
        in_file = [] if self._file is None else opened(self._sealer, kept(self._file))
        return there, [each for each in in_file if each.id not in ids and each.ms >= oldest]


def note(ms: int, action: str, app: str = "", about: str = "") -> Note:
    """What this process' user does now."""
    return Note(secrets.token_hex(8), ms, _who(), action, app, about)


def seal(sealer: Sealer, what: Note) -> bytes:
    """A note as it is kept."""
    return sealer.seal(REGION, Kind.AUDIT, "", b"", msgspec.json.encode(what), what.ms)


def opened(sealer: Sealer, sealed: Iterable[bytes]) -> list[Note]:
    """Read notes. Those that do not open, forged or another region's, are left out."""
    notes = []
    for each in sealed:
        try:
            plain = sealer.open(REGION, Kind.AUDIT, "", b"", each)
        except SealError:
            continue
        notes.append(msgspec.json.decode(plain, type=Note))
    return notes


def file_of(key_file: Path) -> Path:
    """Where notes lie beside a key file."""
    return key_file.with_name(f"{key_file.name}.audit")


def keep(path: Path, sealed: bytes) -> None:
    """Add a note to the file, a line each.

    Raises:
        OSError: it can't be written, as where the key file is a copy that is mounted read-only.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        file.write(base64.b64encode(sealed) + b"\n")
    lines = path.read_bytes().splitlines(keepends=True)
    if len(lines) > KEPT + _FILE_ROOM:
        draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        draft.touch(0o600)
        draft.write_bytes(b"".join(lines[-KEPT:]))
        draft.replace(path)


def kept(path: Path) -> list[bytes]:
    """The notes of the file, the oldest first; none where there is no file.

    Raises:
        OSError: it can't be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [base64.b64decode(line) for line in lines]


def _who() -> str:
    """The user and the host; after sudo, also the user who called it."""
    user = getpass.getuser() if os.environ.get("USER") else str(os.geteuid())
    behind = os.environ.get("SUDO_USER")
    return f"{behind} as {user}@{_host()}" if behind else f"{user}@{_host()}"


def _host() -> str:
    return socket.gethostname()
