"""Bytes to frames and back. Does no I/O and keeps no state.

Errors::

    FrameError               carries `code` and `request_id`
    +-- MalformedFrame       not one whole MessagePack array: the connection can't be trusted
    +-- UnknownType          a whole array, with a type this side does not know
    +-- InvalidField         a known type, or an answer, with a field missing or wrong
"""

from __future__ import annotations

import re
from types import NoneType
from typing import Any, Final, TypeVar, cast, get_args

import msgspec

from homeport import codes
from homeport.frames import (
    ANSWERS,
    NO_REQUEST,
    Answer,
    ClientFrame,
    Message,
    Ok,
    Push,
    Request,
    RoomPush,
    ServerFrame,
)

_encoder: Final = msgspec.msgpack.Encoder()
_client_decoder: Final[msgspec.msgpack.Decoder[ClientFrame]] = msgspec.msgpack.Decoder(ClientFrame)
_server_decoder: Final[msgspec.msgpack.Decoder[ServerFrame]] = msgspec.msgpack.Decoder(ServerFrame)
_message_decoder: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)
_answer_decoders: Final[dict[type[Request[Any]], msgspec.msgpack.Decoder[Any]]] = {
    request: msgspec.msgpack.Decoder(answer)
    for request, answer in ANSWERS.items()
    if answer is not NoneType
}


class _Outline(msgspec.Struct, array_like=True):
    """The beginning of any frame. The rest is only checked, and not kept: it may be long."""

    kind: msgspec.Raw
    id: msgspec.Raw = msgspec.Raw(b"\xc0")


_outline_decoder: Final = msgspec.msgpack.Decoder(_Outline)

_WITHOUT_ID: Final = frozenset(
    frame.__struct_config__.tag
    for frame in get_args(ClientFrame)
    if frame.__struct_fields__[:1] != ("id",)
)
"""A client's types whose second element is no request id; it could be that of another request."""

_ENUM_VALUE: Final = re.compile(r"Invalid enum value .*(?= - at )", re.DOTALL)

_F = TypeVar("_F")


class FrameError(Exception):
    """A message that is not a frame of protocol v1.

    `code` is what to answer with. `request_id` is the request it came as, where that could be
    read, else 0. The text names the type and the place, never a field's value (SPEC.md HP-4.2-4).
    """

    code: codes.ErrorCode = codes.INVALID_FIELD

    def __init__(self, text: str, request_id: int = NO_REQUEST) -> None:
        super().__init__(text)
        self.request_id = request_id


class MalformedFrame(FrameError):
    """Truncated, trailing, nested too deeply, or not an array: close with `codes.BAD_FRAME`."""


class UnknownType(FrameError):
    """The type is an integer that this side does not know: answer, and keep the connection."""

    code = codes.UNKNOWN_TYPE


class InvalidField(FrameError):
    """A known type, or an answer, with a wrong field: answer, and keep the connection."""


encode = _encoder.encode
"""Encode any frame or a `Message`; returns its bytes."""


decode_message = _message_decoder.decode
"""Decode what `encode` made of a `Message`. For a gateway's own bytes, which were sealed."""


def decode_client(data: bytes) -> ClientFrame:
    """Decode what a client sent.

    Raises:
        MalformedFrame, UnknownType, InvalidField: see the module's table.
    """
    try:
        return _client_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _explain(data, error) from None


def decode_server(data: bytes) -> ServerFrame:
    """Decode what a server sent. Raises as `decode_client` does."""
    try:
        return _server_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _explain(data, error) from None


_OK: Final = Ok.__struct_config__.tag


def encode_ok(request_id: int, answer: msgspec.Struct | None) -> bytes:
    """Encode an `Ok` with the answer that `homeport.frames.ANSWERS` names for the request."""
    return _encoder.encode((_OK, request_id, answer))


def decode_answer(request: type[Request[Answer]], ok: Ok) -> Answer:
    """The answer in an `Ok` to a request of this type; None for requests that are only confirmed.

    Raises:
        InvalidField: it is no such answer.
    """
    decoder = _answer_decoders.get(request)
    try:
        return cast(Answer, decoder and decoder.decode(ok.result))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        name = request.__name__.lower()
        raise InvalidField(f"answer to {name}: {_told(error)}", ok.id) from None


def _explain(data: bytes, error: Exception) -> FrameError:
    """Find out which of the three errors it is. Only bad input pays for this second look."""
    try:
        outline = _outline_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return MalformedFrame("not one whole MessagePack array, or nested too deeply")
    kind = _read(outline.kind, int)
    if kind is None:
        return MalformedFrame("the first element of the array is not an integer type")
    request_id = NO_REQUEST
    if kind not in _WITHOUT_ID:
        request_id = _read(outline.id, int) or NO_REQUEST
    if not 0 < request_id < 2**32:
        request_id = NO_REQUEST
    if isinstance(error, msgspec.ValidationError) and str(error).endswith("`$[0]`"):
        return UnknownType(f"frame type {kind} is not known here", request_id)
    return InvalidField(f"frame type {kind}: {_told(error)}", request_id)


def _told(error: Exception) -> str:
    """What is wrong with a field, without its value."""
    if isinstance(error, msgspec.ValidationError):  # its text names types and places
        return _ENUM_VALUE.sub("Invalid value", str(error))  # and this one value
    return "a text is not UTF-8, or nests too deeply"


def _read(raw: msgspec.Raw, type_: type[_F]) -> _F | None:
    try:
        return msgspec.msgpack.decode(raw, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


# --- pushes, built by hand because they are the hot path ------------------------------------------

_PUSH_HEAD: Final = bytes([0x95, Push.__struct_config__.tag])  # type: ignore[list-item]
assert encode(Push(1, 2, 3, Message(b"", "", "", 0, "", b"")))[:5] == _PUSH_HEAD + b"\x01\x02\x03"


def push_bytes(number: int, ms: int, seq: int, message: bytes) -> bytes:
    """A `Push` around an already encoded `Message`, which is copied in and not decoded."""
    return b"".join((_PUSH_HEAD, encode(number), encode(ms), encode(seq), message))


_ROOMPUSH_HEAD: Final = bytes([0x94, RoomPush.__struct_config__.tag])  # type: ignore[list-item]


def roompush_bytes(seq: int, priority: int, message: bytes) -> bytes:
    """A `RoomPush` around an already encoded `Message`."""
    return b"%b%b%b%b" % (_ROOMPUSH_HEAD, encode(seq), encode(priority), message)
