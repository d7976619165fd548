"""Where a client connects, and which way it gets there. Does no I/O but reading ``cacert``."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit
from urllib.request import getproxies

from homeport.client import files
from homeport.limits import PATH

Proxy = str | Literal[True] | None
"""The proxy's URL; True: what the environment says (`urllib.request.getproxies`); None: none."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect, and how to get there. `tls` is None for ``ws``."""

    url: str
    tls: ssl.SSLContext | None
    proxy: Proxy

    @classmethod
    def of(cls, url: str, cacert: Path | ssl.SSLContext | None, proxy: Proxy) -> Self:
        """The address that these arguments of `Client` mean.

        Raises:
            TypeError, ValueError: they make no sense.
            OSError: ``cacert`` can't be used: `ssl.SSLError` where it holds no certificate.
        """
        whole = _endpoint(url)
        if proxy is not None and proxy is not True and not isinstance(proxy, str):
            raise TypeError("proxy must be the URL of a proxy, True or None")
        return cls(whole, _tls_context(whole, cacert), proxy)

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


def _tls_context(url: str, cacert: Path | ssl.SSLContext | None) -> ssl.SSLContext | None:
    if not url.startswith("wss:"):
        if cacert is not None:
            raise ValueError("cacert is for wss:// URLs")
        return None
    if isinstance(cacert, ssl.SSLContext):
        return cacert
    if cacert is not None:
        files.check(Path(cacert))
    try:
        return ssl.create_default_context(cafile=cacert)
    except ssl.SSLError as error:
        raise ssl.SSLError(error.errno, f"{cacert} holds no certificate in PEM") from error
