"""The frames' types, fields and limits, held against SPEC.md's tables."""

from __future__ import annotations

import re
from pathlib import Path
from types import NoneType
from typing import Any, Final

import msgspec
import pytest
from homeport import limits
from homeport.codec import InvalidField, decode_client, decode_server, encode
from homeport.frames import (
    ANSWERS,
    ClientFrame,
    Connect,
    Connected,
    ConversationRow,
    Cursor,
    Entry,
    Error,
    Extra,
    GroupMember,
    GroupView,
    Limits,
    Message,
    Ok,
    Options,
    Push,
    Reset,
    Send,
    ServerFrame,
    UserPresence,
)
from msgspec import Raw

SPEC: Final = (Path(__file__).parents[2] / "protocol" / "SPEC.md").read_text()
CLIENT: Final[tuple[Any, ...]] = ClientFrame.__args__
SERVER: Final[tuple[Any, ...]] = ServerFrame.__args__


def _rows(heading: str) -> list[list[str]]:
    """The cells of the first table after a heading of SPEC.md, without its head."""
    after = SPEC.split(f"\n### {heading}")[1]
    table = re.findall(r"(?:^\|.*\n)+", after, re.MULTILINE)[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def _tag(kind: Any) -> int:
    tag: int = kind.__struct_config__.tag
    return tag


def test_the_table_of_frames_is_the_code() -> None:
    """HP-4.5-1: number, name, direction, and the fields in their order."""
    in_spec = {
        int(number): (name, direction, re.findall(r"(?:^|; )`(\w+)`", fields))
        for number, name, direction, fields in _rows("4.6 ")
    }
    in_code = {
        _tag(kind): (
            kind.__name__.lower(),
            " ".join("C" * (kind in CLIENT) + "S" * (kind in SERVER)),
            list(kind.__struct_fields__),
        )
        for kind in {*CLIENT, *SERVER}
    }
    assert in_spec == in_code


@pytest.mark.parametrize(
    "kind",
    [
        Cursor,
        Limits,
        Message,
        GroupView,
        GroupMember,
        UserPresence,
        Extra,
        Options,
        Entry,
        ConversationRow,
    ],
)
def test_the_arrays_inside_frames_are_the_code(kind: Any) -> None:
    """SPEC.md section 4.6, second table."""
    row = re.search(rf"^\| {kind.__name__.lower()} \| (.*) \|$", SPEC, re.MULTILINE)
    assert row is not None
    assert tuple(re.findall(r"(?:^|; )`(\w+)`", row[1])) == kind.__struct_fields__


def test_the_table_of_answers_is_the_code() -> None:
    """HP-4.7-1: what each request is answered with, and the answers' fields in their order."""
    rows = _rows("4.7 ")
    in_spec = {name: answer for names, answer, _ in rows for name in names.split(", ")}
    in_code = {
        request.__name__.lower(): "nil" if answer is NoneType else answer.__name__.lower()
        for request, answer in ANSWERS.items()
    }
    assert in_spec == in_code
    answers = {answer.__name__.lower(): answer for answer in ANSWERS.values()}
    for _, answer, fields in rows:
        if answer not in ("nil", "groupview"):  # the latter is in the table of arrays
            found = tuple(re.findall(r"(?:^|; )`(\w+)`", fields))
            assert found == answers[answer].__struct_fields__


def test_every_request_has_an_answer() -> None:
    """HP-4.6-1, HP-4.7-1: whatever carries an id but connect, which is answered with connected."""
    asking = {kind for kind in CLIENT if kind.__struct_fields__[:1] == ("id",)}
    assert asking - {Connect} == set(ANSWERS)


def test_no_type_lies_outside_its_block() -> None:
    """HP-4.5-1: the blocks lie one behind the other, and each frame is in one of them."""
    blocks = [tuple(map(int, row[0].split("-"))) for row in _rows("4.5 ")]
    assert blocks == [
        (0, 15),
        *((first, first + 15) for first in range(16, 112, 16)),
        (112, 119),
    ]
    assert all(0 < _tag(kind) <= blocks[-1][1] for kind in {*CLIENT, *SERVER})


def test_the_table_of_limits_is_the_code() -> None:
    """HP-9.1-1: the numbers of the table, in its order."""
    numbers = [re.search(r"[\d,^]+", row[1]) for row in _rows("9.1 ")]
    table = dict(zip([row[0] for row in _rows("9.1 ")], numbers, strict=True))
    said = {what: found[0].replace(",", "") for what, found in table.items() if found}
    assert said["message before connected"] == str(limits.MAX_CONNECT_BYTES)
    assert said["message after connected"] == str(limits.MAX_FRAME_BYTES)
    assert said["token"] == str(limits.MAX_TOKEN_CHARS)
    assert said["time to a complete connect"] == str(round(limits.CONNECT_TIMEOUT_S))
    assert said["unanswered pushes (`limits.window`)"] == str(limits.WINDOW)
    assert said["dedupe window (`limits.dedupe_ms`)"] == str(limits.DEDUPE_WINDOW_MS)
    assert said["user id, device id, client message id"] == str(limits.MAX_ID_CHARS)
    assert said["`kind`"] == str(limits.MAX_KIND_CHARS)
    assert said["name of a group"] == str(limits.MAX_GROUP_NAME_CHARS)
    assert said["users in one request about a group"] == str(limits.MAX_GROUP_CHANGE)
    assert said["`platform`"] == str(limits.MAX_PLATFORM_CHARS)
    assert said["users that one user blocks"] == str(limits.MAX_BLOCKS)
    assert said["last messages of a room"] == str(limits.MAX_LAST)
    assert said["rooms of a session"] == str(limits.MAX_ROOMS)
    assert said["admins of a room"] == str(limits.MAX_ROOM_ADMINS)
    assert said["body of a signal"] == str(limits.MAX_SIGNAL_BYTES)
    assert said["signals of a session"] == str(limits.SIGNAL_BURST)
    assert said["people in an answer to receipts, and people to whom a receipt is sent"] == str(
        limits.MAX_RECEIPT_ROWS
    )
    assert said["conversations in an answer to unread"] == str(limits.MAX_UNREAD_ROWS)
    assert said["messages in one page of history"] == str(limits.MAX_HISTORY_PAGE)
    assert said["conversations in one page"] == str(limits.MAX_CONVERSATION_PAGE)
    assert said["edits of one message"] == str(limits.MAX_EDITS)
    assert (said["integer"], limits.MAX_INTEGER) == ("2^53", 2**53 - 1)


def test_the_version_is_named_in_the_spec_as_in_the_code() -> None:
    """SPEC.md section 2: path and subprotocol, where SPEC.md introduces them."""
    assert f"`wss://<host>{limits.PATH}`" in SPEC
    assert f"This one is `{limits.SUBPROTOCOL}`" in SPEC


def test_the_largest_send_fits_a_message() -> None:
    """SPEC.md section 2.3: the largest tier's body, with every other field as long as it may be."""
    wide = "\U0001f600"
    body = bytes(64 * 1024)
    options = Options(
        ("u" * 64,) * limits.MAX_MENTIONS, limits.MAX_INTEGER, False, True, limits.MAX_TTL_S
    )
    send = Send(2**32 - 1, wide * 64, wide * 128, wide * 32, body, options)
    assert len(encode(send)) <= limits.MAX_FRAME_BYTES


def test_the_largest_connect_fits_what_is_allowed_before_it() -> None:
    """SPEC.md section 2.3: the longest token, with every other field as long as it may be."""
    connect = Connect(
        2**32 - 1,
        "d" * 64,
        "t" * limits.MAX_TOKEN_CHARS,
        Cursor("e" * 32, limits.MAX_INTEGER, limits.MAX_INTEGER),
        "\U0001f600" * 128,
    )
    assert len(encode(connect)) <= limits.MAX_CONNECT_BYTES


@pytest.mark.parametrize(
    ("field", "longest"), [("client_id", 64), ("to", 128), ("kind", 32)], ids=str
)
def test_lengths_are_counted_in_characters(field: str, longest: int) -> None:
    """HP-3.3-1: the bound is the same for one-byte and for four-byte characters."""
    send = Send(1, "c", "t", "k", b"")
    for character in ("x", "\U0001f600"):
        fits = msgspec.structs.replace(send, **{field: character * longest})
        assert decode_client(encode(fits)) == fits
        for length in (0, longest + 1):
            too_much = msgspec.structs.replace(send, **{field: character * length})
            with pytest.raises(InvalidField):
                decode_client(encode(too_much))


def test_missing_fields_take_their_defaults() -> None:
    """HP-4.3-2: each default of each frame, by leaving out everything that has one."""
    assert decode_client(encode([1, 5, "d"])) == Connect(5, "d", None, None, "")
    ok = decode_server(encode([3, 5]))
    assert isinstance(ok, Ok)
    assert ok == Ok(5, Raw(encode(None)))
    assert decode_server(encode([4, 0, 132, "x"])) == Error(0, 132, "x", None, None)


def test_only_an_error_may_have_the_id_zero() -> None:
    """HP-4.6-2: 0 answers no request, so no request may have it."""
    assert decode_server(encode(Error(0, 132, "x"))) == Error(0, 132, "x")
    for kind in (Connect(0, "d"), Send(0, "c", "t", "k", b"")):
        with pytest.raises(InvalidField):
            decode_client(encode(kind))
    connected = Connected(
        0, "s", "eu", "u", 25.0, 1, Cursor("e", 0, 0), False, None, Limits(1, 2, 3)
    )
    for answer in (connected, Ok(0)):
        with pytest.raises(InvalidField):
            decode_server(encode(answer))


@pytest.mark.parametrize(
    "pushed",
    [
        Push(2**53 - 1, 2**53 - 1, 1, Message(bytes(16), "a", "b", 0, "text", b"")),
        Reset(2**53 - 1, 2**53 - 1, "b", 0),
    ],
    ids=["push", "reset"],
)
def test_a_cursor_has_the_fields_of_what_is_pushed(pushed: Push | Reset) -> None:
    """HP-7.2-3: what a client keeps can be sent back, at the largest numbers too."""
    connect = Connect(1, "d", None, Cursor("e", pushed.ms, pushed.number))
    assert decode_client(encode(connect)) == connect
