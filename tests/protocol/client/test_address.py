"""Where a client connects, and what is said of an attempt that fails."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest
from homeport import Disconnected
from homeport.client.address import Address

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
