"""Bytes to frames and back: round trips, hostile bytes, and the two hand-built fast paths."""

from __future__ import annotations

import tracemalloc
from typing import Any, Final

import msgpack
import pytest
from homeport import codec, codes
from homeport.frames import ClientFrame, Message, Ok, Ping, Push, Send, ServerFrame
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol import strategies as frames
from tests.protocol import vectors

GOLDEN: Final = [vectors.expand(vector["hex"])[:400] for vector in vectors.load("golden")]
GOLDEN_ITEMS: Final[list[list[Any]]] = list(
    {
        vector["type"]: msgpack.unpackb(vectors.expand(vector["hex"]), strict_map_key=False)
        for vector in vectors.load("golden")
        if "canonical" not in vector and "repeat" not in str(vector)
    }.values()
)
"""One canonical frame of each type, as an untyped list."""
ANSWERED: Final = [
    vector
    for vector in vectors.load("golden")
    if vector["frame"] == "ok" and vector["fields"]["result"] and "canonical" not in vector
]
"""What says something to a request."""


def _accepts_or_refuses(data: bytes) -> None:
    """Anything but a frame or a FrameError propagates and fails the test."""
    for receive in (codec.decode_client, codec.decode_server):
        try:
            receive(data)
        except codec.FrameError as error:
            assert 0 <= error.request_id < 2**32


# --- round trips ---------------------------------------------------------------------------------


@given(frames.client_frames)
def test_client_frames_come_back_as_they_were(frame: ClientFrame) -> None:
    """HP-4.1-1: every frame a client can send."""
    assert codec.decode_client(codec.encode(frame)) == frame


@given(frames.server_frames)
def test_server_frames_come_back_as_they_were(frame: ServerFrame) -> None:
    """HP-4.1-1: every frame a server can send."""
    assert codec.decode_server(codec.encode(frame)) == frame


@given(st.one_of(frames.client_frames, frames.server_frames))
def test_another_messagepack_reads_what_we_write(frame: Any) -> None:
    """HP-4.1-1, HP-4.1-2, HP-4.1-3, HP-4.1-6: one array; no type or number that is not allowed."""

    def check(value: Any) -> None:
        assert value is None or type(value) in {bool, int, float, str, bytes, list, dict}
        if type(value) is int:
            assert 0 <= value <= 2**53 - 1
        for inner in value if isinstance(value, list) else ():
            check(inner)
        for key, inner in value.items() if isinstance(value, dict) else ():
            assert isinstance(key, str)
            check(inner)

    items = msgpack.unpackb(codec.encode(frame), strict_map_key=False)
    assert items[0] == frame.__struct_config__.tag
    check(items)


# --- hostile bytes -------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_frame_errors(data: bytes) -> None:
    """HP-4.2-5: a frame or a FrameError, whatever comes."""
    _accepts_or_refuses(data)


@given(st.integers(0, 31), st.binary(max_size=300))
def test_random_fields_raise_nothing_but_frame_errors(kind: int, rest: bytes) -> None:
    """HP-4.2-5: an array header and a type before random bytes reach deeper."""
    _accepts_or_refuses(bytes([0x96, kind]) + rest)


@given(st.sampled_from(GOLDEN), st.data())
def test_mutated_golden_frames_raise_nothing_but_frame_errors(
    golden: bytes, data: st.DataObject
) -> None:
    """HP-4.2-5: a few bytes replaced, taken out or put in."""
    mutated = bytearray(golden)
    for _ in range(data.draw(st.integers(1, 4), label="mutations")):
        at = data.draw(st.integers(0, len(mutated)), label="at")
        cut = data.draw(st.integers(0, 3), label="cut")
        mutated[at : at + cut] = data.draw(st.binary(max_size=3), label="put in")
    _accepts_or_refuses(bytes(mutated))


