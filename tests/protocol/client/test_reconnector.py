"""Losing connections and coming back, against a scripted server."""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus
from typing import Any

import pytest
import uvloop
from homeport import (
    Client,
    ClientClosed,
    Connected,
    ConnectFailed,
    Cursor,
    Disconnected,
    TokenRefused,
    WrongRegion,
    frames,
)
from homeport.limits import PATH
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from tests.protocol.client.conftest import Setting
from tests.protocol.client.server import EPOCH, Peer, answer, push, running


async def test_what_connect_says(setting: Setting) -> None:
    """HP-2.2-1, HP-5.1-1: the token is in the frame, and nowhere in the upgrade."""
    answering = asyncio.create_task(setting.server.peer())
    entering = asyncio.create_task(setting.client(cursor=Cursor(EPOCH, 5, 3)).__aenter__())
    peer = await answering
    connect = await peer.accept()
    client = await entering
    await client.close()
    assert (connect.device, connect.token) == ("laptop", "token-1")
    assert connect.cursor == Cursor(EPOCH, 5, 3)
    assert connect.client.startswith("homeport-python/")
    request = peer.ws.request
    assert request is not None
    assert request.path == PATH
    assert "token-1" not in str(request.headers)
    assert "Sec-WebSocket-Extensions" not in request.headers


async def test_connected_is_told(setting: Setting) -> None:
    """With what the server said about the session."""
    async with setting.live():
        told = await setting.events.next(Connected)
        assert (told.region, told.user, told.session) == ("eu", "alice", "s1")
        assert (told.resumed, told.expires, told.limits.window) == (False, 4_000_000_000, 256)


async def test_nothing_is_sent_before_the_answer(setting: Setting) -> None:
    """HP-5.1-1: after connect the client is silent until connected, whatever waits."""
    async with setting.live() as (client, peer):
        peer.cut()
        await setting.events.next(Disconnected)
        sending = asyncio.create_task(client.send("bob", "hi"))
        peer = await setting.server.peer()
        connect = await peer.expect(frames.Connect)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await peer.next()
        assert connect.id
        sending.cancel()


@pytest.mark.parametrize("code", [4000, 4003, 4006, 4007, 1001, 1011])
async def test_closes_that_ask_to_come_back(setting: Setting, code: int) -> None:
    """HP-8.2-1, HP-8.2-3: with the cursor of what was acknowledged."""
    async with setting.live() as (client, peer):
        await peer.ws.close(code)
        told = await setting.events.next(Disconnected)
        assert (told.code, told.will_reconnect, told.retry_in) == (code, True, 0.2)
        connect = await (await setting.server.peer()).accept()
        assert connect.cursor == client.cursor


@pytest.mark.parametrize("code", [4500, 4502, 4503, 4504, 4505, 4507, 4999, 1008])
async def test_closes_that_ask_to_stay_away(setting: Setting, code: int) -> None:
    """HP-8.2-2: no further connection is made, and the reader learns the code."""
    async with setting.live() as (client, peer):
        await peer.ws.close(code)
        with pytest.raises(ClientClosed) as caught:
            await anext(client.messages())
        assert caught.value.code == code
    assert setting.delays == []
    assert setting.server.peers.empty()


async def test_the_wait_grows_while_connecting_fails(setting: Setting) -> None:
    """HP-8.3-1, HP-8.3-5: half of 0.4, 0.8, 1.6 … for refused connects; a connection cut at once
    counts."""
    async with setting.live() as (_, peer):
        for _ in range(3):
            peer.cut()
            peer = await setting.server.peer()
            await peer.refuse(140, 4001)
            peer = await setting.server.peer()
            await peer.accept()
    assert setting.delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4]


