"""The way through a proxy: with a real one, HTTP or SOCKS, in front of the scripted server."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from homeport import ConnectFailed, Disconnected
from homeport.client.address import Address
from homeport.client.proxy import MAX_HEAD_BYTES, Way, find

from tests.harness import client_tls
from tests.protocol.client.conftest import Setting
from tests.protocol.client.server import running
from tests.protocol.client.test_opening_tls import make_ca


class Tunnel:
    """An HTTP proxy (RFC 9110 section 9.3.6) whose every tunnel leads to the scripted server."""

    def __init__(self, port: int, answer: bytes) -> None:
        self.asked: list[str] = []
        self.heads: list[str] = []
        self.port = 0
        self._to = port
        self._answer = answer

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One tunnel."""
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(request)
        self.asked.append(request.split("\r\n")[0])
        writer.write(self._answer)
        if b" 200 " in self._answer:
            await relay(reader, writer, self._to)
        else:
            writer.close()


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Carry bytes to and from a port of this machine."""
    to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(_copy(reader, to_writer), _copy(to_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def tunnel(
    setting: Setting,
    answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Tunnel]:
    """A proxy to the setting's server."""
    found = Tunnel(Address.of(setting.server.url, None, None).port, answer)
    server = await asyncio.start_server(found.handle, "127.0.0.1", 0, ssl=tls)
    async with server:
        found.port = server.sockets[0].getsockname()[1]
        yield found


