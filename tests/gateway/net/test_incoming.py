"""Cutting what a client sends: the same messages as `websockets` finds, however it is split."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side

from gateway.net.incoming import (
    MAX_UPGRADE_BYTES,
    SHORT_BYTES,
    FrameCutter,
    RequestCutter,
    TooLong,
)

LIMIT = 70_000

payloads = st.one_of(
    st.binary(max_size=200),
    st.integers(120, 130).map(os.urandom),
    st.integers(SHORT_BYTES - 1, SHORT_BYTES + 1).map(os.urandom),
    st.sampled_from([65_535, 65_536, LIMIT]).map(os.urandom),
)
frames = st.one_of(
    st.builds(Frame, st.just(Opcode.BINARY), payloads),
    st.builds(Frame, st.just(Opcode.TEXT), st.just(b"text")),
    st.builds(Frame, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=125)),
)
fragmented = st.lists(st.binary(max_size=9), min_size=2, max_size=4).map(
    lambda parts: [
        Frame(Opcode.CONT if at else Opcode.BINARY, part, fin=at == len(parts) - 1)
        for at, part in enumerate(parts)
    ]
)


def wire(each: Frame) -> bytes:
    """A frame as a client sends it."""
    return each.serialize(mask=True)


def by_us(chunks: list[bytes], share: int = 1000) -> list[tuple[Opcode, bytes]]:
    """What a connection makes of it, with `websockets` for what is not plain."""
    incoming = FrameCutter(LIMIT)
    peer = Protocol(Side.SERVER, state=OPEN, max_size=LIMIT)
    found: list[tuple[Opcode, bytes]] = []
    for chunk in chunks:
        incoming.add(chunk)
        stopped = True
        while stopped:  # a connection stops at any frame, and goes on when it has a turn again
            stopped = False
            for plain, piece in incoming.cut():
                if plain:
                    found.append((Opcode.BINARY, piece))
                else:
                    peer.receive_data(piece)
                    found += _found(peer)
                if len(found) % share == 0:
                    stopped = True
                    break
    assert peer.parser_exc is None
    return found


def by_websockets(chunks: list[bytes]) -> list[tuple[Opcode, bytes]]:
    """The same by `websockets` alone."""
    peer = Protocol(Side.SERVER, state=OPEN, max_size=LIMIT)
    for chunk in chunks:
        peer.receive_data(chunk)
    return _found(peer)


def _found(peer: Protocol) -> list[tuple[Opcode, bytes]]:
    return [
        (event.opcode, bytes(event.data))
        for event in peer.events_received()
        if isinstance(event, Frame)
    ]


@given(st.lists(frames.map(lambda one: [one]) | fragmented, max_size=6), st.data())
def test_the_same_frames_however_the_bytes_come(
    groups: list[list[Frame]], data: st.DataObject
) -> None:
    """RFC 6455 section 5: control frames between fragments, every length form, every split; and
    wherever the connection has to wait for its next turn."""
    stream = b"".join(wire(each) for group in groups for each in group)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    share = data.draw(st.integers(1, 5))
    assert by_us(chunks, share) == by_websockets([stream])


@given(st.integers(0, 30), st.lists(st.integers(0, 50), max_size=6))
def test_a_requests_end_is_found_however_the_bytes_come(behind: int, cuts: list[int]) -> None:
    """RFC 9112 section 2.1: an empty line ends it. What is behind it are frames already."""
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    stream = request + b"\r\n" * behind
    edges = sorted({min(cut, len(stream)) for cut in cuts})
    cutter, seen = RequestCutter(), 0
    for start, end in zip([0, *edges], [*edges, len(stream)], strict=True):
        part = cutter.cut(stream[start:end])
        if part is not None:
            assert start + part == len(request)
            return
        seen = end
        assert seen < len(request)
    raise AssertionError("its end was not found")


def test_a_request_without_an_end_is_too_long() -> None:
    """G9: nobody who is not known yet has more than this kept."""
    cutter = RequestCutter()
    assert cutter.cut(b"x" * MAX_UPGRADE_BYTES) is None
    with pytest.raises(TooLong):
        cutter.cut(b"x")


def test_byte_by_byte() -> None:
    """A header that comes in pieces is no other header."""
    stream = b"".join(wire(Frame(Opcode.BINARY, b"m" * size)) for size in (0, 125, 126, 300))
    assert by_us([stream[at : at + 1] for at in range(len(stream))]) == by_websockets([stream])


@pytest.mark.parametrize(
    "bad",
    [
        Frame(Opcode.BINARY, b"not masked").serialize(mask=False),
        b"\x92\x80mask",
        b"\x83\x80mask",
    ],
    ids=["unmasked", "reserved bit", "reserved opcode"],
)
def test_what_is_not_well_formed_is_refused_by_websockets(bad: bytes) -> None:
    """HP-2.3, RFC 6455 section 7.1.7: after a good message, and with something behind it."""
    incoming = FrameCutter(LIMIT)
    peer = Protocol(Side.SERVER, state=OPEN, max_size=LIMIT)
    good = wire(Frame(Opcode.BINARY, b"good"))
    incoming.add(good + bad + good)
    pieces = list(incoming.cut())
    assert pieces[0] == (True, b"good")
    for plain, piece in pieces[1:]:
        if not plain:
            peer.receive_data(piece)
    assert peer.parser_exc is not None


@pytest.mark.parametrize(
    "long",
    [
        Frame(Opcode.BINARY, b"z" * (LIMIT + 1)).serialize(mask=True),
        Frame(Opcode.BINARY, b"z" * (LIMIT + 1), fin=False).serialize(mask=True)[:16],
        b"\x82\xff" + b"\xff" * 8 + b"mask",
    ],
    ids=["a byte too long", "only its beginning", "2^64 - 1 bytes"],
)
def test_what_is_too_long_is_refused_by_its_header(long: bytes) -> None:
    """HP-2.3-3 and HP-2.3-4: nothing of it is kept, nor of what follows. What came before it is
    handed on."""
    incoming = FrameCutter(LIMIT)
    incoming.add(wire(Frame(Opcode.BINARY, b"good")) + long + wire(Frame(Opcode.PING, b"")))
    pieces = incoming.cut()
    assert next(pieces) == (True, b"good")
    with pytest.raises(TooLong):
        next(pieces)
    assert len(incoming) == 0


def test_a_binary_message_inside_another_is_for_websockets_to_refuse() -> None:
    """RFC 6455 section 5.4: fragments of two messages may not mix."""
    incoming = FrameCutter(LIMIT)
    first = wire(Frame(Opcode.BINARY, b"a", fin=False))
    whole = wire(Frame(Opcode.BINARY, b"b"))
    incoming.add(first + whole)
    assert list(incoming.cut()) == [(False, first), (False, whole)]
