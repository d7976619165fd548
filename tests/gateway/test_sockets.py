"""What an address listens on, and how processes share it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from gateway.address import Address
from gateway.sockets import listen, reserve

V4, V6 = "127.0.0.1", "::1"


def has_ipv6() -> bool:
    """Whether this machine has a loopback address of it."""
    with suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind((V6, 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@contextmanager
def listening(text: str, *, shared: bool = False) -> Iterator[list[socket.socket]]:
    """Sockets that listen, for as long as the context lasts."""
    sockets = listen(Address.parse(text), shared=shared)
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def reached(port: int) -> set[str]:
    """Over which loopback addresses the port is reached."""
    found = set()
    for host in (V4, V6):
        with suppress(OSError), closing(socket.create_connection((host, port), 5)):
            found.add(host)
    return found


@needs_ipv6
@pytest.mark.parametrize(
    ("host", "hosts"),
    [("[::]", {V4, V6}), ("0.0.0.0", {V4}), ("localhost", {V4, V6}), ("[::1]", {V6}), (V4, {V4})],
)
def test_an_address_is_reached_over_its_families(host: str, hosts: set[str]) -> None:
    """``[::]`` was IPv6 only: no address took both families on all interfaces. A name has the
    addresses that the machine's own list gives it."""
    if host == "localhost":
        hosts = {str(info[4][0]) for info in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)}
    with listening(f"{host}:0") as sockets:
        ports = {sock.getsockname()[1] for sock in sockets}
        assert len(ports) == 1
        assert reached(ports.pop()) == hosts


@needs_ipv6
@pytest.mark.parametrize("host", ["[::]", "0.0.0.0", "localhost"])
def test_workers_share_what_was_reserved(host: str) -> None:
    """Each listens by itself, over the same families, on the port that the reserving picked; and
    another gateway can't have it."""
    address, held = reserve(Address.parse(f"{host}:0"))
    try:
        assert address.port
        with listening(str(address), shared=True), listening(str(address), shared=True):
            assert V4 in reached(address.port)
            with pytest.raises(OSError, match="in use") as taken:
                reserve(address)
            assert taken.value.errno == errno.EADDRINUSE
        assert reached(address.port) == set()  # what is held listens by no means
    finally:
        for sock in held:
            sock.close()


@needs_ipv6
def test_both_families_are_taken_together_or_not_at_all() -> None:
    """Somebody else who has the port for IPv4 alone is told at the start, and not by clients."""
    with listening(f"{V4}:0") as (taken,):
        port = taken.getsockname()[1]
        for attempt in (reserve, listen):
            with pytest.raises(OSError, match="in use"):
                attempt(Address("::", port))


@needs_ipv6
def test_a_client_over_ipv4_is_an_ipv4_address() -> None:
    """Limits, trusted proxies and logs know it by one name, whichever socket it came through: see
    `gateway.net.addresses.address`."""
    with listening("[::]:0") as (sock,):
        sock.setblocking(True)
        port = sock.getsockname()[1]
        with closing(socket.create_connection((V4, port))):
            peer, where = sock.accept()
            peer.close()
            assert where[0] == "::ffff:127.0.0.1"


def test_an_address_that_is_not_here_is_refused() -> None:
    """Another machine's (TEST-NET-1, RFC 5737), and a name that nobody has."""
    for attempt in (reserve, listen):
        with pytest.raises(OSError, match="assign requested address"):
            attempt(Address("192.0.2.1", 1))
        with pytest.raises(socket.gaierror):
            attempt(Address("none.invalid", 1))
