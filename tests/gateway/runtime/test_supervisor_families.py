"""One gateway for IPv4 and IPv6, with all its processes, and on a machine that has only one."""

from __future__ import annotations

import asyncio
import http.client
from functools import partial
from typing import Any

import pytest
from homeport.limits import PATH

from gateway.address import Address
from tests.gateway.net.raw import RawSocket, upgrade
from tests.gateway.net.test_proxy_protocol import header
from tests.gateway.runtime.replica import Replica, until
from tests.gateway.test_sockets import has_ipv6
from tests.harness import RawClient
from tests.ports import free_port
from tests.seccomp import NO_IPV6, SOCKET_CALL

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
EVERYWHERE: dict[str, Any] = {"tls_terminated_upstream": True, "plain_listen": "[::]:0"}


async def comes_in(replica: Replica, host: str, port: int) -> None:
    """Connect over this address."""
    async with RawClient.open(f"ws://{host}:{port}{PATH}") as client:
        await client.connect(replica.token("alice"))


@needs_ipv6
def test_clients_of_both_families_come_in(replica: Replica) -> None:
    """``[::]`` was IPv6 only, so no setting served both on all interfaces."""
    process = replica.start(**EVERYWHERE)
    (url,) = process.urls
    port = Address.parse(url.removeprefix("ws://")).port
    for host in ("127.0.0.1", "[::1]"):
        asyncio.run(comes_in(replica, host, port))
    assert process.stop() == 0


@needs_ipv6
def test_a_listener_has_several_addresses(replica: Replica) -> None:
    """Each is told, each is shared by the workers, and operators have theirs."""
    ops = free_port()
    both = [f"127.0.0.1:{ops}", f"[::1]:{ops}"]
    process = replica.start(plain_listen=["127.0.0.1:0", "[::1]:0"], ops_listen=both)
    hosts = [Address.parse(url.removeprefix("ws://")) for url in process.urls]
    assert [address.host for address in hosts] == ["127.0.0.1", "::1"]
    for address in hosts:
        asyncio.run(comes_in(replica, str(address).rpartition(":")[0], address.port))
    for host in ("127.0.0.1", "::1"):
        until(partial(ready, host, ops))
    assert process.stop() == 0


def ready(host: str, port: int) -> bool:
    """Whether /readyz says yes."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@needs_ipv6
def test_ipv4_is_ipv4_through_a_socket_of_both(replica: Replica) -> None:
    """HP-2.1-6: a balancer is trusted, and its client counted, by the IPv4 address, though the
    socket and the PROXY header may both say it in IPv6 (RFC 4291 section 2.5.5.2)."""
    replica.start(
        **EVERYWHERE,
        workers=1,
        plain_proxy_protocol=True,
        trusted_proxies=["::ffff:127.0.0.0/104"],
        max_connections_per_ip=1,
        log_level="debug",
    )
    port = replica.address.port

    async def come() -> None:
        mapped, plain = header("::ffff:203.0.113.5"), header("203.0.113.5")
        async with RawSocket.open(Address("127.0.0.1", port), first=mapped) as first:
            first.writer.write(upgrade())
            assert (await first.response())[0] == 101
            async with RawSocket.open(Address("127.0.0.1", port), first=plain) as second:
                assert await second.reader.read() == b""
        reader, writer = await asyncio.open_connection("::1", port)
        assert await reader.read() == b""
        writer.close()

    asyncio.run(come())
    refused = until(lambda: replica.logged("connection_refused"))
    assert [(entry["reason"], entry["address"]) for entry in refused] == [
        ("ip_connections", "203.0.113.5"),
        ("untrusted_proxy", "::1"),
    ]


@pytest.mark.skipif(SOCKET_CALL is None, reason="another architecture's system calls")
def test_a_machine_without_ipv6_serves_ipv4(replica: Replica) -> None:
    """An image or a chart names ``[::]`` once for everybody; where there is no IPv6, the log says
    so. A name that has addresses of both is served on the other one."""
    process = replica.start(NO_IPV6, **EVERYWHERE, ops_listen="[::]:0")
    assert process.urls[0].startswith("ws://0.0.0.0:")
    asyncio.run(comes_in(replica, "127.0.0.1", replica.address.port))
    # The supervisor says it of the clients' address, and the process of the operators' of theirs,
    # each in its own time.
    until(lambda: len(replica.logged("no_ipv6")) == 2)
    assert [(said["address"], said["note"]) for said in replica.logged("no_ipv6")] == [
        ("[::]:0", "this machine has none: IPv4 only")
    ] * 2
    assert process.stop() == 0
    process = replica.start(NO_IPV6, plain_listen="localhost:0")
    asyncio.run(comes_in(replica, "127.0.0.1", replica.address.port))