@pytest.mark.parametrize("head", ["dd", "df", "c6", "db", "c9"])
@pytest.mark.parametrize("before", ["", "91", "9205", "9212", "960101a164"])
def test_a_declared_size_reserves_no_memory(before: str, head: str) -> None:
    """HP-4.2-5: five bytes that announce four billion elements cost nothing."""
    data = bytes.fromhex(before + head + "ffffffff")
    tracemalloc.start()
    try:
        with pytest.raises(codec.MalformedFrame):
            codec.decode_client(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_what_is_wrong_with_a_frame_is_found_without_keeping_all_of_it() -> None:
    """G9: a frame of 60,000 elements made 60,000 objects, 5 MB, to say that its first field was
    wrong."""
    data = msgpack.packb([16, {}, *[0] * 60_000])
    tracemalloc.start()
    try:
        with pytest.raises(codec.InvalidField):
            codec.decode_client(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


TEXT: Final = "S3cr3t"
NUMBER: Final = 918273645546372
_leaves: Final = st.sampled_from(
    [TEXT, TEXT * 30, TEXT.encode(), NUMBER, -NUMBER, NUMBER + 0.5, NUMBER * 16, None, True]
)
_values: Final = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(
            st.sampled_from([TEXT, "id", "time", "expires", NUMBER, TEXT.encode()]), inner
        )
    ),
    max_leaves=8,
)


def _told_of(data: bytes) -> str:
    """Everything that a log could print of the errors that both sides raise for `data`."""
    told = ""
    for receive in (codec.decode_client, codec.decode_server):
        try:
            receive(data)
        except codec.FrameError as error:
            assert error.__suppress_context__
            told += f"{error} {error!r} {error.__cause__!r} "
    return told


def _assert_tells_no_value(told: str) -> None:
    for secret in (TEXT, TEXT.encode().hex(), str(NUMBER), str(NUMBER * 16)):
        assert secret not in told


@given(st.sampled_from([*range(1, 10), *range(16, 21), 126]), st.lists(_values, max_size=11))
def test_no_error_text_tells_a_value(kind: int, fields: list[Any]) -> None:
    """HP-4.2-4: a token or a body in the wrong place must not reach a log by way of an error."""
    _assert_tells_no_value(_told_of(msgpack.packb([kind, *fields])))


@pytest.mark.parametrize("golden", GOLDEN_ITEMS, ids=lambda items: f"type{items[0]}")
def test_no_error_text_tells_a_value_of_one_wrong_field(golden: list[Any]) -> None:
    """HP-4.2-4: each field of each frame in turn, all others being right."""
    errors = 0
    for at in range(1, len(golden)):
        for wrong in (TEXT * 30, TEXT.encode(), NUMBER * 16, -NUMBER, [TEXT], {TEXT: NUMBER}):
            data = msgpack.packb([*golden[:at], wrong, *golden[at + 1 :]])
            told = _told_of(data)
            _assert_tells_no_value(told)
            errors += "frame type" in told
            _assert_tells_no_value(_told_of(data + b"\xc0") + _told_of(data[:-1]))
            spoilt = data.replace(TEXT.encode(), TEXT.encode()[:-1] + b"\xff")  # not UTF-8
            assert TEXT[:-1] not in _told_of(spoilt)
    assert errors >= len(golden) - 1


@pytest.mark.parametrize("vector", ANSWERED, ids=lambda vector: vector["name"])
def test_no_error_text_tells_a_value_of_an_answer(vector: dict[str, Any]) -> None:
    """HP-4.2-4: each field of each answer in turn, and what is not UTF-8."""
    request = vectors.REQUESTS[vector["request"]]
    answer = msgpack.unpackb(vectors.expand(vector["hex"]), strict_map_key=False)[2]
    errors = 0
    for at in range(len(answer)):
        for wrong in (TEXT * 30, TEXT.encode(), NUMBER * 16, -NUMBER, [TEXT], {TEXT: NUMBER}):
            data = msgpack.packb([3, 5, [*answer[:at], wrong, *answer[at + 1 :]]])
            for hostile in (data, data.replace(TEXT.encode(), TEXT.encode()[:-1] + b"\xff")):
                try:
                    ok = codec.decode_server(hostile)
                    assert isinstance(ok, Ok)
                    codec.decode_answer(request, ok)
                except codec.InvalidField as error:
                    errors += 1
                    assert error.__suppress_context__
                    _assert_tells_no_value(f"{error} {error!r} {error.__cause__!r}")
                    assert TEXT[:-1] not in str(error)
    assert errors >= len(answer)


@pytest.mark.parametrize(
    ("data", "error", "code"),
    [
        ("917e", codec.UnknownType, codes.UNKNOWN_TYPE),
        ("9212ff", codec.InvalidField, codes.INVALID_FIELD),
    ],
)
def test_answerable_errors_carry_the_code_to_answer_with(
    data: str, error: type[codec.FrameError], code: codes.ErrorCode
) -> None:
    """SPEC.md section 4.2: `invalid_field` and `unknown_type`, for the session to send."""
    with pytest.raises(error) as caught:
        codec.decode_client(bytes.fromhex(data))
    assert caught.value.code is code


