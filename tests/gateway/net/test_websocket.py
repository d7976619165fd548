"""One WebSocket connection: its opening, its messages, its end. Over real sockets."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any, Final

import pytest
from homeport import codec, codes, frames
from homeport.limits import MAX_CONNECT_BYTES, MAX_FRAME_BYTES, SUBPROTOCOL
from structlog.testing import capture_logs
from websockets.datastructures import Headers
from websockets.frames import Opcode

from tests.gateway.net.raw import RawSocket, message, upgrade
from tests.harness import (
    FakeClock,
    RawClient,
    RunningWorker,
    make_settings,
    running_worker,
    until,
)
from tests.memory import counting_memory


async def answer_to(running: RunningWorker, request: bytes) -> tuple[int, str]:
    """The status and head that a request is answered with."""
    async with RawSocket.open(running.listening.plain) as raw:
        raw.writer.write(request)
        return await raw.response()


# -- the opening handshake ---------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/v1/", "/v2", "/V1", "/v1%20", "/v1;x", "//v1", "/v2?a=b"])
async def test_there_is_one_path(running: RunningWorker, path: str) -> None:
    """HP-2.1-1."""
    assert (await answer_to(running, upgrade(path)))[0] == 404


@pytest.mark.parametrize("query", ["token=a-secret", "", "?"])
async def test_a_query_string_is_refused_and_not_logged(running: RunningWorker, query: str) -> None:
    """HP-2.1-2: a token in a URL must not end up in our own log either; an empty one is one too."""
    with capture_logs() as logs:
        status, head = await answer_to(running, upgrade(f"/v1?{query}"))
    assert status == 400
    assert "a-secret" not in head
    assert "a-secret" not in str(logs)


async def test_origins_are_compared_exactly(
    redis_url: str, tmp_path: Path, clock: FakeClock
) -> None:
    """HP-2.1-3: and a native client, which has none, is let in."""
    settings = make_settings(redis_url, tmp_path, origins=["https://chat.example.com"])
    async with running_worker(settings, clock=clock) as running:
        for origin, status in (
            (None, 101),
            ("https://chat.example.com", 101),
            ("https://chat.example.com/", 403),
            ("https://chat.example.com:443", 403),
            ("https://CHAT.example.com", 403),
            ("http://chat.example.com", 403),
            ("https://chat.example.com.evil.example", 403),
            ("https://evil.example", 403),
            ("null", 403),
            ("", 403),
        ):
            assert (await answer_to(running, upgrade(Origin=origin)))[0] == status, origin


async def test_a_missing_origin_is_refused_where_the_setting_says_so(
    redis_url: str, tmp_path: Path, clock: FakeClock
) -> None:
    """HP-2.1-3, and the sentence after HP-2.1-5."""
    settings = make_settings(
        redis_url, tmp_path, origins=["https://a.example"], allow_missing_origin=False
    )
    async with running_worker(settings, clock=clock) as running:
        assert (await answer_to(running, upgrade()))[0] == 403
        assert (await answer_to(running, upgrade(Origin="https://a.example")))[0] == 101


async def test_no_extension_is_negotiated(running: RunningWorker) -> None:
    """HP-2.1-4: not even when it is offered."""
    offer = ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits, x-other")
    status, head = await answer_to(running, upgrade("/v1", offer))
    assert status == 101
    assert "extensions" not in head.lower()


@pytest.mark.parametrize(
    ("offered", "status"),
    [
        (SUBPROTOCOL, 101),
        (f"homeport.v9.cbor, {SUBPROTOCOL}", 101),
        (f"{SUBPROTOCOL}, homeport.v9.cbor", 101),
        (None, 400),
        ("homeport.v2.msgpack", 400),
        ("HOMEPORT.V1.MSGPACK", 400),
        ("homeport.v1", 400),
    ],
)
async def test_the_subprotocol_is_selected_or_the_upgrade_refused(
    running: RunningWorker, offered: str | None, status: int
) -> None:
    """HP-2.2-2 and HP-2.2-3."""
    found, head = await answer_to(running, upgrade(Sec_WebSocket_Protocol=offered))
    assert found == status
    if status == 101:
        assert f"sec-websocket-protocol: {SUBPROTOCOL}\r\n" in head.lower()


NO_UPGRADE: dict[str, bytes] = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\n",
    "no version": b"GET /v1\r\n\r\n",
    "a body": b"POST /v1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
    "no upgrade": b"GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "empty lines": b"\r\n\r\n\r\n",
    "a long line": b"GET " + b"/" * 20_000 + b" HTTP/1.1\r\n\r\n",
    "many headers": b"GET /v1 HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n",
    "a long header": b"GET /v1 HTTP/1.1\r\nA: " + b"b" * 20_000 + b"\r\n\r\n",
    "not text": bytes(range(128, 256)) + b"\r\n\r\n",
    "old version": upgrade(Sec_WebSocket_Version="12"),
    "a short key": upgrade(Sec_WebSocket_Key="short"),
    "two keys": upgrade("/v1", ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")),
    "two origins": upgrade("/v1", ("Origin", "a"), ("Origin", "b")),
    "two tokens": upgrade("/v1", ("Authorization", "Bearer secret"), ("Authorization", "Bearer b")),
}


@pytest.mark.parametrize("name", NO_UPGRADE)
async def test_what_is_no_upgrade_is_turned_away(
    running: RunningWorker, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """G9: no traceback, no session, and the gateway goes on."""
    with capture_logs() as logs:
        async with RawSocket.open(running.listening.plain) as raw:
            raw.writer.write(NO_UPGRADE[name])
            answer = await raw.ended()
    assert not answer.startswith(b"HTTP/1.1 101")
    assert not [entry for entry in logs if entry["log_level"] in ("error", "critical")]
    assert caplog.records == []
    assert "secret" not in str(logs)
    async with running.client("alice") as client:
        assert isinstance(await client.say("alice", "x"), frames.Ok)


async def test_nothing_of_the_upgrade_stays(running: RunningWorker) -> None:
    """G8, G9: a connection keeps nothing of its request's headers, so not the token either."""
    token = running.token("alice")
    async with RawClient.open(
        running.url, additional_headers={"Authorization": f"Bearer {token}", "X-Mark": "kept?"}
    ) as alice:
        await alice.connect(None)
        gc.collect()
        kept = [
            headers
            for headers in gc.get_objects()
            if isinstance(headers, Headers) and "X-Mark" in headers
        ]
    assert len(kept) == 1, "the client's own, which websockets keeps on that side too"


