"""Mirrors gateway/security/keyring.py."""

from __future__ import annotations

import hmac
import json
import multiprocessing
import os
import shlex
import stat
from datetime import datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from gateway.security.keyring import (
    MAX_VERSION,
    Keyring,
    KeyringError,
    KeyringExists,
    KeyringMalformed,
    KeyringMissing,
    KeyringOtherRegion,
    KeyringUnprotected,
)
from gateway.security.sealing import Kind, Owner, Sealer

PLACE = (Owner("03" + "ab" * 15, b"s" * 32), Kind.MESSAGE, "d:a:b", b"m" * 16)
NOW_MS = 1_764_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


def test_a_new_keyring_is_loaded_back_and_only_its_owner_can_read_it(path: Path) -> None:
    """G7: the file is 0600 from its first byte on, and holds what was created."""
    created = Keyring.create(path, "eu")
    assert path.stat().st_mode & 0o777 == 0o600
    assert Keyring.load(path, "eu") == created
    assert (created.region, created.active_at(NOW_MS), list(created.keys)) == ("eu", 1, [1])
    assert len(created.keys[1]) == 32


def test_a_keyring_is_never_replaced(path: Path) -> None:
    """G4: creating over a keyring would lose all that it sealed."""
    Keyring.create(path, "eu")
    before = path.read_bytes()
    with pytest.raises(KeyringExists, match="rotate it"):
        Keyring.create(path, "eu")
    assert path.read_bytes() == before


def test_a_missing_file_is_told(path: Path) -> None:
    """G6: a gateway without keys does not start, and does not make some."""
    with pytest.raises(KeyringMissing, match="there is no keyring at") as caught:
        Keyring.load(path, "eu")
    assert caught.value.path == path
    with pytest.raises(KeyringMissing):
        Keyring.rotate(path)
    assert not path.exists()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o606, 0o700, 0o4600])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """G7: the text holds the very command that mends it."""
    path = tmp_path / "key ring.json"
    Keyring.create(path, "eu")
    path.chmod(mode)
    with pytest.raises(KeyringUnprotected) as caught:
        Keyring.load(path, "eu")
    text = str(caught.value)
    assert f"has mode {mode:04o}" in text
    command = shlex.split(text.split("run: ")[1])
    assert command == ["chmod", "600", str(path)]
    Path(command[2]).chmod(int(command[1], 8))
    Keyring.load(path, "eu")


def test_a_read_only_file_is_accepted(path: Path) -> None:
    """G7: 0400 is what a mounted secret has."""
    created = Keyring.create(path, "eu")
    path.chmod(0o400)
    assert Keyring.load(path, "eu") == created


def test_another_users_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G7: its owner could change the keys under us."""
    Keyring.create(path, "eu")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(KeyringUnprotected, match="run: chown 12345 "):
        Keyring.load(path, "eu")


def test_another_regions_keyring_is_refused(path: Path) -> None:
    """G6: a gateway does not start on another region's keys."""
    Keyring.create(path, "sg")
    with pytest.raises(KeyringOtherRegion, match="of region sg, and this is region eu") as caught:
        Keyring.load(path, "eu")
    assert caught.value.region == "sg"


KEY = "ab" * 32


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        "\xff",
        json.dumps({"region": "eu", "active": 1}),
        json.dumps({"region": "eu", "active": 1, "keys": {}}),
        json.dumps({"region": "eu", "active": 2, "keys": {"1": KEY}}),
        json.dumps({"region": "eu", "active": "1", "keys": {"1": KEY}}),
        json.dumps({"region": "eu", "active": 0, "keys": {"0": KEY}}),
        json.dumps({"region": "eu", "active": 65536, "keys": {"65536": KEY}}),
        json.dumps({"region": "eu", "active": 1, "keys": {"one": KEY}}),
        json.dumps({"region": "eu", "active": 1, "keys": {"1": KEY[:-2]}}),
        json.dumps({"region": "eu", "active": 1, "keys": {"1": KEY + "ab"}}),
        json.dumps({"region": "eu", "active": 1, "keys": {"1": "z" * 64}}),
        json.dumps({"region": "eu", "active": 1, "keys": {"1": KEY}, "note": ""}),
        json.dumps({"region": "eu", "keys": {"1": KEY}}),
        json.dumps({"region": "eu", "active_from": {"2": 0}, "keys": {"1": KEY}}),
        json.dumps({"region": "eu", "active_from": {"1": "now"}, "keys": {"1": KEY}}),
    ],
)
def test_a_malformed_file_is_refused_and_shows_no_key(path: Path, content: str) -> None:
    """G7: half a key is no key, and an error text is no place for one."""
    path.touch(mode=0o600)
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(KeyringMalformed, match="restore it from your backup") as caught:
        Keyring.load(path, "eu")
    assert KEY[:8] not in str(caught.value)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """A wrong path is told as such."""
    with pytest.raises(KeyringMalformed, match="it is a folder"):
        Keyring.load(tmp_path, "eu")


