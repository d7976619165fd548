"""The address of a listener, and of what clients connect to, as settings spell them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a host name or IP address without brackets, and a port (0 picks one)."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port``; an IPv6 address stands in brackets (RFC 3986 section 3.2.2).

        Raises:
            ValueError: it has another form.
        """
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:\[\]/@*,]+)):([0-9]{1,5})", text)
        if match is None or int(match[3]) > 65535:
            raise ValueError(
                "must be host:port, like 10.0.0.5:8443 or localhost:8080; "
                "[::]:8443 takes IPv4 and IPv6 on all interfaces, 0.0.0.0:8443 takes IPv4"
            )
        if match[1] is None:
            return cls(match[2], int(match[3]))
        try:
            host = ipaddress.IPv6Address(match[1])
        except ValueError:
            raise ValueError("has no IPv6 address in its brackets") from None
        return cls(str(host.ipv4_mapped or host), int(match[3]))

    @classmethod
    def parse_all(cls, text: str | None) -> list[Address]:
        """Read one or several with commas between them, as a setting holds them; None has none.

        Raises:
            ValueError: one has another form, or includes another one.
        """
        found = [] if text is None else [cls.parse(each.strip()) for each in text.split(",")]
        for address in found:
            others = [other for other in found if other.port == address.port != 0]
            if others.count(address) > 1 or (address.host == "::" and len(others) > 1):
                raise ValueError(
                    f"names {address} beside what it includes: leave the other out, "
                    "[::] is all of IPv4 and IPv6"
                )
        return found

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True when only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def url_check(scheme: str, example: str) -> Callable[[str], str]:
    """What makes sure that a text is a URL of `scheme`, as `example` is, and returns it. It raises
    `ValueError` with what the text must be."""

    def check(text: str) -> str:
        if not text.lower().startswith(f"{scheme}://"):
            raise ValueError(f"must begin with {scheme}://")
        match = re.fullmatch(
            scheme + r"://(?:[\w.-]+|\[[\da-f:.]+\])(?::([1-9]\d{0,4}))?(?:/[!-~]*)?",
            text,
            re.ASCII | re.I,
        )
        if match is None or int(match[1] or 1) > 65535 or "?" in text or "#" in text:
            raise ValueError(
                "has an entry that is no address for clients: write it like "
                f"{example}, with a port where it is not 443, and nothing else"
            )
        return text

    return check
