"""Getting and renewing tokens, against a scripted server."""

from __future__ import annotations

import asyncio
import logging

import pytest

from protocol import frames
from protocol.client import Disconnected, TokenExpiring, TokenRefused
from protocol.frames import Ok, Renew, Result
from tests.protocol.client.conftest import Setting, tokens


async def test_renewal_in_band(setting: Setting) -> None:
    """G8: on expiring, the next token is sent on the same connection, and used from then on."""
    async with setting.live(get_token=tokens("one", "two")) as (_, peer):
        await peer.send(frames.Expiring(1234))
        renew = await peer.expect(Renew)
        assert renew.token == "two"
        await peer.send(Ok(renew.id, Result(expires=5678)))
        assert await setting.events.next(TokenExpiring) == TokenExpiring(1234)
        await setting.settled(peer)
        peer.cut()
        connect = await (await setting.server.peer()).accept()
        assert connect.token == "two"


async def test_a_refused_renewal_keeps_the_session(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    """HP-6.3-5: it is logged without the token, and the old token stays the one to connect with."""
    async with setting.live(get_token=tokens("one", "two", "three")) as (client, peer):
        with caplog.at_level(logging.WARNING, "homeport.client"):
            await peer.send(frames.Expiring(1234))
            renew = await peer.expect(Renew)
            await peer.send(frames.Error(renew.id, 122, "another user"))
            await peer.push(1)
            assert (await anext(client.messages())).seq == 1
        assert "token_other_user" in caplog.text
        assert "two" not in caplog.text
        peer.cut()
        assert (await (await setting.server.peer()).accept()).token == "one"


async def test_a_failing_get_token_keeps_the_session(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    """The app's back end may be away for a moment; the warning comes again, or the end does."""
    left = ["one"]

    async def get_token() -> str:
        if left:
            return left.pop()
        raise OSError("secret detail")

    async with setting.live(get_token=get_token) as (client, peer):
        await peer.send(frames.Expiring(1234))
        await setting.events.next(TokenExpiring)
        await peer.push(1)
        assert (await anext(client.messages())).seq == 1
        assert "get_token raised OSError" in caplog.text
        assert "secret" not in caplog.text
        left.append("two")
        await peer.send(frames.Expiring(1234))
        assert (await peer.expect(Renew)).token == "two"


async def test_expiring_without_get_token_is_only_told(setting: Setting) -> None:
    """G8: with a plain token the end comes, and says what to do."""
    async with setting.live() as (client, peer):
        await peer.send(frames.Expiring(1234))
        assert await setting.events.next(TokenExpiring) == TokenExpiring(1234)
        await peer.ws.close(4004)
        with pytest.raises(TokenRefused, match="get_token") as caught:
            await anext(client.messages())
        assert (caught.value.error, caught.value.code) == (115, 4004)


async def test_an_expired_session_connects_with_a_new_token(setting: Setting) -> None:
    """G8: 4004."""
    async with setting.live(get_token=tokens("one", "two")) as (_, peer):
        await peer.ws.close(4004)
        assert (await (await setting.server.peer()).accept()).token == "two"


async def test_a_token_refused_on_reconnect_is_replaced_once(setting: Setting) -> None:
    """HP-8.2-2: the second refusal, of a token just got, is final."""
    async with setting.live(get_token=tokens("one", "two")) as (client, peer):
        peer.cut()
        first = await (await setting.server.peer()).refuse(115, 4501)
        second = await (await setting.server.peer()).refuse(119, 4501)
        assert (first.token, second.token) == ("one", "two")
        with pytest.raises(TokenRefused, match="token_revoked"):
            await anext(client.messages())


async def test_a_first_get_token_that_fails_is_raised(setting: Setting) -> None:
    """A mistake in it should be seen at once, as it is."""

    async def get_token() -> str:
        raise LookupError("no such user")

    with pytest.raises(LookupError, match="no such user"):
        await setting.client(get_token=get_token).__aenter__()
    assert setting.server.peers.empty()


async def test_a_later_get_token_that_fails_is_tried_again(setting: Setting) -> None:
    """The back end of the app may come back; the reason names the exception's type only."""
    left = ["two", "", "one"]

    async def get_token() -> str:
        if token := left.pop():
            return token
        raise OSError("secret detail")

    async with setting.live(get_token=get_token) as (_, peer):
        await peer.ws.close(4004)
        assert (await (await setting.server.peer()).accept()).token == "two"
        assert (await setting.events.next(Disconnected)).code == 4004
        assert (await setting.events.next(Disconnected)).reason == "get_token raised OSError"


async def test_a_slow_get_token_does_not_outlive_the_connection(setting: Setting) -> None:
    """A token that comes after a cut is not sent on the next connection, which has its own."""
    asked: asyncio.Queue[asyncio.Future[str]] = asyncio.Queue()

    async def get_token() -> str:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asked.put_nowait(future)
        return await future

    entering = asyncio.create_task(setting.client(get_token=get_token).__aenter__())
    (await asked.get()).set_result("one")
    peer = await setting.server.peer()
    await peer.accept()
    client = await entering
    await peer.send(frames.Expiring(1234))
    slow = await asked.get()
    peer.cut()
    peer = await setting.server.peer()
    await peer.accept()
    assert slow.cancelled()
    await client.close()
    assert await peer.closed() == 1000
