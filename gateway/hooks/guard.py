"""Which addresses an event may be sent to: those of the public Internet, and what is configured.

An app says where its events go, so without this it could have a gateway ask what only the gateway
can reach: the machine itself, its network, a cloud's metadata. The address that is checked is the
one that is connected to: `Guard` is the only resolver of the client, and whatever a name means by
the next look-up, no look-up follows.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.apps.webhooks import address_of

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
"""Its last 4 bytes are an IPv4 address (RFC 6052)."""

_NEVER: Final[tuple[Network, ...]] = (
    ipaddress.ip_network("168.63.129.16/32"),  # Azure's platform, which has a public address
    ipaddress.ip_network("192.88.99.0/24"),  # 6to4 relays (RFC 7526)
)

LOOKUPS: Final = 32
"""Names that are looked up at once. A server of names that does not answer holds up one of them."""


class ForbiddenAddress(OSError):
    """An event must not be sent to where its endpoint is."""

    def __init__(self) -> None:
        super().__init__("the endpoint's host has no address that events may be sent to")


def is_public(address: Address) -> bool:
    """Whether `address` is one of the public Internet, also one that is inside another."""
    if isinstance(address, ipaddress.IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour
        if address.teredo is not None:
            inside = address.teredo[1]
        if address in _NAT64:
            inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inside is not None:
            return is_public(inside)
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _NEVER if network.version == address.version)
    )


class Guard(AbstractResolver):
    """Looks names up, and gives only addresses that may be connected to; `allowed` are networks
    that may be although they are not public."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = tuple(allowed)
        self._threads = ThreadPoolExecutor(LOOKUPS, "lookup")

    def lets(self, address: Address) -> bool:
        """Whether an event may be sent to `address`."""
        if any(address in each for each in self._allowed if each.version == address.version):
            return True
        return is_public(address)

    def check(self, host: str) -> None:
        """See that `host`, if it is an address, is one that may be connected to: those are not
        looked up.

        Raises:
            ForbiddenAddress: it is not.
        """
        address = address_of(host)
        if address is not None and not self.lets(address):
            raise ForbiddenAddress

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of `host` that may be connected to (aiohttp.abc.AbstractResolver).

        Raises:
            OSError: there is none. ForbiddenAddress: there are only others.
        """
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
        )
        results: list[ResolveResult] = []
        for each_family, _, proto, _, place in found:
            address = address_of(str(place[0]))  # one with a scope is link-local, and is not one
            if address is not None and self.lets(address):
                results.append(
                    ResolveResult(
                        hostname=host,
                        host=str(address),
                        port=port,
                        family=each_family,
                        proto=proto,
                        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                    )
                )
        if not results:
            raise ForbiddenAddress
        return results

    async def close(self) -> None:
        """Look nothing up any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
