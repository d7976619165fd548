"""The peers' clients: what their servers send is counted, whatever the pieces it comes in."""

from __future__ import annotations

import re

import pytest

from bench.client import Totals, Who
from bench.compare import peers
from bench.compare.clients import NatsClient, PeerClient, SocketIoClient
from bench.stamp import STAMP

RUN = 9


def held(kind: type[PeerClient]) -> tuple[PeerClient, list[bytes], list[str]]:
    """A client past the upgrade, what it writes unmasked, and what happened."""
    client = kind(Who(index=1, user="me", device="d", token="", room="lobby", sends_to="r:lobby"),
                  Totals(RUN, b"f" * 108, 0))  # fmt: skip
    written: list[bytes] = []
    happened: list[str] = []
    client.write = lambda data: written.append(data[6:] if data[1] & 0x7F < 126 else data[8:])
    client.on_connected = lambda: happened.append("connected")
    client.on_refused = happened.append
    client.upgraded = True
    client.on_open()
    return client, written, happened


def stamp(number: int) -> bytes:
    """A stamp of sender 4."""
    return STAMP.pack(RUN, 4, number, 0)


def test_nats_is_a_stream_in_messages_of_any_size() -> None:
    """A MSG may end in the middle of a WebSocket message, and a body may hold line ends."""
    client, written, happened = held(NatsClient)
    assert written[0].endswith(b"SUB r.lobby 1\r\nPING\r\n")
    stream = b'INFO {"x":1}\r\nPONG\r\n'
    for number in range(3):
        body = b"\r\nMSG \r\n" + stamp(number)
        stream += b"MSG r.lobby 1 %d\r\n%b\r\n" % (len(body), body)
    stream += b"PING\r\n"
    for step in (1, 7, 50, len(stream)):
        client, written, happened = held(NatsClient)
        for at in range(0, len(stream), step):
            client.on_message(b"." + stream[at : at + step], 1, 1 + len(stream[at : at + step]))
        assert happened == ["connected"]
        assert client.received.due == {4: 3}
        assert written[1:] == [b"PONG\r\n"]


def test_nats_says_what_it_refuses_and_sends_what_is_due() -> None:
    """An error is told; a message is a PUB to the room's subject."""
    client, written, happened = held(NatsClient)
    error = b"-ERR 'Authorization Violation'\r\n"
    client.on_message(error, 0, len(error))
    assert happened == ["-ERR 'Authorization Violation'"]
    client.send(due=5)
    head, body, rest = re.split(rb"\r\n", written[1], maxsplit=2)
    assert head == b"PUB r.lobby 128"
    assert STAMP.unpack((body + b"\r\n" + rest)[:128][-STAMP.size :]) == (RUN, 1, 0, 5)


def test_socketio_joins_counts_and_answers_pings() -> None:
    """The packets of Engine.IO 4 and Socket.IO 4, in the order of a connection."""
    client, written, happened = held(SocketIoClient)
    body = stamp(0).hex().rjust(128, "f")
    for packet in ('0{"sid":"x"}', '40{"sid":"y"}', "430[]", "2", f'42["msg","{body}"]'):
        client.on_message(packet.encode(), 0, len(packet))
    assert happened == ["connected"]
    assert written == [b"40", b'420["join","r:lobby"]', b"3"]
    assert client.received.due == {4: 1}
    client.send(due=5)
    match = re.fullmatch(rb'42\["msg","r:lobby","(f+[0-9a-f]{40})"\]', written[-1])
    assert match is not None
    assert len(match[1]) == 128
    assert STAMP.unpack(bytes.fromhex(match[1][-40:].decode())) == (RUN, 1, 0, 5)


def test_a_peer_that_is_absent_is_told_with_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is skipped, and not a failure."""
    monkeypatch.setenv("PATH", "")
    assert "apt install nats-server" in (peers.missing("nats") or "")
    assert "node" in (peers.missing("socketio") or "")


@pytest.mark.parametrize("peer", list(peers.PEERS))
def test_a_peer_that_is_here_starts(peer: str) -> None:
    """It accepts where it says, and its process is known."""
    if (lack := peers.missing(peer)) is not None:
        pytest.skip(lack)
    with peers.PEERS[peer]() as place:
        assert place.speaks == peer
        assert place.versions[peer]
        assert place.token("anybody") == ""
