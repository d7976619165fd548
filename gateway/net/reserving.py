"""The address that several processes listen on together (SO_REUSEPORT, socket(7))."""

from __future__ import annotations

import socket

from gateway.config import Address


def reserve(address: Address) -> tuple[Address, list[socket.socket]]:
    """Make sure that `address` is free, and pick the port where that is 0.

    Returns the address that it became, and what holds it until it is closed. Nothing listens yet:
    each process does so by itself, with SO_REUSEPORT.

    Raises:
        OSError: it can't be had. Somebody else listens there, perhaps another gateway.
    """
    port, held = address.port, []
    try:
        for family, kind, protocol, _, place in _places(address):
            held.append(sock := socket.socket(family, kind, protocol))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Shared only from here on: else two gateways could take the same address, unnoticed.
            sock.bind((place[0], port, *place[2:]))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            port = sock.getsockname()[1]
    except OSError:
        for sock in held:
            sock.close()
        raise
    return Address(held[0].getsockname()[0] if len(held) == 1 else address.host, port), held


def _places(address: Address) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return sorted(set(found))  # type: ignore[arg-type]
