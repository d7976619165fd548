"""Where a connection comes from: addresses as text, networks that are trusted, and what is counted.

An address stays text from the socket to the counts. IPv4 is written as IPv4 also where a socket or
a proxy says it in IPv6 (RFC 4291 section 2.5.5.2), so that nobody has two of one address.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

_MAPPED_BITS: Final = 96
"""Of an IPv4-mapped address, what stands before the IPv4 one."""

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def address(text: str) -> Ip | None:
    """The IP address that `text` is, or None. A zone (``fe80::1%eth0``) is left out."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.version == 6 and found.ipv4_mapped) or found


def source(ip: Ip) -> str:
    """What connections are counted by: an IPv4 address, or the /64 of an IPv6 one.

    A customer is given a /64 at least (RFC 6177 section 2), and uses as many addresses of it as
    they like.
    """
    if ip.version == 4:
        return str(ip)
    return str(ipaddress.IPv6Address(int(ip) >> 64 << 64)) + "/64"


class Networks:
    """A list of networks, each like ``10.0.0.0/8``."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [_network(network) for network in networks]

    def __contains__(self, ip: Ip) -> bool:
        return any(ip in network for network in self._networks)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """One in IPv4-mapped form is of IPv4, as the addresses that it is compared with are."""
    found = ipaddress.ip_network(text)
    if found.version == 6 and found.prefixlen >= _MAPPED_BITS:
        mapped = found.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, found.prefixlen - _MAPPED_BITS))
    return found
