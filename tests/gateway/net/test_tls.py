"""The server's TLS context, and connections that never get through TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from homeport import codes, frames
from homeport.limits import MAX_FRAME_BYTES

from gateway.dev import certificates
from gateway.dev.certificates import DevCerts
from gateway.net import tls
from gateway.net.tls import TLSError
from tests.gateway.net.raw import RawSocket, message, upgrade
from tests.harness import (
    FakeClock,
    RawClient,
    RunningWorker,
    client_tls,
    make_secure_settings,
    running_worker,
    until,
)


@pytest.fixture
async def secure(
    redis_url: str, tmp_path: Path, clock: FakeClock, certs: DevCerts
) -> AsyncIterator[RunningWorker]:
    """A gateway with a WSS listener too."""
    settings = make_secure_settings(redis_url, tmp_path, certs)
    async with running_worker(settings, clock=clock) as running:
        yield running


@contextlib.contextmanager
def socket_to(running: RunningWorker) -> Iterator[socket.socket]:
    """A TCP connection to the WSS listener, before TLS."""
    assert running.listening.wss is not None
    with socket.create_connection(("127.0.0.1", running.listening.wss.port)) as sock:
        sock.setblocking(False)
        yield sock


async def test_messages_go_over_wss(secure: RunningWorker, certs: DevCerts) -> None:
    """Section 2.1: the endpoint is wss."""
    async with (
        RawClient.open(secure.wss_url, ssl=client_tls(certs.ca)) as alice,
        secure.client("bob") as bob,
    ):
        await alice.connect(secure.token("alice"))
        assert isinstance(await bob.say("alice", "x" * 30_000), frames.Ok)
        assert len((await alice.expect(frames.Push)).message.body) == 30_000


async def test_a_resumed_tls_session_saves_the_handshake(
    secure: RunningWorker, certs: DevCerts
) -> None:
    """G10: a reconnect storm after a drain costs resumptions (RFC 8446 section 2.2)."""
    context = client_tls(certs.ca)
    assert secure.listening.wss is not None
    port = secure.listening.wss.port

    def connect(session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        with (
            socket.create_connection(("127.0.0.1", port)) as tcp,
            context.wrap_socket(tcp, server_hostname="localhost", session=session) as tls,
        ):
            tls.sendall(upgrade())
            assert tls.recv(12) == b"HTTP/1.1 101"  # and the ticket came before it
            return bool(tls.session_reused), tls.session

    _, ticket = await asyncio.to_thread(connect, None)
    reused, _ = await asyncio.to_thread(connect, ticket)
    assert reused


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_are_spoken(
    secure: RunningWorker, certs: DevCerts, version: ssl.TLSVersion
) -> None:
    """Section 2.1; nothing older can be configured."""
    context = client_tls(certs.ca)
    context.minimum_version = context.maximum_version = version
    async with RawClient.open(secure.wss_url, ssl=context) as client:
        await client.connect(secure.token("alice"))
    assert tls.read(certs.cert, certs.key).context.minimum_version == ssl.TLSVersion.TLSv1_2


async def test_a_tls_handshake_that_never_ends_is_dropped(
    redis_url: str,
    tmp_path: Path,
    clock: FakeClock,
    certs: DevCerts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G9: in real time, which the transport measures; others are not affected."""
    monkeypatch.setattr("gateway.net.acceptor.CONNECT_TIMEOUT_S", 0.2)
    settings = make_secure_settings(redis_url, tmp_path, certs)
    async with running_worker(settings, clock=clock) as running:
        loop = asyncio.get_running_loop()
        with socket_to(running) as silent, socket_to(running) as half:
            await loop.sock_sendall(half, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            async with asyncio.timeout(5):
                for sock in (silent, half):
                    with contextlib.suppress(ConnectionError):
                        assert await loop.sock_recv(sock, 1) == b""
        assert running.inside.open == 0
        async with running.client("alice") as client:
            assert isinstance(await client.say("alice", "x"), frames.Ok)


async def test_a_client_that_speaks_no_tls_leaves_nothing_behind(secure: RunningWorker) -> None:
    """G9: a failed handshake is not an open connection, and the drain does not wait for it."""
    loop = asyncio.get_running_loop()
    for _ in range(3):
        with socket_to(secure) as sock:
            await loop.sock_sendall(sock, b"GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(5):
                with contextlib.suppress(ConnectionError):
                    while await loop.sock_recv(sock, 4096):
                        pass
    assert secure.inside.open == 0
    async with asyncio.timeout(4):  # less than the drain's CLOSE_S
        await secure.worker.stop()


async def test_the_time_of_the_tls_handshake_counts(secure: RunningWorker, certs: DevCerts) -> None:
    """HP-5.1-3: 5 seconds after the TCP connection, not after TLS."""
    assert secure.clock is not None
    loop = asyncio.get_running_loop()
    with socket_to(secure) as sock:
        # The kernel accepts before the gateway does: its own turn comes with the first of others.
        async with secure.client("bob"):
            pass
        secure.clock.advance(4)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_tls(certs.ca).wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await loop.sock_sendall(sock, outgoing.read())
                incoming.write(await loop.sock_recv(sock, 2**16))
            else:
                break
        tls.write(upgrade())
        await loop.sock_sendall(sock, outgoing.read())
        await until(lambda: list(secure.inside.listener.sessions()))
        secure.pass_time(1.5)
        assert all(connection.closing for connection in secure.inside.connections())


@pytest.mark.parametrize("connected", [False, True])
async def test_a_client_that_sends_far_too_much_is_told_so(
    secure: RunningWorker, certs: DevCerts, connected: bool
) -> None:
    """HP-2.3-3 and HP-2.3-4: as on the plain listener."""
    async with RawSocket.open(secure.listening.wss, client_tls(certs.ca)) as raw:
        if connected:
            await raw.open_session(secure.token("alice"))
        else:
            raw.writer.write(upgrade())
            await raw.response()
        raw.writer.write(message(bytes(10 * MAX_FRAME_BYTES)))
        assert await raw.closed() == 1009


async def test_a_client_that_does_not_read_over_tls_is_closed(
    secure: RunningWorker, certs: DevCerts
) -> None:
    """HP-5.5-3 and G9: TLS has buffers of its own."""
    async with (
        RawSocket.open(secure.listening.wss, client_tls(certs.ca), receive_buffer=4096) as slow,
        secure.client("alice") as alice,
    ):
        await slow.open_session(secure.token("bob"))
        slow.transport.pause_reading()
        connection = secure.inside.connection("bob")
        number = 0
        while not connection.congested:
            number += 1
            assert isinstance(await alice.say("bob", "x" * 30_000, f"c{number}"), frames.Ok)
            await alice.send(frames.Ack(number))
            assert number < 256
        secure.pass_time(49)
        secure.pass_time(1.25)
        slow.transport.resume_reading()
        assert await slow.closed() == codes.SLOW_CONSUMER.number


def test_a_missing_file_is_named(tmp_path: Path, certs: DevCerts) -> None:
    """The operator is told which file, and what to set."""
    with pytest.raises(TLSError, match=r"none\.pem is not there: set tls_cert and tls_key"):
        tls.read(tmp_path / "none.pem", certs.key)
    with pytest.raises(TLSError, match=r"none\.pem is not there"):
        tls.read(certs.cert, tmp_path / "none.pem")


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, certs: DevCerts) -> None:
    """The operator is told what to give instead."""
    other = certificates.ensure(tmp_path, datetime.now(UTC))
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("nothing")
    for cert, key in ((certs.cert, other.key), (garbage, certs.key), (certs.cert, garbage)):
        with pytest.raises(TLSError, match=r"can't be used together .*unencrypted key"):
            tls.read(cert, key)


class _Allocated(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        )
    ]

    @classmethod
    def bytes_now(cls) -> int:
        """What `malloc` has given out."""
        mallinfo2 = ctypes.CDLL(None).mallinfo2
        mallinfo2.restype = cls
        now = mallinfo2()
        return int(now.uordblks + now.hblkhd)


async def test_a_tls_connection_holds_only_small_buffers(
    secure: RunningWorker, certs: DevCerts
) -> None:
    """What buffers a connection holds bounds what it costs once connections have come and gone:
    the allocator hands out other parts of them each time, so in the end all of them are touched."""
    context, sockets = client_tls(certs.ca), 20

    def connect() -> ssl.SSLSocket:
        assert secure.listening.wss is not None
        tcp = socket.create_connection(("127.0.0.1", secure.listening.wss.port))
        tls = context.wrap_socket(tcp, server_hostname="localhost")
        tls.sendall(upgrade())
        assert tls.recv(12) == b"HTTP/1.1 101"
        return tls

    with contextlib.ExitStack() as stack:
        stack.enter_context(await asyncio.to_thread(connect))  # what is loaded once
        before = _Allocated.bytes_now()
        for _ in range(sockets):
            stack.enter_context(await asyncio.to_thread(connect))
        each = (_Allocated.bytes_now() - before) / sockets
    # Both ends are counted: 87 KiB. With a read buffer of 16 KiB, the least that aiofastnet takes
    # by argument, 99; with its own sizes 600.
    assert each < 93 * 1024
