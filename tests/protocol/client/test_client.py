"""Making and closing a client, against a scripted server."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from homeport import (
    Client,
    ClientClosed,
    Connected,
    CursorFile,
    Disconnected,
    Event,
    Message,
    frames,
)
from homeport.client.backoff import Backoff
from homeport.client.connection import CLOSE_TIMEOUT_S
from homeport.limits import PATH

from tests.protocol.client.conftest import Setting
from tests.protocol.client.server import SEQ, Server, running


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
        peer.ws.transport.pause_reading()
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        async with asyncio.timeout(CLOSE_TIMEOUT_S / 2):  # less than the handshake may take
            await peer.hung_up()
    peer.ws.transport.resume_reading()
    await peer.ws.wait_closed()


@pytest.mark.parametrize(
    ("url", "options", "says"),
    [
        ("https://example.org", {"token": "t"}, "wss://"),
        ("wss://example.org/v1?token=t", {"token": "t"}, "query"),
        ("wss://me:secret@example.org", {"token": "t"}, "credentials"),
        ("wss://example.org", {}, "token or get_token"),
        ("wss://example.org", {"token": "t", "device": "my laptop"}, "device"),
        ("ws://example.org", {"token": "t", "ssl": ssl.create_default_context()}, "wss://"),
        ("wss://example.org:0", {"token": "t"}, "port"),
        ("wss://example.org:70000", {"token": "t"}, "[Pp]ort"),
        ("wss://example.org", {"token": "t\udce9"}, "token"),
    ],
)
async def test_wrong_arguments(url: str, options: dict[str, Any], says: str) -> None:
    """Said at once, and by what to change."""
    with pytest.raises(ValueError, match=says):
        Client(url, **{"device": "d"} | options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"token": b"t"}, "token must be str"),
        ({"get_token": "t"}, "get_token must be a function"),
        ({"on_event": 5}, "on_event must be a function"),
        ({"on_event": []}, "on_event must be a function"),
        ({"device": 5}, "device must be str"),
        ({"platform": 5}, "platform must be str"),
        ({"cursor": "laptop.cursor"}, "cursor must be Cursor or CursorFile or None"),
        ({"ssl": "ca.pem"}, "ssl must be SSLContext or None"),
        ({"proxy": False}, "proxy must be"),
        ({"proxy": b"http://proxy"}, "proxy must be"),
        ({"url": b"wss://example.org"}, "url must be str"),
    ],
)
async def test_arguments_of_a_wrong_type(options: dict[str, Any], says: str) -> None:
    """A handler that can't be called, or a path where a `CursorFile` belongs, is found at once."""
    given = {"url": "wss://example.org", "device": "d"} | options
    if "get_token" not in options:
        given = {"token": "t"} | given
    with pytest.raises(TypeError, match=says):
        Client(**given)


def own_task() -> asyncio.Task[Any]:
    """The client's own task, as a program finds it that goes through all there are."""
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "homeport-client"]
    return task


async def test_however_its_task_ends_whoever_waits_is_told(setting: Setting) -> None:
    """A program that cancels all tasks that it finds, as some do at the end, also meets the
    client's. It ended without a word: readers and senders waited for ever."""
    async with setting.live() as (client, peer):
        room_entry = asyncio.create_task(client.room("lobby").__aenter__())
        waiting = [
            room_entry,
            asyncio.create_task(client.send("bob", "hi", timeout=None)),
            asyncio.create_task(client.presence(["bob"], timeout=None)),
            asyncio.create_task(_next(client)),
        ]
        await peer.expect(frames.RoomJoin)
        own_task().cancel()
        told = await setting.events.next(Disconnected)
        assert (told.will_reconnect, told.reason) == (False, "the client's own task was cancelled")
        for task in waiting:
            with pytest.raises(ClientClosed, match="was cancelled"):
                await task
        with pytest.raises(ClientClosed, match="was cancelled"):
            await client.unread()
        await peer.ws.wait_closed()


async def test_a_task_cancelled_while_entering_is_told(setting: Setting) -> None:
    """`async with` raises a typed error, and not a `CancelledError` that nobody sent it."""
    client = setting.client()
    entering = asyncio.create_task(client.__aenter__())
    await (await setting.server.peer()).expect(frames.Connect)
    own_task().cancel()
    with pytest.raises(ClientClosed, match="was cancelled"):
        await entering


