"""Sending, against a scripted server."""

from __future__ import annotations

import asyncio

import pytest
from homeport import (
    Client,
    ClientClosed,
    Disconnected,
    RateLimited,
    RequestRefused,
    SendTimeout,
    Sent,
    TooLarge,
    Unavailable,
    frames,
)
from homeport.client.backoff import Backoff
from homeport.frames import Limits, Send

from tests.protocol.client.conftest import Setting
from tests.protocol.client.server import MESSAGE_ID, SEQ


async def test_send_resolves_on_ok(setting: Setting) -> None:
    """G1: only the server's ok makes a send return."""
    async with setting.live() as (client, peer):
        sending = asyncio.create_task(client.send("bob", "héllo", client_id="c1"))
        frame = await peer.expect(Send)
        assert frame == Send(frame.id, "c1", "bob", "text", "héllo".encode())
        assert not sending.done()
        await peer.ok(frame, time=77)
        assert await sending == Sent("bob", SEQ, MESSAGE_ID, 77)


async def test_bytes_are_binary_and_kinds_are_free(setting: Setting) -> None:
    """HP-4.6-3: the kind is the caller's; a client message id is made where none is given."""
    async with setting.live() as (client, peer):
        sends = [client.send("bob", b"\xff"), client.send("bob", "x", kind="markdown")]
        tasks = [asyncio.create_task(send) for send in sends]
        first, second = [await peer.expect(Send) for _ in tasks]
        assert (first.kind, first.body, second.kind) == ("binary", b"\xff", "markdown")
        assert first.client_id != second.client_id
        assert len(first.client_id) == 32
        for frame in (second, first):  # answers may come in any order
            await peer.ok(frame, time=frame.id)
        assert [(await task).time for task in tasks] == [first.id, second.id]


async def test_a_refused_send_tells_why(setting: Setting) -> None:
    """HP-8.1-1: a typed error with the server's fields; the connection stays."""
    async with setting.live() as (client, peer):
        sending = asyncio.create_task(client.send(f"g:{'0f' * 16}", "hi"))
        frame = await peer.expect(Send)
        await peer.send(frames.Error(frame.id, 130, "no such form", None, {"form": "g"}))
        with pytest.raises(RequestRefused, match="unknown_recipient") as caught:
            await sending
        error = caught.value
        assert (error.code, error.text, error.details) == (130, "no such form", {"form": "g"})
        sending = asyncio.create_task(client.send("bob", "hi"))
        await peer.ok(await peer.expect(Send))
        await sending


async def test_unanswered_sends_are_repeated_after_a_cut(setting: Setting) -> None:
    """G2, HP-3.3-2, HP-8.3-3: after connected, in their order, with the same client message ids."""
    async with setting.live() as (client, peer):
        tasks = [asyncio.create_task(client.send("bob", str(n))) for n in range(3)]
        before = [await peer.expect(Send) for _ in tasks]
        await peer.ok(before[1])
        await tasks[1]
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept()
        after = [await peer.expect(Send) for _ in range(2)]
        assert after == [before[0], before[2]]
        for frame in after:
            await peer.ok(frame)
        await asyncio.gather(*tasks)


async def test_a_send_made_while_disconnected_waits(setting: Setting) -> None:
    """The caller needs no loop of its own around a reconnect."""
    async with setting.live() as (client, peer):
        peer.cut()
        await setting.events.next(Disconnected)
        sending = asyncio.create_task(client.send("bob", "hi"))
        peer = await setting.server.peer()
        await peer.accept()
        await peer.ok(await peer.expect(Send))
        await sending


async def test_unavailable_is_repeated(setting: Setting) -> None:
    """HP-8.1-2: not before `retry_after`, with the same client message id."""
    loop = asyncio.get_running_loop()
    async with setting.live(backoff=Backoff(random=lambda: 0.0)) as (client, peer):
        sending = asyncio.create_task(client.send("bob", "hi"))
        frame = await peer.expect(Send)
        refused = loop.time()
        await peer.send(frames.Error(frame.id, 140, "away", 0.05))
        assert await peer.expect(Send) == frame
        assert loop.time() - refused >= 0.05
        await peer.ok(frame)
        await sending


async def test_no_answer_in_time(setting: Setting) -> None:
    """The outcome is unknown, and the error names the client message id to make sure with."""
    async with setting.live() as (client, peer):
        with pytest.raises(SendTimeout, match="may or may not") as caught:
            await client.send("bob", "hi", client_id="c1", timeout=0.01)
        assert caught.value.client_id == "c1"
        await peer.ok(await peer.expect(Send))  # too late: dropped, and harms nothing
        sending = asyncio.create_task(client.send("bob", "hi"))
        await peer.ok(await peer.expect(Send))
        await sending


