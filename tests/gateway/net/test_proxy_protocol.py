"""Mirrors gateway/net/proxy_protocol.py, by itself and on both listeners, over real sockets."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dev.certificates import DevCerts
from gateway.net.addresses import Ip
from gateway.net.proxy_protocol import MAX_REST_BYTES, SIGNATURE, BadHeader, read
from tests.gateway.net.raw import RawSocket, upgrade
from tests.harness import (
    FakeClock,
    RunningWorker,
    client_tls,
    make_secure_settings,
    running_worker,
    until,
)


def header(
    source: str = "192.0.2.1",
    *,
    command: int = 0x21,
    family: int | None = None,
    more: bytes = b"",
    length: int | None = None,
) -> bytes:
    """A header as a balancer sends it; `more` are its own fields (TLVs)."""
    ip = ipaddress.ip_address(source)
    rest = ip.packed + ip.packed + (1234).to_bytes(2, "big") + (443).to_bytes(2, "big") + more
    kind = family if family is not None else 0x11 if ip.version == 4 else 0x21
    size = len(rest) if length is None else length
    return SIGNATURE + bytes([command, kind]) + size.to_bytes(2, "big") + rest


def parsed(data: bytes, pieces: int = 1) -> tuple[Ip | None, bytes]:
    """What `read` makes of `data`, given at most `pieces` bytes at a time, and what it left."""
    left = bytearray(data)

    async def receive(count: int) -> bytes:
        taken = bytes(left[: min(count, pieces)])
        del left[: len(taken)]
        return taken

    return asyncio.run(read(receive)), bytes(left)


@given(st.ip_addresses(), st.binary(max_size=200), st.binary(max_size=50), st.integers(1, 99))
def test_a_header_is_read_to_the_byte(ip: Ip, fields: bytes, follows: bytes, pieces: int) -> None:
    """Section 2.2 of the protocol's text: what follows is not touched, however it comes."""
    found, left = parsed(header(str(ip), more=fields) + follows, pieces)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    assert found == (mapped or ip)
    assert left == follows


def test_ipv4_in_ipv6_is_ipv4() -> None:
    """RFC 4291 section 2.5.5.2: nobody has two counts for one address."""
    assert parsed(header("::ffff:192.0.2.7"), 99)[0] == ipaddress.ip_address("192.0.2.7")


@given(st.binary(max_size=60), st.sampled_from([0x00, 0x11, 0x21, 0x31, 0xFF]))
def test_local_tells_nobody(rest: bytes, family: int) -> None:
    """Section 2.2: a health check of the balancer itself; its addresses are not looked at."""
    head = SIGNATURE + bytes([0x20, family]) + len(rest).to_bytes(2, "big")
    assert parsed(head + rest + b"GET", 99) == (None, b"GET")


@given(st.binary(max_size=64))
def test_anything_else_is_refused(data: bytes) -> None:
    """No crash, no wait for more than a header: bytes that are none."""
    with pytest.raises(BadHeader):
        parsed(data, 99)


@given(st.binary(max_size=64))
def test_anything_behind_the_signature_is_read_or_refused(data: bytes) -> None:
    """And never more than its length is taken."""
    try:
        _, left = parsed(SIGNATURE + data, 99)
    except BadHeader:
        return
    assert len(data) - len(left) == 4 + int.from_bytes(data[2:4], "big")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        header()[:-1],
        header()[:15],
        header(command=0x11),  # version 1
        header(command=0x22),  # no such command
        header(family=0x12),  # UDP
        header(family=0x31),  # a UNIX socket
        header(family=0x00),  # unspecified, and yet no LOCAL
        header("192.0.2.1", family=0x21),  # IPv4's bytes for IPv6
        header(length=11),
        header(length=0),
        header(more=bytes(MAX_REST_BYTES)),
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",  # version 1, which is text
        upgrade(),
        b"\x16\x03\x01\x02\x00" + bytes(64),  # TLS
    ],
)
def test_a_wrong_header_is_refused(data: bytes) -> None:
    """One that is cut, of another version, protocol or length."""
    with pytest.raises(BadHeader):
        parsed(data, 99)


# -- on the listeners ------------------------------------------------------------------------------


