"""One connection's bytes, against a scripted server."""

from __future__ import annotations

import asyncio
import logging

import pytest
from homeport import Disconnected, frames
from homeport.client.connection import CLIENT
from homeport.codec import encode
from homeport.limits import MAX_FRAME_BYTES
from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response

from tests.harness import until
from tests.protocol.client.conftest import Setting
from tests.protocol.client.server import running


async def test_nothing_of_a_frame_is_logged(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    """G7: a program that logs at DEBUG had in its log how the frames begin, in hex; with short
    ones, all of the token and of the bodies."""
    with caplog.at_level(logging.DEBUG):
        async with setting.live() as (client, peer):
            await peer.push(1)
            await anext(client.messages())
    ours = [record for record in caplog.records if record.name != "websockets.server"]
    assert [record for record in ours if "websockets" in record.name] == []
    assert b"token-1".hex(" ") not in " ".join(record.getMessage() for record in ours)


async def test_a_message_over_the_limit_ends_the_connection(setting: Setting) -> None:
    """A faulty server does not fill the memory of the client, not in fragments either."""
    async with setting.live() as (client, peer):
        for pieces in ([bytes(MAX_FRAME_BYTES + 1)], [bytes(MAX_FRAME_BYTES), b"x"]):
            await peer.ws.send(pieces if len(pieces) > 1 else pieces[0])
            assert await peer.closed() == 1009
            assert (await setting.events.next(Disconnected)).will_reconnect
            peer = await setting.server.peer()
            await peer.accept()
        await peer.push(1)
        assert (await anext(client.messages())).text == "1"


async def test_a_server_that_speaks_first(setting: Setting) -> None:
    """What it says before the connect is not read, and the token stays here."""

    def process_response(ws: ServerConnection, _: Request, response: Response) -> Response:
        speaks = Frame(Opcode.BINARY, encode(frames.Ping())).serialize(mask=False)
        ws.transport.write(response.serialize() + speaks)
        raise ConnectionAbortedError

    async with running(process_response=process_response) as server:
        entering = asyncio.create_task(setting.client(url=server.url).__aenter__())
        told = await setting.events.next(Disconnected)
        assert told.reason == "the server spoke before it was asked"
        entering.cancel()
        await asyncio.wait([entering])


async def test_who_asks_is_in_the_upgrade(setting: Setting) -> None:
    """RFC 9110 section 10.1.5: a balancer's log tells this SDK and its version."""
    async with setting.live() as (_, peer):
        assert peer.ws.request is not None
        assert peer.ws.request.headers["User-Agent"] == CLIENT


async def test_signals_to_a_server_that_does_not_read_are_not_collected(setting: Setting) -> None:
    """They are worth nothing later; a program that sent them steadily grew without a bound."""
    async with setting.live() as (client, peer):
        peer.ws.transport.pause_reading()
        bob, sent = client.conversation("bob"), 0
        while bob.signal("typing", b"x" * 4096):
            sent += 1
            assert sent < 10_000, "40 MB are more than the kernel takes"
            await asyncio.sleep(0)
        assert not bob.signal("typing")
        peer.ws.transport.resume_reading()

        async def reading() -> None:
            while True:
                await peer.next()

        reader = asyncio.create_task(reading())
        await until(lambda: bob.signal("typing"))
        reader.cancel()
