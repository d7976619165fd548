"""Sockets that listen: what an address stands for, and how several processes share one.

``0.0.0.0`` is all of IPv4. ``[::]`` is all of IPv4 and IPv6, whatever the machine's own default is
(`net.ipv6.bindv6only`). A name is each address that it has here, and every other address is itself.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Final, NamedTuple

import structlog

from gateway.address import Address

BACKLOG: Final = 4096

_BOTH: Final = "::"
_LACKING: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""A name may have addresses of a family that this machine has not got."""

_log = structlog.get_logger()


class _Place(NamedTuple):
    """What to bind: `where` is as in the module `socket`, of which the port is the second."""

    family: int
    where: tuple[Any, ...]


def reserve(address: Address) -> tuple[Address, list[socket.socket]]:
    """Make sure that `address` is free, and pick the port where that is 0.

    Returns the address that it became, and what holds it until it is closed. Nothing listens yet:
    each process does so by itself, with `listen` and `shared` (SO_REUSEPORT, socket(7)).

    Raises:
        OSError: it can't be had. Somebody else listens there, perhaps another gateway.
    """
    held = _bound(address, shared=False)
    for sock in held:
        # Shared only from here on: else two gateways could take the same address, unnoticed.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    host, port = held[0].getsockname()[:2]
    return Address(host if len(held) == 1 else address.host, port), held


def listen(address: Address, *, shared: bool = False) -> list[socket.socket]:
    """Sockets that listen on `address` and do not block; `shared` with processes that say so too.

    Raises:
        OSError: it can't be had.
    """
    sockets = _bound(address, shared)
    try:
        for sock in sockets:
            sock.listen(BACKLOG)
    except OSError:
        _close(sockets)
        raise
    return sockets


def _bound(address: Address, shared: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    port = address.port
    try:
        for place in _places(address):
            sock = _bind(place, port, shared)
            if sock is not None:
                sockets.append(sock)
                port = sock.getsockname()[1]  # where it was 0, all get the same
    except OSError:
        _close(sockets)
        raise
    if not sockets:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return sockets


def _places(address: Address) -> list[_Place]:
    if address.host == _BOTH:
        if _has_ipv6():
            return [_Place(socket.AF_INET6, (_BOTH, address.port))]
        _log.warning("no_ipv6", address=str(address), note="this machine has none: IPv4 only")
        return [_Place(socket.AF_INET, ("0.0.0.0", address.port))]  # noqa: S104 - as asked
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return sorted({_Place(family, where) for family, _, _, _, where in found})


def _has_ipv6() -> bool:
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_STREAM).close()
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:
            raise
        return False
    return True


def _bind(place: _Place, port: int, shared: bool) -> socket.socket | None:
    """None where this machine lacks the address's family."""
    try:
        sock = socket.socket(place.family, socket.SOCK_STREAM)
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:
            raise
        return None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if place.family == socket.AF_INET6:
            only = place.where[0] != _BOTH
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        sock.setblocking(False)
        sock.bind((place.where[0], port, *place.where[2:]))
    except OSError as error:
        sock.close()
        if error.errno in _LACKING:
            return None
        raise
    return sock


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