@pytest.fixture
async def behind(
    redis_url: str, tmp_path: Path, clock: FakeClock, certs: DevCerts
) -> AsyncIterator[RunningWorker]:
    """A gateway behind a balancer on 127.0.0.1: one connection for each address."""
    settings = make_secure_settings(
        redis_url,
        tmp_path,
        certs,
        wss_proxy_protocol=True,
        plain_proxy_protocol=True,
        trusted_proxies=["127.0.0.1"],
        max_connections_per_ip=1,
    )
    async with running_worker(settings, clock=clock) as running:
        yield running


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("source", ["192.0.2.1", "2001:db8::1"])
async def test_the_client_behind_the_balancer_is_counted(
    behind: RunningWorker, certs: DevCerts, secure: bool, source: str
) -> None:
    """HP-2.1-6: the header comes before TLS; a second connection of the same address is closed,
    another address and the balancer's own health check get in."""
    tls = client_tls(certs.ca) if secure else None
    address = behind.listening.wss if secure else behind.listening.plain
    fields = bytes([0x01, 0x00, 0x05]) + b"hello"  # a TLV
    async with RawSocket.open(address, tls, first=header(source, more=fields)) as raw:
        await raw.open_session(behind.token("alice"))
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            async with RawSocket.open(address, tls, first=header(source)) as second:
                await second.open_session(behind.token("bob"))
        assert behind.inside.listener.refused == {"ip_connections": 1}
        for first in (header("198.51.100.9"), header(command=0x20, family=0)):
            async with RawSocket.open(address, tls, first=first) as other:
                await other.open_session(behind.token("carol"))
    async with RawSocket.open(address, tls, first=header(source)) as again:
        await again.open_session(behind.token("alice"))


@pytest.mark.parametrize("secure", [False, True])
async def test_without_a_header_there_is_no_connection(
    behind: RunningWorker, certs: DevCerts, secure: bool
) -> None:
    """A balancer that is not set up for it is noticed, and nothing is taken for a header."""
    tls = client_tls(certs.ca) if secure else None
    address = behind.listening.wss if secure else behind.listening.plain
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        async with RawSocket.open(address, tls) as raw:
            await raw.open_session(behind.token("alice"))
    assert behind.inside.listener.refused == {"proxy_header": 1}
    assert behind.inside.open == 0


async def test_who_is_not_the_balancer_sets_no_address(behind: RunningWorker) -> None:
    """A header from elsewhere is not read: whoever could send it could be anybody."""
    async with RawSocket.open(
        behind.listening.plain, source="127.0.0.2", first=header("203.0.113.5")
    ) as raw:
        assert await raw.ended() == b""
    assert behind.inside.listener.refused == {"untrusted_proxy": 1}
    assert not behind.inside.listener.admission.open


async def test_a_header_that_does_not_come_is_not_waited_for(
    behind: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: whatever was sent of it, and others are not held up."""
    monkeypatch.setattr("gateway.net.acceptor.HEADER_TIMEOUT_S", 0.2)
    async with (
        RawSocket.open(behind.listening.plain) as silent,
        RawSocket.open(behind.listening.plain, first=header()[:20]) as half,
        RawSocket.open(behind.listening.plain, first=header()) as whole,
    ):
        await whole.open_session(behind.token("alice"))
        assert await silent.ended() == b""
        assert await half.ended() == b""
        assert behind.inside.listener.refused == {"proxy_header": 2}


async def test_a_header_in_pieces_is_read(behind: RunningWorker) -> None:
    """And what comes in the same packet as its end is the client's."""
    whole = header("192.0.2.1")
    async with RawSocket.open(behind.listening.plain, first=whole[:7]) as raw:
        await asyncio.sleep(0.05)
        raw.writer.write(whole[7:] + upgrade())
        assert (await raw.response())[0] == 101
        assert behind.inside.listener.admission.open == {"192.0.2.1": 1}


async def test_stopping_ends_those_whose_header_is_awaited(
    behind: RunningWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: a drain does not wait for them."""
    monkeypatch.setattr("gateway.net.acceptor.HEADER_TIMEOUT_S", 3600)
    async with RawSocket.open(behind.listening.plain, first=header()[:5]) as raw:
        await until(lambda: behind.inside.opening)
        behind.inside.listener.stop()
        assert await raw.ended() == b""