@given(st.integers(1, 2**32 - 1), st.sampled_from([1, 7, 16, 126]))
def test_the_request_id_is_found_in_a_faulty_request(request_id: int, kind: int) -> None:
    """HP-4.2-3: so that a client can tell which request it got wrong."""
    with pytest.raises(codec.FrameError) as caught:
        codec.decode_client(codec.encode([kind, request_id, None, None]))
    assert caught.value.request_id == request_id


@given(st.integers(-(2**63), 0) | st.integers(2**32, 2**64 - 1))
def test_an_id_out_of_range_is_answered_as_none(number: int) -> None:
    """HP-4.2-3: 0 where the second element is no request id."""
    with pytest.raises(codec.FrameError) as caught:
        codec.decode_client(msgpack.packb([7, number, "t"]))
    assert caught.value.request_id == 0


@pytest.mark.parametrize("data", [[64, 7, "text", b""], [18], [18, "7"], [18, 2**53], [64, 7]])
def test_an_error_to_a_frame_without_an_id_names_no_other_request(data: list[Any]) -> None:
    """HP-4.2-3: a signal has its recipient where requests have their id. An integer there used to
    come back as the id, and the client took it for the answer to another request."""
    with pytest.raises(codec.InvalidField) as caught:
        codec.decode_client(msgpack.packb(data))
    assert caught.value.request_id == 0


@pytest.mark.parametrize("number", [-0.5, -1.0, -1, float(2**54), float("inf"), float("nan")])
@pytest.mark.parametrize("frame", [[9, None], [4, 1, 140, "later", None]], ids=["goaway", "error"])
def test_a_float_is_not_negative_nor_endless(frame: list[Any], number: float) -> None:
    """HP-4.1-7: a wait of less than nothing, or without an end, is a faulty field."""
    good = [*frame[:-1], 1.5]
    assert codec.decode_server(msgpack.packb(good))
    with pytest.raises(codec.InvalidField):
        codec.decode_server(msgpack.packb([*frame[:-1], number]))


# --- more fields ---------------------------------------------------------------------------------


@given(st.one_of(frames.client_frames, frames.server_frames), st.lists(_values, max_size=3))
def test_trailing_fields_are_skipped(frame: Any, more: list[Any]) -> None:
    """HP-4.3-1: any frame, with any values after its last field."""
    items = msgpack.unpackb(codec.encode(frame), strict_map_key=False)
    data = msgpack.packb([*items, *more])
    for receive, known in (
        (codec.decode_client, ClientFrame.__args__),
        (codec.decode_server, ServerFrame.__args__),
    ):
        if type(frame) in known:
            assert receive(data) == frame


# --- the fast paths ------------------------------------------------------------------------------


@given(frames.counts, frames.counts, frames.counts, frames.messages)
def test_a_push_around_stored_bytes_is_a_push(
    number: int, ms: int, seq: int, message: Message
) -> None:
    """HP-4.1-1: the hand-built head around stored bytes is the same as encoding a Push."""
    built = codec.push_bytes(number, ms, seq, codec.encode(message))
    assert built == codec.encode(Push(number, ms, seq, message))


@given(frames.counts, st.lists(_values, max_size=3))
def test_a_message_of_a_later_release_passes_through(seq: int, more: list[Any]) -> None:
    """HP-4.3-1: fields unknown here reach the client, and an old client skips them."""
    known = [bytes(16), "alice", "bob", 5, "text", b"hi", None]
    stored = msgpack.packb([*known, *more])
    payload = codec.push_bytes(5, 7, seq, stored)
    assert msgpack.unpackb(payload, strict_map_key=False)[4] == [*known, *more]
    assert codec.decode_server(payload) == Push(
        5, 7, seq, Message(bytes(16), "alice", "bob", 5, "text", b"hi")
    )


def test_decoding_takes_any_buffer() -> None:
    """HP-4.1-1: the transport hands out bytes, bytearray or memoryview."""
    data = codec.encode(Send(1, "c", "bob", "text", b"hi"))
    for buffer in (data, bytearray(data), memoryview(data)):
        frame = codec.decode_client(buffer)  # type: ignore[arg-type]
        assert frame == Send(1, "c", "bob", "text", b"hi")
        assert isinstance(frame, Send)
        assert isinstance(frame.body, bytes)
    assert codec.decode_client(memoryview(b"\x91\x05")) == Ping()  # type: ignore[arg-type]