async def test_a_fault_of_the_sdk_is_told(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody thought of ends the client by a typed error, and its traceback is logged."""

    async def sleep(delay: float) -> None:
        raise ZeroDivisionError

    async with setting.live(backoff=Backoff(sleep)) as (client, peer):
        reading = asyncio.create_task(_next(client))
        peer.cut()
        with pytest.raises(ClientClosed, match="ZeroDivisionError") as caught:
            await reading
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        while (told := await setting.events.next(Disconnected)).will_reconnect:
            pass
        assert "ZeroDivisionError" in told.reason
    assert "Traceback" in caplog.text


async def test_after_the_close_nothing_is_taken(setting: Setting) -> None:
    """An acknowledgement or a mark that can't be kept any more must not look like one that is."""
    async with setting.live(auto_ack=False) as (client, peer):
        await peer.push(1)
        message = await anext(client.messages())
    with pytest.raises(ClientClosed):
        client.ack(message)
    with pytest.raises(ClientClosed):
        client.mark_read(message)
    with pytest.raises(ClientClosed):
        await client.send("bob", "hi")
    assert not client.conversation("bob").signal("typing")
    with pytest.raises(StopAsyncIteration):
        await anext(client.messages())
    with pytest.raises(RuntimeError, match="used once"):
        await client.__aenter__()
    await client.close()


@pytest.mark.parametrize("with_file", [False, True])
def test_a_client_is_made_where_no_event_loop_runs(tmp_path: Path, with_file: bool) -> None:
    """A client at the level of a module, as many programs have one, raised "no running event loop"
    when its module was imported. It is used in the loop in which it is entered, with all parts."""
    told: list[Event] = []
    cursor = CursorFile(tmp_path / "cursor") if with_file else None
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"ws://127.0.0.1:{listening.getsockname()[1]}"
        client = Client(url, device="d", token="t", cursor=cursor, on_event=told.append)
        room = client.room("lobby")

        async def main() -> None:
            async with running(listening=listening) as server:
                answering = asyncio.create_task(serve(server))
                async with client:
                    assert (await client.presence(["bob"]))["bob"].state == "away"
                    async with room:
                        message = await anext(client.messages())
                        client.ack(message)
                        client.mark_read(message)
                await answering

        async def serve(server: Server) -> None:
            peer = await server.peer()
            await peer.accept()
            asked = await peer.expect(frames.PresenceGet)
            state = frames.UserPresence("bob", "away", "", 0)
            await peer.done(asked, frames.PresenceList((state,)))
            await peer.done(await peer.expect(frames.RoomJoin), frames.RoomJoined("r1", 0, 1))
            await peer.push(1)
            await peer.done(await peer.expect(frames.RoomLeave))
            assert (await peer.mark()).read == SEQ + 1

        asyncio.run(main())
    assert [type(event) for event in told] == [Connected]
    assert not with_file or (tmp_path / "cursor").exists()


MESSAGE = Message("6d" * 16, "bob", "alice", "bob", 7, 1, "text", b"", False)
USES: dict[str, Callable[[Client], Any]] = {
    "send": lambda client: client.send("bob", "hi"),
    "room": lambda client: client.room("lobby").__aenter__(),
    "unread": lambda client: client.unread(),
    "watch": lambda client: client.watch_presence(["bob"]),
    "history": lambda client: anext(client.conversation("bob").history()),
    "conversations": lambda client: anext(client.conversations()),
    "messages": lambda client: anext(client.messages()),
    "ack": lambda client: client.ack(MESSAGE),
    "mark_read": lambda client: client.mark_read(MESSAGE),
    "signal": lambda client: client.conversation("bob").signal("typing"),
}


@pytest.mark.parametrize("use", USES)
async def test_a_client_that_was_not_entered_says_so(setting: Setting, use: str) -> None:
    """Some uses waited for a connection that nobody made, or were taken and lost."""
    client = setting.client()
    with pytest.raises(RuntimeError, match="async with Client"):
        result = USES[use](client)
        await result
    await client.close()  # has nothing to do
    assert client.cursor is None


async def test_from_another_thread_or_loop_it_says_so(setting: Setting) -> None:
    """A frame written from a second thread would tear what the loop writes; nothing came back."""
    async with setting.live() as (client, peer):
        await peer.push(1)
        message = await anext(client.messages())

        def elsewhere(call: Callable[[], Any]) -> None:
            async def run() -> None:
                result = call()
                if asyncio.iscoroutine(result):
                    await result

            with pytest.raises(RuntimeError, match="another thread or event loop"):
                asyncio.run(run())

        calls: list[Callable[[], Any]] = [
            lambda: client.send("bob", "hi"),
            lambda: client.messages().__anext__(),
            lambda: client.ack(message),
            lambda: client.mark_read(message),
            lambda: client.conversation("bob").signal("typing"),
            client.close,
        ]
        for call in calls:
            await asyncio.to_thread(elsewhere, call)
        with pytest.raises(RuntimeError, match="another thread or event loop"):
            await asyncio.to_thread(client.conversation("bob").signal, "typing")


async def _next(client: Client) -> Message:
    return await anext(client.messages())


async def test_the_path_is_added(setting: Setting) -> None:
    """HP-2.1-1: a URL without a path means /v1."""
    async with setting.live(url=setting.server.url.removesuffix(PATH)):
        assert setting.server.paths == [PATH]


async def test_a_scheme_in_capitals(setting: Setting) -> None:
    """A scheme is the same in any case (RFC 3986 section 3.1)."""
    async with setting.live(url=setting.server.url.replace("ws:", "WS:")):
        pass