def test_rotation_seals_anew_and_still_opens_the_old(path: Path) -> None:
    """G4, G7: what waits in an inbox outlives a rotation; new values are under the new key."""
    first = Keyring.create(path, "eu")
    old = Sealer(first).seal(*PLACE, b"old", NOW_MS)
    second = Keyring.rotate(path)
    assert sorted(second.keys) == [1, 2]
    assert second.keys[1] == first.keys[1] != second.keys[2]
    loaded = Keyring.load(path, "eu")
    assert loaded == second
    assert path.stat().st_mode & 0o777 == 0o600
    sealer = Sealer(loaded)
    sealer.active = loaded.active_at(max(loaded.active_from.values()))
    assert sealer.open(*PLACE, old) == b"old"
    new = sealer.seal(*PLACE, b"new", NOW_MS)
    assert (old[1:3], new[1:3]) == (b"\0\1", b"\0\2")
    assert sealer.open(*PLACE, new) == b"new"


def test_a_new_key_seals_from_the_moment_that_the_file_says(path: Path) -> None:
    """G4: to the millisecond, so that all gateways have the key before one seals with it."""
    Keyring.create(path, "eu", NOW_MS - 5000)
    Keyring.rotate(path, 60, NOW_MS)
    keyring = Keyring.load(path, "eu")
    assert keyring.active_from == {1: NOW_MS - 5000, 2: NOW_MS + 60_000}
    assert (keyring.active_at(NOW_MS), keyring.coming_at(NOW_MS)) == (1, frozenset({2}))
    assert (keyring.active_at(NOW_MS + 59_999), keyring.coming_at(NOW_MS + 59_999)) == (
        1,
        frozenset({2}),
    )
    assert (keyring.active_at(NOW_MS + 60_000), keyring.coming_at(NOW_MS + 60_000)) == (
        2,
        frozenset(),
    )


def test_a_rotation_in_haste_beats_one_that_waits(path: Path) -> None:
    """G7: after a key leaked, the newest is used at once, and no older one takes over later."""
    Keyring.create(path, "eu", NOW_MS)
    Keyring.rotate(path, 600, NOW_MS)
    keyring = Keyring.rotate(path, 0, NOW_MS)
    assert (keyring.active_at(NOW_MS), keyring.coming_at(NOW_MS)) == (3, frozenset())
    assert keyring.active_at(NOW_MS + 600_000) == 3


def test_a_clock_that_is_behind_still_finds_a_key(path: Path) -> None:
    """G4: the machine that made the file may be ahead of a gateway; so its first key seals."""
    Keyring.create(path, "eu", NOW_MS)
    keyring = Keyring.rotate(path, 60, NOW_MS)
    assert (keyring.active_at(0), keyring.coming_at(0)) == (1, frozenset({2}))


def test_a_file_from_before_there_was_a_delay_is_read(path: Path) -> None:
    """G4: its active version goes on, and the other keys are there to read with; a rotation writes
    it in the new form."""
    path.touch(mode=0o600)
    keys = {"1": KEY, "2": KEY[::-1], "3": KEY}
    path.write_text(json.dumps({"region": "eu", "active": 2, "keys": keys}))
    keyring = Keyring.load(path, "eu")
    assert (keyring.active_at(0), keyring.active_at(NOW_MS)) == (2, 2)
    assert (sorted(keyring.keys), keyring.coming_at(NOW_MS)) == ([1, 2, 3], frozenset())
    assert Keyring.rotate(path, 1, NOW_MS).active_from == {2: 0, 4: NOW_MS + 1000}
    assert json.loads(path.read_bytes()).keys() == {"region", "keys", "active_from"}


def test_rotation_is_refused_where_loading_is(path: Path) -> None:
    """G7: rotating never blesses a file that others could have read."""
    Keyring.create(path, "eu")
    path.chmod(0o644)
    with pytest.raises(KeyringUnprotected):
        Keyring.rotate(path)


def test_rotation_keeps_a_link_a_link(path: Path, tmp_path: Path) -> None:
    """G7: the file that the link points to is the keyring."""
    Keyring.create(path, "eu")
    link = tmp_path / "link.json"
    link.symlink_to(path)
    rotated = Keyring.rotate(link)
    assert link.is_symlink()
    assert Keyring.load(path, "eu") == rotated


def test_versions_end_where_the_header_does(path: Path) -> None:
    """A version that a sealed value can't name is never made."""
    path.touch(mode=0o600)
    keys = {str(MAX_VERSION): KEY}
    path.write_text(json.dumps({"region": "eu", "active": MAX_VERSION, "keys": keys}))
    with pytest.raises(KeyringError, match="used up its 65535 versions"):
        Keyring.rotate(path)


