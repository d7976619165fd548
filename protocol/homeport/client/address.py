"""Where a client connects, and which way it gets there. Does no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from ssl import SSLContext, create_default_context
from typing import Literal, Self
from urllib.parse import urlsplit
from urllib.request import getproxies

from homeport.client import checks
from homeport.limits import PATH

Proxy = str | Literal[True] | None
"""A proxy's URL; True: the environment's, by `urllib.request.getproxies`; None: no proxy."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect, and how to get there. `tls` is None for ``ws``."""

    url: str
    tls: SSLContext | None
    proxy: Proxy

    @classmethod
    def of(cls, url: str, ssl: SSLContext | None, proxy: Proxy) -> Self:
        """The address that these arguments of `Client` mean.

        Raises:
            TypeError, ValueError: they make no sense.
        """
        whole = _endpoint(url)
        if proxy is not None and proxy is not True and not isinstance(proxy, str):
            raise TypeError("proxy must be the URL of a proxy, True or None")
        checks.instance("ssl", ssl, SSLContext, type(None))
        if whole.startswith("wss:"):
            return cls(whole, ssl or create_default_context(), proxy)
        if ssl is not None:
            raise ValueError("ssl is for wss:// URLs")
        return cls(whole, None, proxy)

    @property
    def host(self) -> str:
        """The host's name or address, for people."""
        return urlsplit(self.url).hostname or ""

    @property
    def host_and_port(self) -> str:
        """For people: ``chat.example:443``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def port(self) -> int:
        """The port, the default one too."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "wss" else 80)

    @property
    def is_loopback(self) -> bool:
        """This machine itself, which no proxy can reach."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def may_use_proxy(self) -> bool:
        """There is a proxy that the connection may go through."""
        if self.is_loopback or self.proxy is None:
            return False
        return self.proxy is not True or bool(getproxies())


def _endpoint(url: str) -> str:
    if not isinstance(url, str):
        raise TypeError(f"url must be str, not {type(url).__name__}")
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError("url must be wss://host or wss://host:port")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("url must not have a query, a fragment or credentials; use token")
    if parts.port == 0:  # asking for it raises ValueError where it is no number of a port
        raise ValueError("url must have a port of 1 to 65535, or none")
    path = PATH if parts.path in ("", "/") else parts.path
    return parts._replace(path=path).geturl()  # the scheme is in lower case now
