"""Records: a message as the store holds it, without a connection."""

from __future__ import annotations

from pathlib import Path

import pytest
from homeport import codec
from homeport.frames import Lost, Message, Push
from homeport.ids import direct_conversation
from hypothesis import given
from hypothesis import strategies as st

from gateway.apps.app import App, create_app
from gateway.chat.records import Records
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer, Tampered, UnknownKeyVersion

NOW_MS = 1_700_000_000_000
APP = create_app("test", "sg", "pro", "global", NOW_MS)
OTHER = create_app("other", "sg", "pro", "global", NOW_MS)
MESSAGE = Message(b"0123456789abcdef", "alice", "bob", NOW_MS, "text", b"hello")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The region's key file."""
    path = tmp_path / "keys.json"
    Keyring.create(path, "sg")
    return path


@pytest.fixture
def records(key_file: Path) -> Records:
    """Records under its keys."""
    return Records(Sealer(Keyring.load(key_file, "sg")))


@pytest.mark.parametrize("user", ["alice", "bob"])
def test_both_ends_of_a_conversation_can_open_a_record(records: Records, user: str) -> None:
    """G7 and HP-4.6-3: and find the message as it was sent."""
    record = records.make(APP, MESSAGE, "d:alice:bob")
    assert b"hello" not in record
    assert records.open(APP, user, record) == codec.encode(MESSAGE)
    push = codec.decode_server(records.push(APP, user, 7, NOW_MS + 1, record))
    assert push == Push(7, NOW_MS + 1, MESSAGE)


@pytest.mark.parametrize(
    ("app", "user"), [(APP, "carol"), (APP, "d"), (APP, ""), (OTHER, "bob"), (OTHER, "alice")]
)
def test_nobody_else_can(records: Records, app: App, user: str) -> None:
    """G7: a record that was moved to another inbox or app is not opened there."""
    record = records.make(APP, MESSAGE, "d:alice:bob")
    with pytest.raises(Tampered):
        records.open(app, user, record)
    push = records.push(app, user, 9, NOW_MS, record)
    assert codec.decode_server(push) == Lost(9, 9)


def test_each_byte_counts(records: Records) -> None:
    """G7: change any one, and it is not opened."""
    record = records.make(APP, MESSAGE, "d:alice:bob")
    for place in range(len(record)):
        changed = bytearray(record)
        changed[place] ^= 1
        with pytest.raises((Tampered, UnknownKeyVersion)):
            records.open(APP, "bob", bytes(changed))


def test_a_renamed_conversation_is_not_opened(records: Records) -> None:
    """G7: what alice wrote to bob can't be shown to carol under another conversation's name."""
    record = records.make(APP, MESSAGE, "d:alice:bob")
    with pytest.raises(Tampered):
        records.open(APP, "carol", record.replace(b"d:alice:bob", b"d:alice:carol"))
    with pytest.raises(Tampered):
        records.open(APP, "eve", record.replace(b"d:alice:bob", b"d:alice:eve"))


@given(st.binary(max_size=120) | st.binary(max_size=60).map(lambda b: b"i" * 16 + b"\x05d:a:b" + b))
def test_garbage_is_told_from_a_record(data: bytes) -> None:
    """G5: whatever lies in an inbox, it is one of two errors and never another."""
    records = Records(Sealer(Keyring("sg", {1: 0}, {1: b"k" * 32})))
    with pytest.raises((Tampered, UnknownKeyVersion)):
        records.open(APP, "a", data)


def test_the_right_key_file_opens_what_another_could_not(key_file: Path) -> None:
    """G1: a key that is missing is told from a message that was changed."""
    old = Records(Sealer(Keyring.load(key_file, "sg")))
    Keyring.rotate(key_file)
    rotated = Sealer(Keyring.load(key_file, "sg"))
    rotated.active = 2
    new = Records(rotated)
    record = new.make(APP, MESSAGE, "d:alice:bob")
    with pytest.raises(UnknownKeyVersion) as caught:
        old.push(APP, "bob", 1, NOW_MS, record)
    assert caught.value.version == 2
    assert new.open(APP, "bob", record) == codec.encode(MESSAGE)
    assert new.open(APP, "bob", old.make(APP, MESSAGE, "d:alice:bob")) == codec.encode(MESSAGE)


@pytest.mark.parametrize("size", [0, 1, 65_536])
def test_bodies_of_any_size(records: Records, size: int) -> None:
    """HP-4.6-3: as they are."""
    message = Message(b"i" * 16, "a" * 64, "b" * 64, NOW_MS, "k" * 32, b"\xff" * size)
    record = records.make(APP, message, direct_conversation(message.sender, message.to))
    assert records.open(APP, "b" * 64, record) == codec.encode(message)