async def test_through_a_proxy(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the argument, and by the environment; the proxy finds the host."""
    async with tunnel(setting) as proxy:
        async with setting.live(url="ws://chat.example:99", proxy=proxy.url):
            pass
        assert proxy.asked == ["CONNECT chat.example:99 HTTP/1.1"]
        monkeypatch.setenv("https_proxy", proxy.url)
        async with setting.live(url="ws://chat.example:98"):
            pass
        assert proxy.asked[1:] == ["CONNECT chat.example:98 HTTP/1.1"]


async def test_this_machine_is_reached_directly(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell of an office has https_proxy set; a gateway on the same machine was not found."""
    for name in ("http_proxy", "https_proxy", "socks_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with setting.live():
        pass
    async with setting.live(proxy="http://127.0.0.1:9"):
        pass


@pytest.mark.parametrize(
    ("proxy", "says"),
    [
        ("ftp://me:secret@127.0.0.1:9", "proxy"),
        ("http://127.0.0.1:nine", "[Pp]ort"),
        ("http://me:secret@", "proxy"),
        ("http://me:secret@proxy/path", "nothing may follow"),
        ("http://me:secret@\u2100.example", "not valid"),
    ],
)
async def test_a_proxy_that_can_not_be_used(setting: Setting, proxy: str, says: str) -> None:
    """Said at once, as any wrong setting, and without its password."""
    with pytest.raises(ConnectFailed, match=says) as caught:
        await setting.client(url="ws://chat.example", proxy=proxy).__aenter__()
    assert "secret" not in str(caught.value)


async def test_a_proxy_that_is_away_is_named(setting: Setting) -> None:
    """Else its address would be looked for in vain among the program's own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = setting.client(url="ws://chat.example", proxy=f"http://127.0.0.1:{port}")
    entering = asyncio.create_task(client.__aenter__())
    assert "a proxy is set" in (await setting.events.next(Disconnected)).reason
    await client.close()
    await asyncio.wait([entering])
    assert entering.exception() is not None


async def test_a_user_and_a_password_of_the_proxy(setting: Setting) -> None:
    """RFC 7617: they are in the request to the proxy, decoded, and the server never sees them."""
    async with tunnel(setting) as proxy:
        url = proxy.url.replace("//", "//me:se%20cret@")
        assert "cret" not in repr(Way.of(url))
        async with setting.live(url="ws://chat.example", proxy=url) as (_, peer):
            assert peer.ws.request is not None
            assert "Proxy-Authorization" not in peer.ws.request.headers
    secret = b64encode(b"me:se cret").decode()
    assert f"\r\nProxy-Authorization: Basic {secret}\r\n" in proxy.heads[0]


async def test_tls_through_a_proxy(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the host, whose certificate counts; the way to the proxy may be TLS as well."""
    ca_file, tls = make_ca(tmp_path, "chat.example")
    proxy_ca_file, proxy_tls = make_ca(tmp_path / "proxy", "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(proxy_ca_file))
    async with running(tls) as setting.server:
        async with tunnel(setting) as proxy:
            async with setting.live(
                url="wss://chat.example",
                ssl=client_tls(ca_file),
                proxy=proxy.url,
            ):
                pass
            with pytest.raises(ConnectFailed, match=r"other\.example"):
                await setting.client(
                    url="wss://other.example",
                    ssl=client_tls(ca_file),
                    proxy=proxy.url,
                ).__aenter__()
        async with tunnel(setting, tls=proxy_tls) as proxy:
            url = f"https://localhost:{proxy.port}"
            async with setting.live(url="wss://chat.example", ssl=client_tls(ca_file), proxy=url):
                pass


@pytest.mark.parametrize("status", [302, 403, 407])
async def test_a_proxy_that_refuses(setting: Setting, status: int) -> None:
    """A person has to change something; the body of the refusal does not matter."""
    answer = f"HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno".encode()
    async with tunnel(setting, answer) as proxy:
        client = setting.client(url="ws://chat.example", proxy=proxy.url)
        with pytest.raises(ConnectFailed, match=f"HTTP {status}; a proxy is set"):
            await client.__aenter__()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.0 503 Busy\r\n\r\n", "HTTP 503"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"x" * MAX_HEAD_BYTES, "no valid HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nand more", "more than its answer"),
        (b"", "closed the connection"),
    ],
)
async def test_a_proxy_that_may_do_better(setting: Setting, answer: bytes, says: str) -> None:
    """It is tried again, and what it sends is read up to a bound."""
    async with tunnel(setting, answer) as proxy:
        client = setting.client(url="ws://chat.example", proxy=proxy.url)
        entering = asyncio.create_task(client.__aenter__())
        told = await setting.events.next(Disconnected)
        entering.cancel()
        await asyncio.wait([entering])
        assert told.will_reconnect
        assert says in told.reason


@pytest.mark.parametrize(
    ("environment", "secure", "found"),
    [
        ({}, True, None),
        ({"https_proxy": "http://a:1"}, True, Way("http", "a", 1, None, "")),
        ({"https_proxy": "https://a"}, False, Way("https", "a", 443, None, "")),
        ({"http_proxy": "http://a"}, True, None),
        ({"http_proxy": "http://a"}, False, Way("http", "a", 80, None, "")),
        ({"https_proxy": "http://a", "socks_proxy": "http://b"}, True, ("socks5h", "b", 1080)),
        ({"socks_proxy": "http://b", "wss_proxy": "http://c"}, True, ("http", "c", 80)),
        ({"https_proxy": "http://a", "no_proxy": ".example"}, True, None),
        ({"https_proxy": "http://a", "no_proxy": "other.example"}, True, ("http", "a", 80)),
    ],
)
def test_which_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    secure: bool,
    found: Way | tuple[str, str, int] | None,
) -> None:
    """RFC 6455 section 4.1: SOCKS before HTTPS, HTTPS before HTTP; `no_proxy` counts."""
    for scheme in ("ws", "wss", "socks", "http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_proxy".upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    way = find(True, secure, "chat.example", 443)
    if isinstance(found, tuple):
        found = Way(*found, None, "")
    assert way == found
    assert find(None, secure, "chat.example", 443) is None


async def test_through_a_socks_proxy(setting: Setting) -> None:
    """RFC 1928, by python-socks; with ``socks5h`` the proxy finds the host."""
    asked: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")  # no authentication
        *_, length = await reader.readexactly(5)
        asked.append(await reader.readexactly(length + 2))
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        await relay(reader, writer, Address.of(setting.server.url, None, None).port)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        url = f"socks5h://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with setting.live(url="ws://chat.example:99", proxy=url):
            pass
    assert asked == [b"chat.example" + (99).to_bytes(2, "big")]


async def test_socks_without_the_package_that_speaks_it(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK does not depend on it; the error says what to install."""
    monkeypatch.setitem(sys.modules, "python_socks", None)
    with pytest.raises(ConnectFailed, match="install the package python-socks"):
        await setting.client(url="ws://chat.example", proxy="socks5://127.0.0.1:9").__aenter__()
