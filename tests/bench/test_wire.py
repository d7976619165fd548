"""The generator's WebSocket and TLS, against `websockets` and against OpenSSL's own server side."""

from __future__ import annotations

import itertools
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN, Protocol, Side
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from bench.wire import TlsPipe, WebSocketClient, WireFault, masked
from gateway.dev import certificates
from gateway.net import tls


class Recording(WebSocketClient):
    """Keeps what comes and what goes."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[bytes] = []
        self.reads = 0
        self.written = b""
        self.ended = False
        self.write = self._keep
        self.end = self._end

    def _keep(self, data: bytes) -> None:
        self.written += data

    def _end(self) -> None:
        self.ended = True

    def on_message(self, data: bytes, start: int, end: int) -> None:
        self.messages.append(data[start:end])

    def on_read(self) -> None:
        self.reads += 1


def opened() -> tuple[Recording, ServerProtocol]:
    """A client and a server of `websockets` after the opening handshake."""
    client = Recording()
    client.begin("localhost:8080", "/v1", "homeport.v1.msgpack")
    server = ServerProtocol(subprotocols=[Subprotocol("homeport.v1.msgpack")])
    server.receive_data(client.written)
    (request,) = server.events_received()
    server.send_response(server.accept(request))  # type: ignore[arg-type]
    client.written = b""
    client.receive(b"".join(server.data_to_send()))
    assert client.upgraded
    return client, server


SIZES = [0, 1, 125, 126, 127, 65535, 65536, 70_000]


@pytest.mark.parametrize("size", SIZES)
def test_what_a_server_sends_arrives_whole(size: int) -> None:
    """Every form of a frame's length (RFC 6455 section 5.2), in any pieces."""
    client, server = opened()
    sent = [bytes([number]) * size for number in range(3)]
    for message in sent:
        server.send_binary(message)
    data = b"".join(server.data_to_send())
    step = max(1, len(data) // 7)
    for at in range(0, len(data), step):
        client.receive(data[at : at + step])
    assert client.messages == sent
    assert client.reads > 1


def test_a_frame_may_be_cut_anywhere() -> None:
    """Also inside its head."""
    client, server = opened()
    server.send_binary(b"x" * 300)
    server.send_binary(b"y")
    data = b"".join(server.data_to_send())
    for cut in range(len(data)):
        client.messages.clear()
        client.receive(data[:cut])
        client.receive(data[cut:])
        assert client.messages == [b"x" * 300, b"y"]


@pytest.mark.parametrize("size", SIZES)
def test_what_a_client_sends_is_a_masked_frame(size: int) -> None:
    """`websockets` takes it, which refuses frames of clients that are not masked."""
    server = Protocol(Side.SERVER, state=OPEN)
    server.receive_data(masked(b"m" * size))
    assert server.events_received() == [Frame(Opcode.BINARY, b"m" * size)]


def test_a_ping_is_answered_and_a_close_is_told() -> None:
    """RFC 6455 sections 5.5.1 to 5.5.3."""
    client, server = opened()
    server.send_ping(b"hello")
    server.send_close(4503, "replaced")
    client.receive(b"".join(server.data_to_send()))
    assert (client.close_code, client.ended) == (4503, True)
    server.receive_data(client.written)
    pong, close = server.events_received()
    assert isinstance(pong, Frame)
    assert isinstance(close, Frame)
    assert (pong.opcode, pong.data) == (Opcode.PONG, b"hello")
    assert Close.parse(close.data).code == 4503


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: AAAA\r\n\r\n",
        b"x" * 17_000,
    ],
    ids=["status", "accept", "endless"],
)
def test_a_wrong_answer_to_the_upgrade_is_a_fault(answer: bytes) -> None:
    """A load test against something else must not run."""
    client = Recording()
    client.begin("localhost", "/v1", None)
    with pytest.raises(WireFault):
        client.receive(answer)


def test_a_masked_or_unknown_frame_is_a_fault() -> None:
    """RFC 6455 section 5.1: a server never masks."""
    for data in (masked(b"x"), b"\x83\x01x"):
        client, _ = opened()
        with pytest.raises(WireFault):
            client.receive(data)


class Secured:
    """A client's `TlsPipe` and the server's side of OpenSSL, joined."""

    def __init__(
        self, server: ssl.SSLContext, client: ssl.SSLContext, session: ssl.SSLSession | None
    ) -> None:
        self.plain: list[bytes] = []
        self.ready = False
        self._to_server, self._to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(self._to_server, self._to_client, server_side=True)
        self.pipe = TlsPipe(
            client, "localhost", session, self._to_server.write, self._now_ready, self.plain.append
        )
        self.pipe.start()
        for _ in range(3):
            try:
                self.server.do_handshake()
            except ssl.SSLWantReadError:
                self.pump()

    def _now_ready(self) -> None:
        self.ready = True

    def pump(self) -> None:
        """Bring the server's bytes to the client."""
        if data := self._to_client.read():
            self.pipe.receive(data)


def test_tls_carries_both_ways_and_its_session_is_taken_up(tmp_path: Path) -> None:
    """The second connection proves that it was resumed, on the server's side too."""
    certs = certificates.ensure(tmp_path, datetime.now(UTC))
    server = tls.read(certs.cert, certs.key).context
    client = ssl.create_default_context(cafile=str(certs.ca))
    session = None
    for resumed in (False, True):
        link = Secured(server, client, session)
        assert link.ready
        link.pipe.send(b"question")
        assert link.server.read() == b"question"
        for part in itertools.repeat(b"answer" * 5000, 3):
            link.server.write(part)
        link.pump()
        assert b"".join(link.plain) == b"answer" * 15_000
        assert (link.pipe.resumed, link.server.session_reused) == (resumed, resumed)
        session = link.pipe.session


def test_tls_refuses_a_stranger(tmp_path: Path) -> None:
    """The generator trusts the CA that it was given, and no other."""
    certs = certificates.ensure(tmp_path, datetime.now(UTC))
    with pytest.raises(ssl.SSLCertVerificationError):
        Secured(tls.read(certs.cert, certs.key).context, ssl.create_default_context(), None)
