"""The way through a proxy: which one it is, and a tunnel through it to a host.

HTTP CONNECT (RFC 9110 section 9.3.6) is done here; SOCKS is done by the package python-socks, where
it is installed.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from dataclasses import dataclass, field
from socket import socket
from typing import Final, Self, cast
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from homeport.client.address import Proxy

MAX_HEAD_BYTES: Final = 16 * 1024
"""The longest answer of a proxy to CONNECT that is read: a status line and headers."""

_HTTP_PORTS: Final = {"http": 80, "https": 443}
_SOCKS_PORT: Final = 1080
_SOCKS: Final = ("socks5h", "socks5", "socks4a", "socks4")
_END_OF_HEAD: Final = b"\r\n\r\n"
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r\n")


class ProxyUnusable(ValueError):
    """The URL of the proxy can't be used; the text leaves the URL out, for its password."""


class ProxyFailed(ConnectionError):
    """The proxy made no tunnel.

    Attributes:
        status: the HTTP status it answered with; None: it did not answer in HTTP.
    """

    def __init__(self, status: int | None, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Way:
    """A proxy's URL, taken apart. `scheme` is ``http``, ``https`` or one of SOCKS'."""

    scheme: str
    host: str
    port: int
    user: str | None
    password: str = field(repr=False)

    @classmethod
    def of(cls, url: str) -> Self:
        """Raises `ProxyUnusable`."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # its text may have the password in it
            raise _unusable("its host or its port is not valid") from None
        if parts.scheme not in (*_HTTP_PORTS, *_SOCKS):
            raise _unusable("its scheme must be http, https, socks5h, socks5, socks4a or socks4")
        if not parts.hostname:
            raise _unusable("it names no host")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise _unusable("nothing may follow its host and port")
        user = None if parts.username is None else unquote(parts.username)
        port = port or _HTTP_PORTS.get(parts.scheme, _SOCKS_PORT)
        return cls(parts.scheme, parts.hostname, port, user, unquote(parts.password or ""))


def _unusable(why: str) -> ProxyUnusable:
    return ProxyUnusable(f"the URL of the proxy can't be used: {why}")


def find(proxy: Proxy, secure: bool, host: str, port: int) -> Way | None:
    """The proxy on the way to a host; `secure`: for ``wss``. Raises `ProxyUnusable`.

    Of the environment's proxies one for WebSocket comes first, then one for SOCKS, as RFC 6455
    section 4.1 asks, then one for HTTPS, whose CONNECT is the same.
    """
    if proxy is None:
        return None
    if proxy is not True:
        return Way.of(proxy)
    if proxy_bypass(f"{host}:{port}"):
        return None
    known = getproxies()
    for scheme in ("wss", "socks", "https") if secure else ("ws", "socks", "https", "http"):
        if url := known.get(scheme):
            # Operating systems tell a SOCKS proxy with this scheme.
            of_socks = scheme == "socks" and url.startswith("http://")
            return Way.of("socks5h://" + url.removeprefix("http://") if of_socks else url)
    return None


async def tunnel(way: Way, host: str, port: int) -> asyncio.Transport:
    """A connection through the proxy to `host`, in the clear; the caller sets its protocol.

    Raises:
        OSError: there is no connection to the proxy, or it makes none (`ProxyFailed`).
        ImportError: SOCKS needs python-socks.
    """
    loop = asyncio.get_running_loop()
    if way.scheme in _SOCKS:
        made = await _through_socks(way, host, port)
        return (await loop.create_connection(asyncio.Protocol, sock=made))[0]
    tls = True if way.scheme == "https" else None
    transport, answer = await loop.create_connection(
        lambda: _Connect(way, host, port), way.host, way.port, ssl=tls
    )
    try:
        await answer.opened()
    except BaseException:
        transport.abort()
        raise
    return transport


class _Connect(asyncio.Protocol):
    """Asks an HTTP proxy for a tunnel, and reads its answer, to the byte."""

    def __init__(self, way: Way, host: str, port: int) -> None:
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if way.user is not None:
            secret = b64encode(f"{way.user}:{way.password}".encode()).decode()
            lines.append(f"Proxy-Authorization: Basic {secret}")
        self._request = "\r\n".join([*lines, "", ""]).encode()
        self._head = b""
        self._failure: ProxyFailed | None = None
        self._done = asyncio.Event()

    async def opened(self) -> None:
        """Wait for the tunnel. Raises `ProxyFailed`."""
        await self._done.wait()
        if self._failure is not None:
            raise self._failure

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The proxy is there (called by asyncio)."""
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take in some of the answer (called by asyncio)."""
        if self._done.is_set():
            self._fail("the proxy sent more than its answer")
            return
        self._head += data
        head, end, rest = self._head.partition(_END_OF_HEAD)
        if not end and len(head) <= MAX_HEAD_BYTES:
            return
        line = _STATUS_LINE.match(head + end)
        if line is None or not end or len(head) > MAX_HEAD_BYTES:
            self._fail("the answer of the proxy is no valid HTTP")
        elif not 200 <= (status := int(line[1])) < 300:
            self._fail(f"the proxy refused the connection: HTTP {status}", status)
        elif rest:  # neither in TLS nor in HTTP does the host speak first
            self._fail("the proxy sent more than its answer")
        self._done.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The proxy is gone (called by asyncio)."""
        self._fail("the proxy closed the connection")
        self._done.set()

    def _fail(self, text: str, status: int | None = None) -> None:
        self._failure = self._failure or ProxyFailed(status, text)


async def _through_socks(way: Way, host: str, port: int) -> socket:
    try:
        from python_socks import ProxyError, ProxyType
        from python_socks.async_.asyncio import Proxy as Socks
    except ImportError:
        raise ImportError("for a SOCKS proxy, install the package python-socks") from None
    kind = ProxyType.SOCKS5 if way.scheme.startswith("socks5") else ProxyType.SOCKS4
    proxy_finds_host = way.scheme in ("socks5h", "socks4a")
    proxy = Socks(kind, way.host, way.port, way.user, way.password, proxy_finds_host)
    try:
        return await proxy.connect(host, port)
    except ProxyError as error:
        raise ProxyFailed(None, f"the proxy refused the connection: {error}") from error
