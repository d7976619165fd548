"""Records: a message as the store holds it, without a connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from homeport import codec
from homeport.frames import Lost, Message, Push
from homeport.ids import direct_conversation
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from structlog.testing import capture_logs

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


TALK = "d:alice:bob"
TEAM = "g:" + "ab" * 16
TOLD = Message(b"0123456789abcdef", "alice", TEAM, NOW_MS, "text", b"hello all")


def pushed(records: Records, app: App, conversation: str, record: bytes) -> object:
    """The frame that devices are sent for a record, as number 7 of the inbox, which is number 3 of
    the conversation."""
    payload = records.push(app, conversation, record, number=7, ms=NOW_MS + 1, seq=3)
    return codec.decode_server(payload)


def test_a_record_opens_in_its_conversation(records: Records) -> None:
    """G7 and HP-4.6-3: the message is as it was sent, and the push carries the number of the inbox
    and that of the conversation."""
    record = records.make(APP, MESSAGE, TALK)
    assert b"hello" not in record
    assert b"alice" not in record
    assert records.open(APP, TALK, record) == codec.encode(MESSAGE)
    assert pushed(records, APP, TALK, record) == Push(7, NOW_MS + 1, 3, MESSAGE)


@pytest.mark.parametrize(
    ("app", "conversation"),
    [(APP, "d:alice:carol"), (APP, "d:carol:eve"), (APP, TEAM), (APP, ""), (OTHER, TALK)],
)
def test_it_opens_nowhere_else(records: Records, app: App, conversation: str) -> None:
    """G7, G5: what somebody with access to Redis moves to another conversation or app is not shown
    there, and its number is said to be lost."""
    record = records.make(APP, MESSAGE, TALK)
    with pytest.raises(Tampered):
        records.open(app, conversation, record)
    with capture_logs() as lines:
        assert records.readable(app, conversation, record) is None
        assert pushed(records, app, conversation, record) == Lost(7, 7)
    assert [line["event"] for line in lines] == ["record_tampered"] * 2


def test_a_record_of_a_group_that_is_remembered_opens_nowhere_else(records: Records) -> None:
    """G7: a group's record is opened once for all members here. It was remembered by its message's
    id, so a copy in another group of the app must not be taken for what was opened."""
    record = records.make(APP, TOLD, TEAM)
    for app, conversation in ((APP, "g:" + "cd" * 16), (OTHER, TEAM)):
        assert records.open(APP, TEAM, record) == codec.encode(TOLD)
        with pytest.raises(Tampered):
            records.open(app, conversation, record)


def test_a_record_of_a_group_is_opened_once_for_all_members(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: a message to a thousand members of one gateway costs it one opening; one that was edited
    is another record under the same id, and is opened again."""
    opened: list[bytes] = []
    sealer_opens = Sealer.open

    def counted(*asked: Any) -> bytes:
        opened.append(asked[-1])
        return sealer_opens(*asked)

    monkeypatch.setattr(Sealer, "open", counted)
    first = records.make(APP, TOLD, TEAM)
    edited = records.make(APP, replace(TOLD, body=b"hello again"), TEAM)
    for record, body in ((first, TOLD.body), (edited, b"hello again"), (first, TOLD.body)):
        for _ in range(100):
            push = pushed(records, APP, TEAM, record)
            assert isinstance(push, Push)
            assert push.message.body == body
    assert len(opened) == 3


@pytest.mark.parametrize("place", [TALK, TEAM])
def test_each_byte_counts(records: Records, place: str) -> None:
    """G7: change any one, and it is not opened."""
    record = records.make(APP, MESSAGE, place)
    for at in range(len(record)):
        changed = bytearray(record)
        changed[at] ^= 1
        with pytest.raises((Tampered, UnknownKeyVersion)):
            records.open(APP, place, bytes(changed))


@given(st.binary(max_size=120), st.sampled_from([TALK, TEAM]))
def test_garbage_is_told_from_a_record(data: bytes, place: str) -> None:
    """G5: whatever a conversation holds, it is one of two errors and never another."""
    records = Records(Sealer(Keyring("sg", {1: 0}, {1: b"k" * 32})))
    with pytest.raises((Tampered, UnknownKeyVersion)):
        records.open(APP, place, data)


def test_the_right_key_file_opens_what_another_could_not(key_file: Path) -> None:
    """G1: a key that is missing is told from a message that was changed."""
    old = Records(Sealer(Keyring.load(key_file, "sg")))
    Keyring.rotate(key_file)
    rotated = Sealer(Keyring.load(key_file, "sg"))
    rotated.active = 2
    new = Records(rotated)
    record = new.make(APP, MESSAGE, TALK)
    with pytest.raises(UnknownKeyVersion) as caught:
        old.push(APP, TALK, record, number=1, ms=NOW_MS, seq=1)
    assert caught.value.version == 2
    assert new.open(APP, TALK, record) == codec.encode(MESSAGE)
    assert new.open(APP, TALK, old.make(APP, MESSAGE, TALK)) == codec.encode(MESSAGE)


@pytest.mark.parametrize("size", [0, 1, 65_536])
def test_bodies_of_any_size(records: Records, size: int) -> None:
    """HP-4.6-3: as they are."""
    message = Message(b"i" * 16, "a" * 64, "b" * 64, NOW_MS, "k" * 32, b"\xff" * size)
    place = direct_conversation(message.sender, message.to)
    record = records.make(APP, message, place)
    assert records.open(APP, place, record) == codec.encode(message)
