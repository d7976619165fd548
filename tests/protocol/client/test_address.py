"""Where a client connects: proxies, and what is said of an attempt that fails."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from protocol.client import ConnectFailed, Disconnected
from protocol.client.address import Address
from tests.protocol.client.conftest import Setting, tokens


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("[::1]", True),
        ("128.0.0.1", False),
        ("[::2]", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
    ],
)
def test_what_is_this_machine(host: str, loopback: bool) -> None:
    """No proxy can reach it; a name that only looks like it is another's."""
    assert Address.of(f"ws://{host}:8080", None, "http://proxy:3128").is_loopback is loopback


def test_an_address_in_words() -> None:
    """Host and port, the default one too."""
    for url, words in (
        ("wss://chat.example", "chat.example:443"),
        ("WS://chat.example/v1", "chat.example:80"),
        ("ws://[::2]:81", "[::2]:81"),
    ):
        assert Address.of(url, None, None).host_and_port == words


class Tunnel:
    """An HTTP proxy (RFC 9110 section 9.3.6) whose every tunnel leads to the scripted server."""

    def __init__(self, port: int) -> None:
        self.asked: list[str] = []
        self.url = ""
        self._port = port

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One tunnel."""
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(request.split("\r\n")[0])
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
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
async def tunnel(setting: Setting) -> AsyncIterator[Tunnel]:
    """A proxy to the setting's server."""
    found = Tunnel(Address.of(setting.server.url, None, None).port)
    server = await asyncio.start_server(found.handle, "127.0.0.1", 0)
    async with server:
        found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
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
        ("socks5://127.0.0.1:9", "python-socks"),
        ("ftp://me:secret@127.0.0.1:9", "proxy"),
        ("http://127.0.0.1:nine", "[Pp]ort"),
        ("http://me:secret@", "proxy"),
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


async def test_failing_attempts_are_logged(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    """README's program, while the gateway is down, said nothing at all. The first failure of a
    series and each tenth is a line with host, port and reason, and without the token."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = setting.client(url=f"ws://127.0.0.1:{port}", get_token=tokens("secret-token"))
    with caplog.at_level(logging.WARNING, "homeport.client"):
        entering = asyncio.create_task(client.__aenter__())
        for _ in range(21):
            await setting.events.next(Disconnected)
        await client.close()
        await asyncio.wait([entering])
    assert entering.exception() is not None
    lines = [record.getMessage() for record in caplog.records]
    begins = [f"no connection to 127.0.0.1:{port}{many}: " for many in ("", *_MANY)]
    assert [line[: len(begin)] for line, begin in zip(lines, begins, strict=True)] == begins
    assert "Connect call failed" in lines[0]
    assert "secret-token" not in caplog.text


_MANY = (" for the 10th time", " for the 20th time")


async def test_a_new_series_is_logged_again(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    """A session ends a series of failures."""
    with caplog.at_level(logging.WARNING, "homeport.client"):
        async with setting.live() as (_, peer):
            for _ in range(2):
                peer.cut()
                await (await setting.server.peer()).refuse(140, 4001)
                await (await setting.server.peer()).refuse(140, 4001)
                peer = await setting.server.peer()
                await peer.accept()
    assert len(caplog.records) == 2
    assert "unavailable" in caplog.text
