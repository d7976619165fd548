"""The header of PROXY protocol v2, with which a balancer states the client's address first of all.

Source: haproxy's doc/proxy-protocol.txt, section 2.2. A header is `HEAD_BYTES` of fixed form, which
state the length of the rest; so it is read to the byte, and what follows (TLS, an upgrade) is left
where it is. Does no I/O except through the function that `read` is given.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.net.addresses import Ip, address

HEAD_BYTES: Final = 16
SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
MAX_REST_BYTES: Final = 4096
"""Largest rest that is read: addresses and the balancer's own fields (TLVs). haproxy's with all of
its fields is a few hundred bytes; the form would allow 64 KiB."""

_LOCAL: Final = 0x20
_PROXY: Final = 0x21
"""Version 2 and the command."""
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_ADDRESS_BYTES: Final = {_TCP4: 4, _TCP6: 16}


class BadHeader(Exception):
    """What came is no header of PROXY protocol v2 for a TCP connection."""


async def read(receive: Callable[[int], Awaitable[bytes]]) -> Ip | None:
    """The client's address, or None where the balancer speaks for itself (LOCAL: a health check).

    `receive(n)` returns 1 to n bytes of the connection, or none at its end; it is never asked for
    more than the header.

    Raises:
        BadHeader: the connection must be closed.
    """
    head = await _exactly(receive, HEAD_BYTES)
    command, length = _head(head)
    rest = await _exactly(receive, length)
    if command == _LOCAL:
        return None
    return _source(head[13], rest)


def _head(head: bytes) -> tuple[int, int]:
    """The command, and how many bytes follow."""
    if not head.startswith(SIGNATURE):
        raise BadHeader("another signature")
    command, length = head[12], int.from_bytes(head[14:16], "big")
    if command not in (_LOCAL, _PROXY):
        raise BadHeader("another version or command")
    if length > MAX_REST_BYTES:
        raise BadHeader("too long")
    return command, length


def _source(family: int, rest: bytes) -> Ip:
    size = _ADDRESS_BYTES.get(family)
    if size is None:
        raise BadHeader("not TCP over IPv4 or IPv6")
    if len(rest) < 2 * size + 4:  # both addresses, both ports
        raise BadHeader("too short for its addresses")
    found = address(str(ipaddress.ip_address(rest[:size])))
    assert found is not None
    return found


async def _exactly(receive: Callable[[int], Awaitable[bytes]], count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = await receive(count - len(data))
        if not more:
            raise BadHeader("ended in the middle")
        data += more
    return data
