"""Getting and renewing tokens, against a scripted server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from homeport import ClientClosed, Disconnected, TokenExpiring, TokenRefused, frames
from homeport.frames import Renew

from tests.harness import until
from tests.protocol.client.conftest import Setting, tokens


async def test_renewal_in_band(setting: Setting) -> None:
    """G8: on expiring, the next token is sent on the same connection, and used from then on."""
    async with setting.live(get_token=tokens("one", "two")) as (_, peer):
        await peer.send(frames.Expiring(1234))
        renew = await peer.expect(Renew)
        assert renew.token == "two"
        await peer.done(renew, frames.Renewed(5678))
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
            await peer.send(frames.Error(renew.id, 123, "older"))
            await peer.push(1)
            assert (await anext(client.messages())).text == "1"
        assert "token_older" in caplog.text
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
        assert (await anext(client.messages())).text == "1"
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
        assert (caught.value.error, caught.value.code) == ("token_expired", 4004)


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


async def _raise_error() -> str:
    raise OSError("secret detail")


async def _raise_cancelled() -> str:
    shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    shared.cancel()
    return await shared


async def _cancel_itself() -> str:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)
    raise AssertionError("it goes on after a cancellation")


async def _raise_base_exception() -> str:
    raise GeneratorExit


async def _return_none() -> Any:
    return None


async def _return_bytes() -> Any:
    return b"token"


async def _return_surrogate() -> str:
    return "caf\udce9"


def _raise_at_once() -> Any:
    raise TypeError


FAILURES = [
    (_raise_error, "get_token raised OSError"),
    (_raise_cancelled, "get_token raised CancelledError"),
    (_cancel_itself, "get_token raised CancelledError"),
    (_raise_base_exception, "get_token raised GeneratorExit"),
    (_return_none, "get_token returned NoneType instead of str"),
    (_return_bytes, "get_token returned bytes instead of str"),
    (_return_surrogate, "get_token returned what is no token: tokens are ASCII"),
    (_raise_at_once, "get_token raised TypeError"),
]


@pytest.mark.parametrize(("fail", "reason"), FAILURES, ids=[fail.__name__ for fail, _ in FAILURES])
@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
async def test_whatever_get_token_does_is_one_failed_attempt(
    setting: Setting, fail: Callable[[], Any], reason: str, first: bool
) -> None:
    """It awaited a refresh that the program shares and somebody else had cancelled: that ended the
    client's task, and nobody who waited was told. It is tried again, like a port that nobody
    listens on; the reason names the exception's type only."""
    answers: list[Any] = [fail, "two"] if first else ["one", fail, "two"]

    def get_token() -> Any:
        answer = answers.pop(0)
        return answer() if callable(answer) else answer

    async with setting.live(get_token=get_token) as (client, peer):
        if not first:
            await peer.ws.close(4004)
            assert (await setting.events.next(Disconnected)).code == 4004
            peer = await setting.server.peer()
            assert (await peer.accept()).token == "two"
        told = await setting.events.next(Disconnected)
        assert (told.reason, told.will_reconnect) == (reason, True)
        await peer.push(1)
        assert (await anext(client.messages())).text == "1"


async def test_a_get_token_that_hangs_is_given_up(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A back end that does not answer is asked again, in another attempt."""
    monkeypatch.setattr("homeport.client.tokens.GET_TOKEN_S", 0.02)
    cancelled = asyncio.Event()
    calls = 0

    async def get_token() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
        return "two"

    async with setting.live(get_token=get_token):
        assert (
            await setting.events.next(Disconnected)
        ).reason == "get_token took over 0.02 seconds"
        await cancelled.wait()


async def test_a_get_token_that_hangs_does_not_hold_the_close(setting: Setting) -> None:
    """Not even one that does not let itself be cancelled."""
    asked, free = asyncio.Event(), asyncio.Event()

    async def get_token() -> str:
        asked.set()
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    client = setting.client(get_token=get_token)
    entering = asyncio.create_task(client.__aenter__())
    await asked.wait()
    async with asyncio.timeout(5):
        await client.close()
        with pytest.raises(ClientClosed):
            await entering
    free.set()


@pytest.mark.parametrize("fail", [_raise_cancelled, _return_none])
async def test_whatever_get_token_does_at_a_renewal_the_session_goes_on(
    setting: Setting, fail: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The renewal is an attempt too; the token's end is the next one."""
    answers: list[Any] = ["one", fail, "two"]

    def get_token() -> Any:
        answer = answers.pop(0)
        return answer() if callable(answer) else answer

    async with setting.live(get_token=get_token) as (client, peer):
        await peer.send(frames.Expiring(1234))
        await peer.push(1)
        assert (await anext(client.messages())).text == "1"
        await until(lambda: "the token was not renewed" in caplog.text)
        await peer.ws.close(4004)
        assert (await (await setting.server.peer()).accept()).token == "two"


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
