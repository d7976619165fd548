"""What a client makes of a path that names no file it can use."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from homeport import CursorFile, CursorNotSaved
from homeport.client.address import Address
from homeport.client.files import MAX_BYTES

from tests.protocol.client.test_cursor import at


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)


WRONG: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "device without end": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "larger than any": _large,
}


def _waits_for_nobody(path: Path, use: Callable[[], object]) -> None:
    """`use` raises an OSError with the path in it."""
    with pytest.raises(OSError, match="path") as caught:
        use()
    assert caught.value.filename == str(path)
    assert caught.value.strerror


@pytest.mark.timeout(20)  # the fault was to wait for ever, with the whole event loop
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    """A client that was given a pipe as its cursor file or `cacert` stood still, and its program
    with it, until somebody wrote into the pipe."""
    path = tmp_path / "path"
    WRONG[kind](path)
    _waits_for_nobody(path, CursorFile(path).load)
    _waits_for_nobody(path, lambda: Address.of("wss://localhost", path, None))


@pytest.mark.timeout(20)
def test_a_pipe_in_the_way_of_a_save_is_refused(tmp_path: Path) -> None:
    """A save writes a new file beside the old one; where that name is a pipe's, it says so."""
    os.mkfifo(tmp_path / ".cursor.new")
    with pytest.raises(CursorNotSaved):
        CursorFile(tmp_path / "cursor").save(at(1))


@pytest.mark.parametrize("content", [b"", b"\xff\xfe{]", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_ca_file_without_a_certificate_is_named(tmp_path: Path, content: bytes) -> None:
    """OpenSSL's words alone say neither which file it was nor what should be in it."""
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(ssl.SSLError, match=r"ca\.pem holds no certificate in PEM"):
        Address.of("wss://localhost", path, None)