async def test_a_connection_that_lasted_starts_the_wait_anew(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-8.3-5: one hiccup a day must not cost twenty seconds."""
    monkeypatch.setattr("homeport.client.reconnector.CAP_S", 0.0)
    async with setting.live() as (_, peer):
        for _ in range(3):
            peer.cut()
            peer = await setting.server.peer()
            await peer.accept()
    assert setting.delays == [0.2, 0.2, 0.2]


async def test_retry_after_is_obeyed(setting: Setting) -> None:
    """HP-8.3-2: the server's seconds and the jitter."""
    entering = asyncio.create_task(setting.client().__aenter__())
    await (await setting.server.peer()).refuse(140, 4001, retry_after=7.0)
    await (await setting.server.peer()).accept()
    client = await entering
    assert setting.delays == [7.2]
    await client.close()


async def test_goaway_is_obeyed(setting: Setting) -> None:
    """HP-5.5-2, HP-8.3-2: counted from the goaway."""
    async with setting.live() as (_, peer):
        await peer.send(frames.Goaway(60.0))
        await peer.ws.close(4000)
        await (await setting.server.peer()).accept()
        assert len(setting.delays) == 1
        assert 50.0 < setting.delays[0] <= 60.2


async def test_silence_is_a_lost_connection(setting: Setting) -> None:
    """Section 5.3 of SPEC.md: nothing for two and a half heartbeats; a ping would have kept it."""
    async with setting.live({"heartbeat": 0.02}):
        told = await setting.events.next(Disconnected)
        assert told.reason == "nothing was heard for 0.05 seconds"
        await (await setting.server.peer()).accept()


async def test_pings_are_answered_and_keep_the_connection(setting: Setting) -> None:
    """HP-5.3-2: over more time than silence may last."""
    async with setting.live({"heartbeat": 0.2}) as (_, peer):
        for _ in range(7):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await peer.next()
            await peer.send(frames.Ping())
            await peer.expect(frames.Pong)
    assert setting.delays == []


async def test_a_client_that_hears_nothing_asks_before_it_gives_up(setting: Setting) -> None:
    """HP-5.3-2: a server pings only a silent client, so one that just sends acks hears nothing."""
    async with setting.live({"heartbeat": 0.2}) as (_, peer):
        for _ in range(3):
            await peer.expect(frames.Ping)
            await peer.send(frames.Pong())
    assert setting.delays == []


async def test_a_server_that_closes_and_keeps_the_socket(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 6455 section 7.1.1: the server should close TCP first; the client waits a while only."""
    monkeypatch.setattr("homeport.client.connection.CLOSE_TIMEOUT_S", 0.02)
    async with setting.live() as (_, peer):
        peer.ws.transport.pause_reading()
        peer.ws.transport.write(b"\x88\x02" + (4003).to_bytes(2, "big"))
        async with asyncio.timeout(5):
            assert (await setting.events.next(Disconnected)).code == 4003
        await (await setting.server.peer()).accept()
        peer.ws.transport.resume_reading()


async def test_a_redirect_is_not_followed(setting: Setting) -> None:
    """The token is for the URL the caller gave, and for no other."""

    def process_request(connection: ServerConnection, request: Request) -> Response:
        response = connection.respond(HTTPStatus.TEMPORARY_REDIRECT, "")
        response.headers["Location"] = setting.server.url
        return response

    async with running(process_request=process_request) as server:
        with pytest.raises(ConnectFailed, match="307"):
            await setting.client(url=server.url).__aenter__()
    assert setting.server.peers.empty()


async def test_the_wrong_region_is_not_followed(setting: Setting) -> None:
    """G6: entering raises, with the region and the URL."""
    details = {"region": "sg", "url": "wss://sg.example"}
    refusing = asyncio.create_task(_refuse_next(setting, 121, 4506, details=details))
    with pytest.raises(WrongRegion) as caught:
        await setting.client().__aenter__()
    await refusing
    assert (caught.value.region, caught.value.url) == ("sg", "wss://sg.example")
    assert not (await setting.events.next(Disconnected)).will_reconnect


async def test_a_refused_token_without_get_token_ends(setting: Setting) -> None:
    """G8: entering raises what is wrong with the token."""
    refusing = asyncio.create_task(_refuse_next(setting, 114, 4501))
    with pytest.raises(TokenRefused, match="token_signature") as caught:
        await setting.client().__aenter__()
    await refusing
    assert caught.value.error == "token_signature"
    assert "token-1" not in str(caught.value)


async def test_a_server_that_keeps_a_refused_connection_open(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid connect is answered and kept (HP-4.2-2); the client does not wait for ever."""
    monkeypatch.setattr("homeport.client.reconnector.CLOSE_TIMEOUT_S", 0.02)
    entering = asyncio.create_task(setting.client().__aenter__())
    peer = await setting.server.peer()
    connect = await peer.expect(frames.Connect)
    await peer.send(frames.Error(connect.id, 101, "no"))
    with pytest.raises(ClientClosed, match="invalid_field"):
        async with asyncio.timeout(5):  # less than opening may take
            await entering


@pytest.mark.parametrize(
    "frame",
    [
        frames.Ok(9),
        frames.Ping(),
        frames.Connected(
            9, "", "", "", 1.0, 0, Cursor("", 0, 0), False, None, frames.Limits(1, 1, 1)
        ),
    ],
)
async def test_a_server_that_does_not_answer_connect(setting: Setting, frame: Any) -> None:
    """HP-5.2-1: another first frame is a fault; the client tries again."""
    entering = asyncio.create_task(setting.client().__aenter__())
    peer = await setting.server.peer()
    connect = await peer.expect(frames.Connect)
    peer.send_together(frame, answer(connect))  # the good one must be ignored
    told = await setting.events.next(object)
    assert isinstance(told, Disconnected)
    assert told.will_reconnect
    await (await setting.server.peer()).accept()
    await (await entering).close()


async def test_a_port_nobody_listens_on_is_tried_again(setting: Setting) -> None:
    """Until the caller gives up; giving up leaves nothing behind."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3), setting.client(url=f"ws://127.0.0.1:{port}"):
            pytest.fail("nobody listens there")
    told = await setting.events.next(Disconnected)
    assert (told.code, told.will_reconnect) == (None, True)
    assert len(setting.delays) > 1


def _answer(status: HTTPStatus) -> Any:
    def process_request(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(status, "")

    return process_request


async def test_a_wrong_url_ends_at_once(setting: Setting) -> None:
    """HP-2.1-1, HP-2.1-3: before the first connection, 403 and 404 are for a person."""
    for status in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN, HTTPStatus.FOUND):
        async with running(process_request=_answer(status)) as server:
            with pytest.raises(ConnectFailed, match=f"{status.value}"):
                await setting.client(url=server.url).__aenter__()
            assert setting.delays == []


async def test_a_404_between_two_connections_passes(setting: Setting) -> None:
    """After the first connection the URL is known to be right: a deployment is under way."""
    statuses = [None, HTTPStatus.NOT_FOUND, None]

    def process_request(connection: ServerConnection, request: Request) -> Response | None:
        status = statuses.pop(0)
        return None if status is None else connection.respond(status, "")

    async with (
        running(process_request=process_request) as setting.server,
        setting.live() as (_, peer),
    ):
        peer.cut()
        await (await setting.server.peer()).accept()
        assert (await setting.events.next(Disconnected)).code == 1006
        assert "404" in (await setting.events.next(Disconnected)).reason


async def test_an_overloaded_balancer_is_tried_again(setting: Setting) -> None:
    """HTTP 503 passes."""
    async with running(process_request=_answer(HTTPStatus.SERVICE_UNAVAILABLE)) as server:
        entering = asyncio.create_task(setting.client(url=server.url).__aenter__())
        assert "503" in (await setting.events.next(Disconnected)).reason
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering


@pytest.mark.parametrize(
    ("status", "said", "wait"),
    [
        (429, ["7"], 7.2),
        (503, ["7"], 7.2),
        (500, ["7"], 0.2),  # nothing about when
        (429, [], 0.2),
        (429, ["soon"], 0.2),
        (429, ["-7"], 0.2),
        (429, ["7", "9"], 0.2),
        (429, ["Wed, 21 Oct 2026 07:28:00 GMT"], 0.2),
    ],
)
async def test_retry_after_of_an_upgrade_is_obeyed(
    setting: Setting, status: int, said: list[str], wait: float
) -> None:
    """HP-2.1-7: the seconds and the jitter, also before the first connection."""
    left = [status]

    def process_request(connection: ServerConnection, request: Request) -> Response | None:
        if not left:
            return None
        response = connection.respond(HTTPStatus(left.pop()), "")
        for value in said:
            response.headers["Retry-After"] = value
        return response

    async with running(process_request=process_request) as setting.server, setting.live():
        assert setting.delays == [wait]


@pytest.mark.parametrize("code", [134, 137])
async def test_a_limit_of_connections_is_waited_for(setting: Setting, code: int) -> None:
    """HP-17.3-1, HP-17.3-2, HP-8.3-2: after `retry_after`, with the same token."""
    entering = asyncio.create_task(setting.client().__aenter__())
    first = await (await setting.server.peer()).refuse(code, 4007, retry_after=7.0)
    again = await (await setting.server.peer()).accept()
    assert (first.token, again.token) == ("token-1", "token-1")
    client = await entering
    assert setting.delays == [7.2]
    await client.close()


async def test_another_websocket_server_is_not_used(setting: Setting) -> None:
    """HP-2.2-4: it selects no subprotocol, so no token is given to it."""
    async with running(subprotocols=None) as server:
        with pytest.raises(ConnectFailed, match=r"homeport\.v1\.msgpack"):
            await setting.client(url=server.url).__aenter__()
        assert await (await server.peer()).closed() != 1000


def test_a_write_planned_in_the_turn_of_a_cut_is_dropped() -> None:
    """On uvloop, whose transports raise where asyncio's keep quiet, nothing is reported. The client
    answers a ping, and a reader sends, while the garbage behind both makes it drop the connection.
    """
    reported: list[dict[str, Any]] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: reported.append(what))
        async with running() as server:
            setting = Setting(server)

            async def serve_again() -> None:
                peer = await server.peer()
                await peer.accept()
                await peer.ok(await peer.expect(frames.Send))

            async def reply(client: Client) -> None:
                await anext(client.messages())
                await client.send("bob", "hi")

            async with setting.live() as (client, peer):
                answering = asyncio.create_task(serve_again())
                replying = asyncio.create_task(reply(client))
                await setting.settled(peer)
                peer.send_together(frames.Ping(), push(1), b"\xc1")
                await replying
                await answering

    uvloop.run(scenario())
    assert reported == []


async def _refuse_next(setting: Setting, code: int, close: int, **fields: Any) -> Peer:
    peer = await setting.server.peer()
    await peer.refuse(code, close, **fields)
    return peer
