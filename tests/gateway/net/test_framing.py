"""How payloads are framed, read by the parser of somebody else."""

from __future__ import annotations

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from gateway.net.framing import Framer


@pytest.mark.parametrize(
    "size", [0, 1, 124, 125, 126, 127, 1023, 1024, 65534, 65535, 65536, 65537, 73728]
)
def test_a_websocket_frame_is_read_by_a_websocket_client(size: int) -> None:
    """HP-2.3-1: one message at each side of RFC 6455's three length forms, and another after it."""
    payload = bytes(index % 251 for index in range(size))
    client = ClientProtocol(parse_uri("ws://localhost/v1"), state=State.OPEN)
    client.receive_data(Framer().framed(payload) + Framer().framed(b"next"))
    assert client.parser_exc is None
    events = [event for event in client.events_received() if isinstance(event, Frame)]
    assert [(f.opcode, f.fin, f.rsv1, bytes(f.data)) for f in events] == [
        (Opcode.BINARY, True, False, payload),
        (Opcode.BINARY, True, False, b"next"),
    ]


@pytest.mark.parametrize("size", [0, 125, 126, 1023, 1024, 65535, 65536])
def test_a_websocket_frame_is_what_websockets_would_write(size: int) -> None:
    """HP-2.3-1: the shortest length form, as RFC 6455 section 5.2 asks."""
    payload = bytes(size)
    expected = Frame(Opcode.BINARY, payload).serialize(mask=False)
    assert Framer().framed(payload) == expected


def test_a_payload_that_many_get_is_framed_once() -> None:
    """G9: for all sessions that are given the same object, alone or with others in a bundle."""
    framer = Framer()
    payload, bundle = bytes(200), (b"a" * 20, b"b" * 200)
    joined, framed = framer.joined(bundle), framer.framed(payload)
    assert joined == Framer().framed(bundle[0]) + Framer().framed(bundle[1])
    assert all(framer.framed(payload) is framed for _ in range(3))
    assert all(framer.joined(bundle) is joined for _ in range(3))
    assert framer.framed(payload) is framed, "a bundle in between takes nothing from it"


def test_a_framer_gives_nobody_the_payload_before() -> None:
    """G3: of each its own frame, also where it begins with what an earlier one was."""
    framer = Framer()
    assert framer.joined(()) == b""
    for text in (b"", b"a", b"ab", b"", b"a"):
        assert framer.framed(text) == b"\x82%c%b" % (len(text), text)
        assert framer.joined((text, b"x")) == Framer().framed(text) + b"\x82\x01x"
        assert framer.joined((text,)) == Framer().framed(text)
