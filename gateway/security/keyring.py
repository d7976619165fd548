"""The region's keyring: one file with the keys that everything stored is sealed under.

The file is JSON::

    {"region": "eu",
     "keys": {"1": "<64 hex digits>", "2": …},
     "active_from": {"1": 0, "2": 1764000000000}}

New values are sealed under the highest version whose time in `active_from`, in milliseconds since
1970, has come. Every gateway can therefore read with a new key before any gateway seals with it.
Older versions stay, so that what they sealed opens. Files from before there was a delay have
``"active": 2`` instead.

``"begun": "2026-01-02T03:04:05Z"`` is there once the region has begun to keep data in a Redis. From
then on an empty Redis can't be the region's, and `gateway.store.stamp` refuses it.

Errors::

    KeyringError                carries `path`
    +-- KeyringMissing          no such file
    +-- KeyringExists           `create` never replaces a keyring
    +-- KeyringUnprotected      others may read it, or it is another user's
    +-- KeyringMalformed        not a keyring
    +-- KeyringOtherRegion      of another region; carries `region`
    +-- KeyringLost             it lacks a key that a running gateway holds; carries `version`
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway import files

KEY_BYTES: Final = 32
MAX_VERSION: Final = 2**16 - 1
"""A sealed value's header holds the version in two bytes."""


