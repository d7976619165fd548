"""How payloads are framed, read by the parser of somebody else."""

from __future__ import annotations

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from gateway.net import framing


@pytest.mark.parametrize("size", [0, 1, 124, 125, 126, 127, 65534, 65535, 65536, 65537, 73728])
def test_a_websocket_frame_is_read_by_a_websocket_client(size: int) -> None:
    """HP-2.3-1: one message at each side of RFC 6455's three length forms, and another after it."""
    payload = bytes(index % 251 for index in range(size))
    client = ClientProtocol(parse_uri("ws://localhost/v1"), state=State.OPEN)
    client.receive_data(framing.websocket(payload) + framing.websocket(b"next"))
    assert client.parser_exc is None
    events = [event for event in client.events_received() if isinstance(event, Frame)]
    assert [(f.opcode, f.fin, f.rsv1, bytes(f.data)) for f in events] == [
        (Opcode.BINARY, True, False, payload),
        (Opcode.BINARY, True, False, b"next"),
    ]


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_a_websocket_frame_is_what_websockets_would_write(size: int) -> None:
    """HP-2.3-1: the shortest length form, as RFC 6455 section 5.2 asks."""
    payload = bytes(size)
    expected = Frame(Opcode.BINARY, payload).serialize(mask=False)
    assert framing.websocket(payload) == expected
