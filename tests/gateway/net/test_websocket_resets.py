"""Clients that reset their connection at each stage: they are gone, and that is all."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from homeport import codec, codes, frames
from structlog.testing import capture_logs
from structlog.typing import EventDict
from websockets.frames import Opcode

from gateway.dev import certificates
from gateway.dev.certificates import DevCerts
from gateway.runtime.serving import log_fault
from tests.gateway.net.raw import RawSocket, message, upgrade
from tests.gateway.net.test_proxy_protocol import header
from tests.harness import (
    RunningWorker,
    client_tls,
    make_secure_settings,
    running_worker,
    until,
)

TIMES: Final = 20
RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with no time at all: closing sends a reset (socket(7))."""

UNMASKED: Final = b"\x82\x01x"


@pytest.fixture
def certs(tmp_path: Path) -> DevCerts:
    """The gateway's certificate and its CA."""
    return certificates.ensure(tmp_path, datetime.now(UTC))


@pytest.fixture
async def running(redis_url: str, tmp_path: Path, certs: DevCerts) -> AsyncIterator[RunningWorker]:
    """A gateway with both listeners; the plain one expects a PROXY header."""
    asyncio.get_running_loop().set_exception_handler(log_fault)
    settings = make_secure_settings(redis_url, tmp_path, certs)
    async with running_worker(settings) as running:
        yield running


def reset(raw: RawSocket) -> None:
    """End the connection with a reset."""
    sock = raw.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    raw.writer.transport.abort()


def faults(logs: list[EventDict]) -> list[EventDict]:
    """What the log should not have."""
    return [e for e in logs if e["log_level"] in ("warning", "error") or "exc_info" in e]


STAGES: Final = {
    "silent": b"",
    "half a request": upgrade()[:40],
    "garbage": b"\x16\x03 what is this\r\n\r\n",
    "another path": upgrade("/elsewhere"),
    "an upgrade": upgrade(),
    "a frame without a mask": upgrade() + UNMASKED,
    "half a frame": upgrade() + message(b"x" * 90)[:50],
    "no frame of ours": upgrade() + message(b"nothing"),
    "a close frame": upgrade() + message(b"\x03\xe8", Opcode.CLOSE),
    "a close frame and more": upgrade() + message(b"\x03\xe8", Opcode.CLOSE) + UNMASKED,
    "a fragment": upgrade() + message(b"a", fin=False) + UNMASKED,
    "text": upgrade() + message(b"text", Opcode.TEXT),
}


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("stage", STAGES)
async def test_a_reset_is_no_fault(
    running: RunningWorker,
    certs: DevCerts,
    stage: str,
    secure: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Anybody could fill the log with tracebacks, one a connection: a reset right behind a frame
    without a mask made the gateway's end of writing fail, and that was called its fault."""
    where = running.listening.wss if secure else running.listening.plain
    tls = client_tls(certs.ca) if secure else None
    with capture_logs() as logs, caplog.at_level(logging.WARNING):
        for at_once in (True, False) * (TIMES // 2):
            async with RawSocket.open(where, tls) as raw:
                raw.writer.write(STAGES[stage])
                if not at_once:
                    await asyncio.sleep(0)
                reset(raw)
        await until(lambda: running.inside.open == 0)
    assert faults(logs) == []
    assert caplog.records == []


@pytest.mark.parametrize("sent", [0, 1, 40, 200, None])
async def test_a_reset_in_a_tls_handshake_is_no_fault(
    running: RunningWorker, certs: DevCerts, sent: int | None
) -> None:
    """After so many bytes of the client's hello, or after all of it."""
    assert running.listening.wss is not None
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_tls(certs.ca).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    with capture_logs() as logs:
        for read in (True, False) * (TIMES // 2):
            async with RawSocket.open(running.listening.wss) as raw:
                raw.writer.write(hello[:sent])
                if read and sent is None:
                    assert await raw.reader.read(100)  # the server's hello
                reset(raw)
        async with RawSocket.open(running.listening.wss, client_tls(certs.ca)):
            pass  # what was accepted before has been looked at
    assert faults(logs) == []


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("sent", [0, 5, 20, 100])
async def test_a_reset_in_a_proxy_header_is_no_fault(
    redis_url: str, tmp_path: Path, certs: DevCerts, sent: int, secure: bool
) -> None:
    """A balancer that was stopped. It is counted as a bad header, and said now and then."""
    settings = make_secure_settings(
        redis_url, tmp_path, certs, plain_proxy_protocol=True, wss_proxy_protocol=True
    )
    async with running_worker(settings) as running:
        where = running.listening.wss if secure else running.listening.plain
        with capture_logs() as logs:
            for _ in range(TIMES):
                async with RawSocket.open(where, first=header()[:sent]) as raw:
                    reset(raw)
            await until(lambda: running.inside.open == 0)
        assert {e["event"] for e in faults(logs)} <= {"connections_refused"}


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("how", ["idle", "backlog", "closing", "drained"])
async def test_a_reset_of_a_live_session_is_no_fault(
    running: RunningWorker,
    certs: DevCerts,
    secure: bool,
    how: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With nothing to write, with much, as the gateway closes it, and in a drain: where an error
    came out of one session, those behind it in the list were not told to go."""
    where = running.listening.wss if secure else running.listening.plain
    tls = client_tls(certs.ca) if secure else None
    with capture_logs() as logs, caplog.at_level(logging.WARNING):
        for number in range(5):
            async with RawSocket.open(where, tls, receive_buffer=4096) as raw:
                await live(running, raw, f"user{number}")
                if how == "backlog":
                    async with running.client("alice") as alice:
                        for _ in range(30):
                            await alice.say(f"user{number}", "x" * 30_000)
                reset(raw)
                if how == "closing":
                    for session in running.inside.listener.sessions():
                        session.close(codes.KICKED)
                if how == "drained" and number == 4:
                    await running.worker.stop()
            await until(lambda: running.inside.open == 0)
    assert faults(logs) == []
    assert caplog.records == []


async def live(running: RunningWorker, raw: RawSocket, user: str) -> None:
    """Make it a live session."""
    raw.writer.write(upgrade())
    assert (await raw.response())[0] == 101
    connect = frames.Connect(1, "d1", running.token(user))
    raw.writer.write(message(codec.encode(connect)))
    assert isinstance(await raw.server_frame(), frames.Connected)


async def test_the_upgrade_is_answered_before_what_came_right_behind_it(
    running: RunningWorker,
) -> None:
    """RFC 6455 section 4.2.2: in one read with a frame that ended the connection, the frame was
    answered first, and the response then met an end that was written already, which was a fault."""
    for behind, code in ((UNMASKED, 1002), (message(b"\x03\xe8", Opcode.CLOSE), 1000)):
        with capture_logs() as logs:
            async with RawSocket.open(running.listening.plain) as raw:
                raw.writer.write(upgrade() + behind)
                assert (await raw.response())[0] == 101
                assert await raw.closed() == code
        assert faults(logs) == []


@pytest.mark.parametrize("cut", range(1, 8))
async def test_an_upgrade_ends_where_it_ends(running: RunningWorker, cut: int) -> None:
    """Also where its end comes in two pieces, and the first frame with the second."""
    request = upgrade()
    connect = message(codec.encode(frames.Connect(1, "d1", running.token("alice"))))
    async with RawSocket.open(running.listening.plain) as raw:
        raw.writer.write(request[:-cut])
        await raw.writer.drain()
        await until(lambda: running.inside.open == 1)
        raw.writer.write(request[-cut:] + connect)
        assert (await raw.response())[0] == 101
        assert isinstance(await raw.server_frame(), frames.Connected)