async def test_a_timeout_tells_the_last_refusal(setting: Setting) -> None:
    """So a person sees that the store was away, and not only that time ran out."""
    async with setting.live() as (client, peer):
        sending = asyncio.create_task(client.send("bob", "hi", timeout=0.1))
        frame = await peer.expect(Send)
        await peer.send(frames.Error(frame.id, 140, "away", 60.0))
        with pytest.raises(SendTimeout) as caught:
            await sending
        assert isinstance(caught.value.__cause__, Unavailable)


async def test_a_rate_limit_at_the_end_is_told_as_one(setting: Setting) -> None:
    """HP-17.1-1: "the outcome is unknown" was said of a message that was certainly not stored."""
    async with setting.live() as (client, peer):
        sending = asyncio.create_task(client.send("bob", "hi", timeout=0.1))
        frame = await peer.expect(Send)
        await peer.send(frames.Error(frame.id, 134, "slow", 60.0, {"limit": "user"}))
        with pytest.raises(RateLimited) as caught:
            await sending
        assert (caught.value.retry_after, caught.value.details) == (60.0, {"limit": "user"})


async def test_no_repetition_after_the_dedupe_window(setting: Setting) -> None:
    """G2: the window is the one told in connected; without a timeout the send ends there too."""
    async with setting.live() as (client, peer):
        sending = asyncio.create_task(client.send("bob", "hi", timeout=None))
        await peer.expect(Send)
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept(limits=Limits(8192, 256, 0))
        with pytest.raises(SendTimeout):
            await sending
        sending = asyncio.create_task(client.send("bob", "next"))
        assert (await peer.expect(Send)).body == b"next"
        sending.cancel()


async def test_a_cancelled_send_is_forgotten(setting: Setting) -> None:
    """It is not repeated after a reconnect, and its late answer harms nothing."""
    async with setting.live() as (client, peer):
        sending = asyncio.create_task(client.send("bob", "first"))
        frame = await peer.expect(Send)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await peer.ok(frame)
        peer.cut()
        peer = await setting.server.peer()
        await peer.accept()
        sending = asyncio.create_task(client.send("bob", "second"))
        second = await peer.expect(Send)
        assert second.body == b"second"
        await peer.ok(second)
        await sending


async def test_a_body_over_any_limit_does_not_end_the_connection(setting: Setting) -> None:
    """HP-2.3-3: the server would close with 1009; the SDK refuses the send itself."""
    async with setting.live() as (client, peer):
        with pytest.raises(TooLarge):
            await client.send("bob", bytes(80_000))
        sending = asyncio.create_task(client.send("bob", "small"))
        await peer.ok(await peer.expect(Send))
        await sending


async def test_sends_end_with_the_client(setting: Setting) -> None:
    """Closed by the caller: those that wait, and later ones, say so."""
    async with setting.live() as (client, peer):
        sending = asyncio.create_task(client.send("bob", "hi"))
        await peer.expect(Send)
    for closed in (sending, client.send("bob", "hi")):
        with pytest.raises(ClientClosed, match="was closed"):
            await closed


async def test_sends_end_with_the_reason_of_the_server(setting: Setting) -> None:
    """HP-8.2-2: a kick reaches the sends that wait."""
    async with setting.live() as (client, peer):
        sending = asyncio.create_task(client.send("bob", "hi"))
        await peer.expect(Send)
        await peer.ws.close(4504, "kicked")
        with pytest.raises(ClientClosed, match="kicked") as caught:
            await sending
        assert caught.value.code == 4504


async def test_a_burst_leaves_in_one_write(setting: Setting) -> None:
    """Sends of one turn of the loop cost one system call, and keep their order."""
    async with setting.live() as (client, peer):
        tasks = [asyncio.create_task(client.send("bob", str(n))) for n in range(500)]
        for n in range(500):
            frame = await peer.expect(Send)
            assert frame.body == str(n).encode()
            await peer.ok(frame)
        await asyncio.gather(*tasks)


async def test_a_client_is_used_as_a_context(setting: Setting) -> None:
    """Sending before entering is a mistake that says so, rather than a send that waits for ever."""
    client: Client = setting.client()
    with pytest.raises(RuntimeError, match="async with"):
        await client.send("bob", "hi")