@pytest.mark.parametrize(("where", "fault"), [(os, "fsync"), (Path, "replace")])
def test_a_crash_while_writing_leaves_the_old_file(
    path: Path, monkeypatch: pytest.MonkeyPatch, where: object, fault: str
) -> None:
    """G10: the keyring is replaced as a whole or not at all, and no draft of it stays behind."""
    Keyring.create(path, "eu")
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(where, fault, fail)
    with pytest.raises(OSError, match="disk full"):
        Keyring.rotate(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_the_new_file_is_on_disk_before_it_gets_its_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: fsync of the file, then the rename, then fsync of the folder."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        steps.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        steps.append(f"rename {self}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    Keyring.create(path, "eu")
    draft, rename, folder = steps
    assert rename == f"rename {draft}"
    assert draft != str(path)
    assert folder == str(path.parent)


def _rotate(path: Path, times: int, start: Barrier) -> None:
    start.wait()
    for _ in range(times):
        Keyring.rotate(path)


def test_rotations_at_once_lose_no_key(path: Path) -> None:
    """G4: two operators rotating at the same time must not drop each other's key."""
    Keyring.create(path, "eu")
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(3)
    others = [spawn.Process(target=_rotate, args=(path, 40, start)) for _ in range(2)]
    for other in others:
        other.start()
    start.wait()
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0, 0]
    assert sorted(Keyring.load(path, "eu").keys) == list(range(1, 82))


def test_repr_shows_no_key(path: Path) -> None:
    """G7: a keyring may be logged by accident."""
    keyring = Keyring.create(path, "eu", NOW_MS)
    assert repr(keyring) == f"Keyring(region='eu', active_from={{1: {NOW_MS}}})"


def test_the_check_value_names_a_key_without_telling_it(path: Path, tmp_path: Path) -> None:
    """G6: the store's stamp tells a wrong key file by it; the same key gives the same value."""
    keyring = Keyring.create(path, "eu")
    rotated = Keyring.rotate(path)
    value = keyring.check_value(1)
    assert len(value) == 16
    assert int(value, 16) >= 0
    assert value == Keyring.load(path, "eu").check_value(1) == rotated.check_value(1)
    assert value != rotated.check_value(2)
    assert value != Keyring.create(tmp_path / "other.json", "eu").check_value(1)
    assert value != Keyring("sg", {1: 0}, keyring.keys).check_value(1)
    assert value not in keyring.keys[1].hex()
    with pytest.raises(KeyError):
        keyring.check_value(2)


def test_the_check_value_stays_the_same_across_versions() -> None:
    """G6: a stamp written by one release is read by the next. Computed with `hmac`, RFC 5869."""
    keyring = Keyring("eu", {1: 0}, {1: bytes(range(32))})
    assert keyring.check_value(1) == expected_check_value(bytes(range(32)), "eu")


def expected_check_value(key: bytes, region: str) -> str:
    extracted = hmac.digest(bytes(32), key, "sha256")
    info = b"homeport key check v1\0" + region.encode()
    return hmac.digest(extracted, info + b"\1", "sha256")[:8].hex()


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """A pipe has nobody who writes: to open it was to wait for ever."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(KeyringMalformed, match="it is a pipe, and no file"):
        Keyring.load(tmp_path / "pipe", "sg")


def test_the_mark_is_made_once_and_outlives_a_rotation(path: Path) -> None:
    """What says that the region has begun is lost by nothing that writes the file, and a gateway
    that reads the file anew finds the same keys."""
    keyring = Keyring.create(path, "eu", NOW_MS)
    assert keyring.begun is None
    assert keyring.mark_begun(NOW_MS)
    assert not keyring.mark_begun(NOW_MS + 1)
    begun = Keyring.load(path, "eu").begun
    assert begun is not None
    assert datetime.fromisoformat(begun).timestamp() == NOW_MS // 1000
    assert Keyring.load(path, "eu") == keyring
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    Keyring.rotate(path)
    assert Keyring.load(path, "eu").begun == begun


def test_a_file_that_was_rotated_meanwhile_keeps_its_new_key(path: Path) -> None:
    """A gateway marks the file that is there, and not the one that it has read."""
    keyring = Keyring.create(path, "eu")
    rotated = Keyring.rotate(path)
    assert keyring.mark_begun()
    assert Keyring.load(path, "eu").keys == rotated.keys


def test_a_mark_that_cannot_be_written_is_told(path: Path) -> None:
    """Nobody may take it for made; another region's file is not marked either."""
    in_no_file = Keyring("eu", {1: 0}, {1: bytes(32)})
    with pytest.raises(OSError, match="in no file"):
        in_no_file.mark_begun()
    keyring = Keyring.create(path, "eu")
    path.unlink()
    Keyring.create(path, "sg")
    with pytest.raises(KeyringOtherRegion):
        keyring.mark_begun()
    assert Keyring.load(path, "sg").begun is None
