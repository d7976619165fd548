"""The vectors of protocol v1, against our codec and against an independent MessagePack."""

from __future__ import annotations

from collections import Counter
from types import NoneType
from typing import Any, Final

import msgpack
import msgspec
import pytest
from homeport import codec
from homeport.frames import ANSWERS, ClientFrame, Ok, ServerFrame

from tests.protocol import vectors

GOLDEN: Final = vectors.load("golden")
HOSTILE: Final = vectors.load("hostile")
ERRORS: Final = {
    "malformed": codec.MalformedFrame,
    "unknown_type": codec.UnknownType,
    "invalid_field": codec.InvalidField,
}


def _name(vector: dict[str, Any]) -> str:
    name: str = vector["name"]
    return name


def _plain(value: Any) -> Any:
    """A decoded frame as JSON would hold it: Structs as objects, bytes as digits."""
    if isinstance(value, msgspec.Struct):
        return {field: _plain(getattr(value, field)) for field in value.__struct_fields__}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value.hex() if isinstance(value, bytes) else value


def _written_out(value: Any) -> Any:
    """A vector's `fields` with every `repeat` written out."""
    if isinstance(value, dict):
        if value.keys() == {"repeat"}:
            return vectors.expand(value).hex()
        return {key: _written_out(inner) for key, inner in value.items()}
    return value


def _same(raw: Any, expected: Any) -> bool:
    """Compare what an untyped MessagePack gives with a vector's fields.

    Arrays of fields are compared place by place as far as they go, and maps by the keys they have:
    what is missing is a default and what is more is unknown.
    """
    if isinstance(expected, dict) and isinstance(raw, list):
        return all(_same(a, b) for a, b in zip(raw, expected.values(), strict=False))
    if isinstance(expected, dict) and isinstance(raw, dict):
        return all(_same(raw[key], inner) for key, inner in expected.items() if key in raw)
    if isinstance(expected, list) and isinstance(raw, list):
        return len(raw) == len(expected) and all(map(_same, raw, expected))
    if isinstance(raw, bytes):
        return isinstance(expected, str) and raw.hex() == expected
    kinds = {type(raw), type(expected)}
    return bool(raw == expected) and (len(kinds) == 1 or kinds == {int, float})


@pytest.mark.parametrize("vector", GOLDEN, ids=_name)
def test_our_codec_decodes_a_golden_frame(vector: dict[str, Any]) -> None:
    """HP-4.1-2, HP-4.1-4, HP-4.1-5, HP-4.3-1, HP-4.3-2, HP-4.3-3, HP-4.7-2: the frame, field by
    field, and an answer likewise."""
    frame = vectors.decode(vector)
    assert type(frame).__name__.lower() == vector["frame"]
    assert frame.__struct_config__.tag == vector["type"]
    if isinstance(frame, Ok):
        answer = vectors.answer(vector)
        assert type(answer) is ANSWERS[vectors.REQUESTS[vector["request"]]]
        assert {"id": frame.id, "result": _plain(answer)} == vector["fields"]
    else:
        assert _plain(frame) == _written_out(vector["fields"])


@pytest.mark.parametrize("vector", GOLDEN, ids=_name)
def test_another_messagepack_decodes_a_golden_frame_the_same(vector: dict[str, Any]) -> None:
    """HP-4.1-1: the `msgpack` package, which shares no code with ours, finds the same values."""
    kind, *fields = msgpack.unpackb(vectors.expand(vector["hex"]), strict_map_key=False)
    assert type(kind) is int
    assert kind == vector["type"]
    if "request" in vector and vector["fields"]["result"] is None:
        del fields[1:]  # whatever it is, nothing is said by it
    assert _same(fields, _written_out(vector["fields"]))


@pytest.mark.parametrize("vector", GOLDEN, ids=_name)
def test_our_codec_encodes_a_canonical_golden_frame_to_the_same_bytes(
    vector: dict[str, Any],
) -> None:
    """HP-4.1-2: byte for byte, and marked as not canonical exactly where it is not."""
    frame = vectors.decode(vector)
    if isinstance(frame, Ok):
        encoded = codec.encode_ok(frame.id, vectors.answer(vector))
    else:
        encoded = codec.encode(frame)
    assert (encoded == vectors.expand(vector["hex"])) is vector.get("canonical", True)


@pytest.mark.parametrize("vector", HOSTILE, ids=_name)
def test_our_codec_refuses_a_hostile_message(vector: dict[str, Any]) -> None:
    """HP-4.1-5, HP-4.2-3, HP-4.2-5: with the right error and the right request id. Where it is an
    answer that is wrong, its `ok` is not, because only who asked knows what it must be."""
    read = vectors.answer if "request" in vector else vectors.decode
    if "request" in vector:
        vectors.decode(vector)
    with pytest.raises(codec.FrameError) as caught:
        read(vector)
    assert type(caught.value) is ERRORS[vector["error"]]
    assert caught.value.request_id == vector["id"]


@pytest.mark.parametrize("name", ["golden", "hostile"])
def test_names_are_unique(name: str) -> None:
    """A name is how a failure in another language's run is found again."""
    counted = Counter(_name(vector) for vector in vectors.load(name))
    assert [each for each, times in counted.items() if times > 1] == []


@pytest.mark.parametrize(
    ("direction", "union"), [("client", ClientFrame), ("server", ServerFrame)], ids=["C", "S"]
)
def test_every_frame_has_vectors(direction: str, union: Any) -> None:
    """A frame added without golden vectors, or with fields that no hostile one attacks, fails."""
    golden = {v["frame"] for v in GOLDEN if v["direction"] == direction}
    assert golden == {kind.__name__.lower() for kind in union.__args__}
    attacked = {_name(v).split(":")[0] for v in HOSTILE if v["direction"] == direction}
    for kind in union.__args__:
        for field in kind.__struct_fields__:
            assert f"{kind.__name__.lower()}, {field}" in attacked


@pytest.mark.parametrize(
    "request_name",
    [name for name, kind in vectors.REQUESTS.items() if ANSWERS[kind] is not NoneType],
)
def test_every_answer_has_vectors(request_name: str) -> None:
    """An answer added without golden vectors, or with fields that no hostile one attacks, fails."""
    assert any(vector.get("request") == request_name for vector in GOLDEN)
    attacked = {_name(vector).split(":")[0] for vector in HOSTILE}
    assert f"answer to {request_name}" in attacked
    for field in ANSWERS[vectors.REQUESTS[request_name]].__struct_fields__:
        assert f"answer to {request_name}, {field}" in attacked
