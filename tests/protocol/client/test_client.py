"""Making and closing a client, against a scripted server."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from protocol import frames
from protocol.client import Client
from protocol.limits import PATH
from tests.protocol.client.conftest import Setting


async def test_closing_while_connecting(setting: Setting) -> None:
    """A cancelled entry closes the connection that was under way."""
    entering = asyncio.create_task(setting.client().__aenter__())
    peer = await setting.server.peer()
    await peer.expect(frames.Connect)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert await peer.closed() == 1000


async def test_a_cancelled_close_leaves_no_connection(setting: Setting) -> None:
    """A server that never finishes the closing handshake can't hold the program."""
    async with setting.live() as (client, peer):
        connection = client._link._connection
        assert connection is not None
        peer.ws.transport.pause_reading()
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert connection.transport.is_closing()
    peer.ws.transport.resume_reading()
    await peer.ws.wait_closed()


async def test_an_exception_of_on_event_harms_nothing(setting: Setting) -> None:
    """It is reported to the loop, and the client goes on."""
    reported: list[BaseException] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def on_event(event: Any) -> None:
        raise KeyError(type(event).__name__)

    async with setting.live(on_event=on_event) as (client, peer):
        await peer.push(1)
        assert (await anext(client.messages())).seq == 1
    assert [str(error) for error in reported] == ["'Connected'"]


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("https://example.org", {"token": "t"}, "wss://"),
        ("wss://example.org/v1?token=t", {"token": "t"}, "query"),
        ("wss://me:secret@example.org", {"token": "t"}, "credentials"),
        ("wss://example.org", {}, "token or get_token"),
        ("wss://example.org", {"token": "t", "device": "my laptop"}, "device"),
        ("ws://example.org", {"token": "t", "cacert": ssl.create_default_context()}, "wss://"),
    ],
)
async def test_wrong_arguments(url: str, options: dict[str, Any], says: str) -> None:
    """Said at once, and by what to change."""
    with pytest.raises(ValueError, match=says):
        Client(url, **{"device": "d"} | options)


async def test_the_path_is_added(setting: Setting) -> None:
    """HP-2.1-1: a URL without a path means /v1."""
    async with setting.live(url=setting.server.url.removesuffix(PATH)):
        assert setting.server.paths == [PATH]
