"""Tokens that are not signed with HS256: who connects with them, and when they go. Over sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jwt
import pytest
from homeport import codec, codes, frames
from websockets.exceptions import InvalidStatus

from gateway.apps.app import create_app
from gateway.config import Settings
from tests.gateway.replicas import two_workers
from tests.gateway.security.tokening import ED25519, P256, Packing, Private, public_key
from tests.gateway.session.forging import forge
from tests.harness import FakeClock, RawClient, RunningWorker

Make = Callable[[RunningWorker, str], str]


def by_key(key: Private, algorithm: str, **header: str) -> Make:
    """Tokens signed with `key`."""

    def make(running: RunningWorker, user: str) -> str:
        claims = jwt.decode(forge(running, sub=user), options={"verify_signature": False})
        return jwt.encode(claims, key, algorithm, headers=header)

    return make


def packing(running: RunningWorker, user: str) -> Packing:
    assert running.clock is not None
    app = running.app.id.encode()
    return Packing(app=app, user=user.encode(), issued=int(running.clock.now))


def by_007(running: RunningWorker, user: str) -> str:
    return packing(running, user).token(running.app.certificates[0])


FORMS: dict[str, Make] = {
    "ES256": by_key(P256, "ES256"),
    "EdDSA": by_key(ED25519, "EdDSA", kid="2026"),
    "007": by_007,
}


async def with_keys(running: RunningWorker) -> None:
    """Register both keys."""
    async with running.admin() as admin:
        for key in (public_key(P256), public_key(ED25519, "2026")):
            await admin.apps.add_key(running.app.id, key, 0)


async def refused(running: RunningWorker, token: str) -> int:
    """The code with which a connect is refused, and closed with 4501 or 4506."""
    async with RawClient.open(running.url) as client:
        await client.send(frames.Connect(77, "d1", token))
        error = await client.expect(frames.Error)
        assert (error.id, token in error.text) == (77, False)
        elsewhere = error.code == codes.WRONG_REGION.number
        expected = codes.HOME_ELSEWHERE if elsewhere else codes.UNAUTHORIZED
        assert await client.closed() == expected.number
        return error.code


@pytest.mark.parametrize("form", FORMS)
async def test_each_form_connects_and_renews(running: RunningWorker, form: str) -> None:
    """HP-6.1-2, HP-6.5-3: in connect and in the upgrade; and one form renews another."""
    await with_keys(running)
    make, others = FORMS[form], [*FORMS.values(), RunningWorker.token]
    bearer = {"Authorization": f"Bearer {make(running, 'bob')}"}
    async with (
        RawClient.open(running.url) as alice,
        RawClient.open(running.url, additional_headers=bearer) as bob,
    ):
        connected = await alice.connect(make(running, "alice"))
        assert connected.user == "alice"
        assert (await bob.connect(None)).user == "bob"
        for other in others:
            assert running.clock is not None
            running.clock.now += 1
            await alice.send(frames.Renew(8, other(running, "alice")))
            answer = await alice.expect(frames.Ok)
            expires = codec.decode_answer(frames.Renew, answer).expires
            assert expires > connected.expires
            await alice.send(frames.Renew(9, other(running, "bob")))
            assert (await alice.expect(frames.Error)).code == codes.TOKEN_OTHER_USER.number
        assert isinstance(await alice.say("bob", "x"), frames.Ok)
        assert (await bob.until(frames.Push)).message.body == b"x"


async def test_a_key_lets_nobody_in_before_it_is_registered(running: RunningWorker) -> None:
    """HP-6.1-2, G8; and afterwards at once, on a gateway that knew the app."""
    for form in ("ES256", "EdDSA"):
        assert await refused(running, FORMS[form](running, "bob")) == codes.TOKEN_SIGNATURE.number
    await with_keys(running)
    for form in ("ES256", "EdDSA"):
        async with asyncio.timeout(1), RawClient.open(running.url) as client:
            await client.connect(FORMS[form](running, form))


async def test_tokens_of_the_form_007_that_are_not_good(running: RunningWorker) -> None:
    """HP-6.5-1 to HP-6.5-5, HP-5.1-6, HP-5.1-7: each with its code."""
    mine, other = packing(running, "alice"), create_app("o", "eu", "pro", "global", 0)
    key = running.app.certificates[0]
    good = mine.token(key)
    assert await refused(running, good[:-4]) == codes.TOKEN_MALFORMED.number
    assert await refused(running, mine.token("0" * 64)) == codes.TOKEN_SIGNATURE.number
    assert await refused(running, good.ljust(4097, "A")) == codes.TOKEN_TOO_LARGE.number
    refusals: tuple[tuple[dict[str, Any], codes.ErrorCode], ...] = (
        ({"services": 2}, codes.TOKEN_MALFORMED),
        ({"issued": mine.issued + 6}, codes.TOKEN_NOT_YET),
        ({"lifetime": 0}, codes.TOKEN_EXPIRED),
        ({"lifetime": 86_401, "privileges": ((1, 86_401),)}, codes.TOKEN_LIFETIME),
        ({"user": b"", "privileges": ((2, 60),)}, codes.TOKEN_AUDIENCE),
        ({"app": other.id.encode()}, codes.WRONG_REGION),
        ({"app": b"02" + b"ab" * 15}, codes.UNKNOWN_APP),
    )
    for changes, code in refusals:
        bad = replace(mine, **changes)
        assert await refused(running, bad.token(key)) == code.number


async def test_a_token_of_the_app_itself_renews_nothing(running: RunningWorker) -> None:
    """HP-6.5-5: the session goes on with what it has."""
    async with running.client("alice") as client:
        mine = packing(running, "")
        mine.privileges = ((2, 3600),)
        await client.send(frames.Renew(5, mine.token(running.app.certificates[0])))
        assert (await client.expect(frames.Error)).code == codes.TOKEN_AUDIENCE.number
        assert isinstance(await client.say("bob", "x"), frames.Ok)


async def test_a_session_goes_with_the_key_that_let_it_in(
    settings: Settings, clock: FakeClock
) -> None:
    """HP-6.4-4: a key that leaked is removed, and who came with it is out within a second, on each
    gateway; who came with another, or has renewed with one, stays."""
    async with (
        two_workers(settings, clock) as workers,
        contextlib.AsyncExitStack() as stack,
        workers[0].admin() as admin,
    ):
        await with_keys(workers[0])

        async def client(number: int, user: str, make: Make) -> RawClient:
            client = await stack.enter_async_context(RawClient.open(workers[number].url))
            await client.connect(make(workers[number], user))
            return client

        leaked = [await client(n, f"mallory{n}", FORMS["EdDSA"]) for n in (0, 1)]
        kept = [
            await client(n, f"{form}.{n}", FORMS[form]) for n in (0, 1) for form in ("ES256", "007")
        ]
        renewed = await client(1, "alice", FORMS["EdDSA"])
        await renewed.send(frames.Renew(5, FORMS["ES256"](workers[1], "alice")))
        await renewed.expect(frames.Ok)
        await admin.apps.remove_key(workers[0].app.id, "2026", clock.ms)
        async with asyncio.timeout(1):
            for each in leaked:
                assert await each.closed() == codes.REVOKED.number
        for each in (*kept, renewed):
            assert isinstance(await each.say("bob", "x"), frames.Ok)
        for running in workers:
            again = FORMS["EdDSA"](running, "mallory")
            assert await refused(running, again) == codes.TOKEN_SIGNATURE.number


async def test_a_session_by_the_form_007_goes_with_the_certificate(running: RunningWorker) -> None:
    """HP-6.4-4: certificate 007 is part of the certificate."""
    async with running.admin() as admin, RawClient.open(running.url) as client:
        await client.connect(by_007(running, "alice"))
        await admin.apps.rotate_certificate(running.app.id, 0)
        assert isinstance(await client.say("bob", "x"), frames.Ok)
        await admin.apps.rotate_certificate(running.app.id, 0)
        async with asyncio.timeout(1):
            assert await client.closed() == codes.REVOKED.number


async def test_two_authorization_headers_are_one_too_many(running: RunningWorker) -> None:
    """HP-2.1-5: which of two tokens would count, a proxy and the gateway may differ in."""
    headers = [("Authorization", f"Bearer {running.token(user)}") for user in ("alice", "bob")]
    with pytest.raises(InvalidStatus) as caught:
        async with RawClient.open(running.url, additional_headers=headers):
            pass
    assert caught.value.response.status_code == 400