class KeyringError(Exception):
    """The keyring file can't be used as asked. The text says what to do and shows no key."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(text)
        self.path = path


class KeyringMissing(KeyringError):
    def __init__(self, path: Path) -> None:
        super().__init__(
            path, f"there is no keyring at {path}; restore it, or create it for a new region"
        )


class KeyringExists(KeyringError):
    def __init__(self, path: Path) -> None:
        super().__init__(
            path,
            f"{path} exists already, and replacing a keyring loses all that was sealed with it; "
            "rotate it, or choose another path",
        )


class KeyringUnprotected(KeyringError):
    pass


class KeyringMalformed(KeyringError):
    def __init__(self, path: Path, what: str) -> None:
        super().__init__(path, f"{path} is not a keyring: {what}; restore it from your backup")


class KeyringOtherRegion(KeyringError):
    def __init__(self, path: Path, region: str, wanted: str) -> None:
        super().__init__(
            path,
            f"{path} is the keyring of region {region}, and this is region {wanted}; "
            f"use {wanted}'s own keyring",
        )
        self.region = region


class KeyringLost(KeyringError):
    def __init__(self, path: Path, version: int) -> None:
        super().__init__(
            path,
            f"{path} has lost the key of version {version}, without which messages that wait can't "
            "be read; restore the file that had it",
        )
        self.version = version


class _File(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    region: str
    keys: dict[int, str]
    active_from: dict[int, int] = {}
    active: int | None = None  # what stood here before `active_from`
    begun: str | None = None


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of one region: `keys` maps a version (1 to 65535) to 32 bytes, and `active_from`
    some of them to when each begins to seal, in milliseconds since 1970; 0: nobody noted it.

    `begun` is when the region began to keep data in a Redis, as an ISO time in UTC; None: it did
    not yet, as far as the file tells. `path` is the file. Two keyrings are equal when their keys
    are.
    """

    region: str
    active_from: dict[int, int]
    keys: dict[int, bytes] = field(repr=False)
    begun: str | None = field(default=None, compare=False, repr=False)
    path: Path | None = field(default=None, compare=False, repr=False)

    @classmethod
    def create(cls, path: Path, region: str, now_ms: int | None = None) -> Keyring:
        """Write a new keyring with one fresh key, mode 0600. `now_ms` None: the machine's clock.

        Raises:
            KeyringExists: there is a file already.
            OSError: the folder is missing or can't be written.
        """
        keys = {1: secrets.token_bytes(KEY_BYTES)}
        keyring = cls(region, {1: _ms(now_ms)}, keys, path=path)
        with _locked(path.parent):
            if path.exists():
                raise KeyringExists(path)
            _write(path, keyring)
        return keyring

    @classmethod
    def load(cls, path: Path, region: str) -> Keyring:
        """Read the keyring of `region`.

        Raises:
            KeyringMissing, KeyringUnprotected, KeyringMalformed, KeyringOtherRegion
        """
        keyring = _read(path)
        if keyring.region != region:
            raise KeyringOtherRegion(path, keyring.region, region)
        return keyring

    @classmethod
    def rotate(cls, path: Path, after_s: int = 0, now_ms: int | None = None) -> Keyring:
        """Add a fresh version to the file, to seal under from `after_s` seconds from now on.

        Returns what is there now. A gateway that gets the file later than that can't read what
        others seal meanwhile. `now_ms` None: the machine's clock.

        Raises:
            KeyringMissing, KeyringUnprotected, KeyringMalformed
            OSError: the folder can't be written.
        """
        path = path.resolve()  # a link to the file stays a link
        with _locked(path.parent):
            old = _read(path)
            version = max(old.keys) + 1
            if version > MAX_VERSION:
                raise KeyringError(path, f"{path} has used up its {MAX_VERSION} versions")
            keyring = cls(
                old.region,
                old.active_from | {version: _ms(now_ms) + after_s * 1000},
                old.keys | {version: secrets.token_bytes(KEY_BYTES)},
                old.begun,
                path,
            )
            _write(path, keyring)
        return keyring

    def mark_begun(self, now_ms: int | None = None) -> bool:
        """Note in the file that the region has begun; False where that is noted already.

        The file is read anew: another process may have marked or rotated it meanwhile. `now_ms`
        None: the machine's clock.

        Raises:
            KeyringError: it can't be read, or is another region's by now.
            OSError: it can't be written.
        """
        if self.path is None:
            raise OSError(errno.EROFS, "the keyring is in no file")
        path = self.path.resolve()
        with _locked(path.parent):
            found = type(self).load(path, self.region)
            if found.begun is not None:
                return False
            begun = datetime.fromtimestamp(_ms(now_ms) // 1000, UTC)
            _write(path, replace(found, begun=begun.isoformat().replace("+00:00", "Z")))
        return True

    def active_at(self, now_ms: int) -> int:
        """The version to seal under at `now_ms`: the highest whose time has come.

        Where none has, because this clock is behind, it is the one that comes first.
        """
        come = [version for version, ms in self.active_from.items() if ms <= now_ms]
        return max(come) if come else min(self.active_from, key=self.active_from.__getitem__)

    def coming_at(self, now_ms: int) -> frozenset[int]:
        """The versions that do not seal yet at `now_ms`, and will."""
        active = self.active_at(now_ms)
        return frozenset(
            version for version, ms in self.active_from.items() if ms > now_ms and version > active
        )

    def check_value(self, version: int) -> str:
        """16 hex digits that tell whether two keyrings hold the same key, and nothing about it.

        Raises:
            KeyError: there is no such version.
        """
        info = f"homeport key check v1\0{self.region}".encode()
        return HKDF(SHA256(), 8, salt=None, info=info).derive(self.keys[version]).hex()


def _read(path: Path) -> Keyring:
    try:
        found = files.read(path)
    except FileNotFoundError:
        raise KeyringMissing(path) from None
    except IsADirectoryError:
        raise KeyringMalformed(path, "it is a folder") from None
    except PermissionError:
        raise KeyringUnprotected(path, files.not_ours(path)) from None
    except files.UnusableFile as error:
        raise KeyringMalformed(path, str(error.strerror)) from None
    if (why := files.exposed(path, found.status, "the region's keys")) is not None:
        raise KeyringUnprotected(path, why)
    try:
        file_ = msgspec.json.decode(found.data, type=_File)
        keys = {version: bytes.fromhex(text) for version, text in file_.keys.items()}
    except (msgspec.DecodeError, ValueError):
        raise KeyringMalformed(path, "it does not have the form that Homeport writes") from None
    if not all(0 < version <= MAX_VERSION for version in keys):
        raise KeyringMalformed(path, f"versions go from 1 to {MAX_VERSION}")
    if not all(len(key) == KEY_BYTES for key in keys.values()):
        raise KeyringMalformed(path, f"a key is not {KEY_BYTES} bytes")
    active_from = file_.active_from
    if file_.active is not None and not active_from:
        active_from = {file_.active: 0}
    if not active_from.keys() <= keys.keys():
        raise KeyringMalformed(path, "the active version has no key")
    if not active_from:
        raise KeyringMalformed(path, "no version is active")
    return Keyring(file_.region, active_from, keys, file_.begun, path)


def _ms(now_ms: int | None) -> int:
    return time.time_ns() // 1_000_000 if now_ms is None else now_ms


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep two writers apart: the second would drop the first one's new key."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, keyring: Keyring) -> None:
    """Replace the file as a whole, and on disk, so that a crash leaves the old one or the new."""
    keys = {version: key.hex() for version, key in keyring.keys.items()}
    content = _File(keyring.region, keys, keyring.active_from, begun=keyring.begun)
    data = msgspec.json.format(msgspec.json.encode(content))
    files.write_private(path, data + b"\n")