async def test_the_request_and_the_first_frame_may_come_in_one_piece(
    running: RunningWorker,
) -> None:
    """HP-5.1-1: nothing in RFC 6455 makes a client wait, and TCP has no pieces."""
    connect = message(codec.encode(frames.Connect(1, "d1", running.token("alice"))))
    for pieces in ([upgrade() + connect], [bytes([b]) for b in upgrade() + connect]):
        async with RawSocket.open(running.listening.plain) as raw:
            for piece in pieces:
                raw.writer.write(piece)
                await raw.writer.drain()
            assert (await raw.response())[0] == 101
            assert isinstance(await raw.server_frame(), frames.Connected)


# -- messages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("connected", [False, True])
async def test_a_text_message_is_refused(running: RunningWorker, connected: bool) -> None:
    """HP-2.3-2: before connect and after; HP-4.2-1: the reason names it."""
    async with RawClient.open(running.url) as client:
        if connected:
            await client.connect(running.token("alice"))
        await client.send("[5]")
        assert await client.closed() == codes.BAD_FRAME.number
        assert "text" in await client.close_reason()


def unknown_frame(size: int) -> bytes:
    """A whole frame of an unknown type, of exactly `size` bytes."""
    head = bytes.fromhex("927e06") if size < 10 else bytes.fromhex("937e06c6")
    body = size - len(head) - 4
    return head + body.to_bytes(4, "big") + bytes(body)


@pytest.mark.parametrize(
    ("connected", "limit"), [(False, MAX_CONNECT_BYTES), (True, MAX_FRAME_BYTES)]
)
@pytest.mark.parametrize("fragments", [1, 3])
async def test_a_message_of_the_limit_is_taken_and_one_byte_more_is_not(
    running: RunningWorker, clock: FakeClock, connected: bool, limit: int, fragments: int
) -> None:
    """HP-2.3-3, HP-2.3-4 and HP-4.4-1: however it is cut into WebSocket fragments. Before connect,
    a refused frame costs all that the connection has, so it waits before the next (HP-17.4-1)."""
    async with RawClient.open(running.url) as client:
        if connected:
            await client.connect(running.token("alice"))

        def cut(data: bytes) -> Any:
            size = len(data) // fragments + 1
            pieces = [data[at : at + size] for at in range(0, len(data), size)]
            return data if fragments == 1 else pieces

        await client.websocket.send(cut(unknown_frame(limit)))
        error = await client.expect(frames.Error)
        assert (error.id, error.code) == (6, codes.UNKNOWN_TYPE.number)
        clock.advance(3)
        await client.websocket.send(cut(unknown_frame(limit + 1)))
        assert await client.closed() == 1009


@pytest.mark.parametrize("connected", [False, True])
async def test_a_client_that_sends_far_too_much_is_told_so(
    running: RunningWorker, connected: bool
) -> None:
    """HP-2.3-3 and HP-2.3-4: the close frame arrives even while the client is still sending.

    To close a socket with unread data resets the connection, and a reset can overtake the close
    frame (RFC 1122 section 4.2.2.13).
    """
    async with RawSocket.open(running.listening.plain) as raw:
        if connected:
            await raw.open_session(running.token("alice"))
        else:
            raw.writer.write(upgrade())
            await raw.response()
        raw.writer.write(message(bytes(8_000_000)))
        await raw.writer.drain()
        assert await raw.closed() == 1009


EMPTY: Final = 5000


async def test_fragments_may_be_many_and_empty(running: RunningWorker) -> None:
    """G9: an empty fragment holds no memory; the message is the sum of its fragments."""
    send = codec.encode(frames.Send(5, "c", "alice", "text", b"hello"))
    async with RawSocket.open(running.listening.plain) as raw:
        await raw.open_session(running.token("alice"))
        raw.writer.write(message(b"", fin=False))
        raw.writer.write(message(b"before", Opcode.PING))
        assert await raw.frame() == (Opcode.PONG, b"before")
        with counting_memory() as kept:
            raw.writer.write(message(b"", Opcode.CONT, fin=False) * EMPTY)
            raw.writer.write(message(b"behind", Opcode.PING))
            assert await raw.frame() == (Opcode.PONG, b"behind")
            assert kept() < EMPTY * 4, kept()  # a list of nothings takes twice as much
        for byte in send:
            raw.writer.write(message(bytes([byte]), Opcode.CONT, fin=False))
            raw.writer.write(message(b"between", Opcode.PING))
        for _ in send:
            assert await raw.frame() == (Opcode.PONG, b"between")
        raw.writer.write(message(b"", Opcode.CONT))
        while True:
            opcode, payload = await raw.frame()
            if opcode == Opcode.BINARY and isinstance(codec.decode_server(payload), frames.Ok):
                break


NO_WEBSOCKET: dict[str, bytes] = {
    "continues nothing": message(b"x", Opcode.CONT),
    "a message in a message": message(b"x", fin=False) + message(b"y"),
    "not masked": b"\x82\x01x",
    "a reserved bit": b"\xc2\x81\0\0\0\0x",
    "a reserved opcode": b"\x83\x81\0\0\0\0x",
    "a long ping": b"\x89\xfe\x00\x7e" + bytes(130),
    "half a close code": message(b"\x03", Opcode.CLOSE),
    "2^64 - 1 bytes": b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
}


@pytest.mark.parametrize("name", NO_WEBSOCKET)
async def test_what_is_no_websocket_ends_the_connection_only(
    running: RunningWorker, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """RFC 6455: 1002 or 1009, no traceback, and others go on."""
    async with RawSocket.open(running.listening.plain) as raw, running.client("bob") as bob:
        await raw.open_session(running.token("alice"))
        raw.writer.write(NO_WEBSOCKET[name])
        assert await raw.closed() in (1002, 1009)
        assert isinstance(await bob.say("bob", "x"), frames.Ok)
        await until(lambda: len(list(running.inside.hub.sessions())) == 1)
    assert caplog.records == []


async def test_a_fault_of_ours_is_said_to_be_one(
    running: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-5.4: a fault of the server closes with 4006, and others go on."""

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    async with running.client("alice") as alice, running.client("bob") as bob:
        with monkeypatch.context() as patch:
            patch.setattr(running.inside.sending, "send", broken)
            with capture_logs() as logs:
                await alice.send(frames.Send(5, "c", "bob", "text", b"a-secret"))
                assert await alice.closed() == codes.INTERNAL_ERROR.number
        assert [entry["event"] for entry in logs if entry["log_level"] == "error"]
        assert "a-secret" not in str(logs)
        assert isinstance(await bob.say("bob", "x"), frames.Ok)
