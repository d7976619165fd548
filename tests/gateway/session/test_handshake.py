"""Connecting: who is let in, who is not, and what each is told. Over real sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from homeport import codes, frames
from homeport.limits import DEDUPE_WINDOW_MS, WINDOW

from gateway.apps.app import create_app
from gateway.config import Settings
from gateway.dev.embedded import EmbeddedValkey
from tests.gateway.session.forging import forge
from tests.harness import FakeClock, RawClient, RunningWorker, make_settings, running_worker

REFUSED: dict[str, tuple[Callable[[RunningWorker], str], codes.ErrorCode]] = {
    "no JWT": (lambda r: "this is not a token", codes.TOKEN_MALFORMED),
    "empty": (lambda r: "", codes.TOKEN_MALFORMED),
    "claims are no JSON": (lambda r: "e30.!!!!.x", codes.TOKEN_MALFORMED),
    "no sub": (lambda r: forge(r, sub=None), codes.TOKEN_MALFORMED),
    "sub of a wrong form": (lambda r: forge(r, sub="a b"), codes.TOKEN_MALFORMED),
    "no exp": (lambda r: forge(r, exp=None), codes.TOKEN_MALFORMED),
    "no iat": (lambda r: forge(r, iat=None), codes.TOKEN_MALFORMED),
    "other key": (lambda r: forge(r, key="0" * 64), codes.TOKEN_SIGNATURE),
    "alg none": (lambda r: forge(r, key=None, algorithm="none"), codes.TOKEN_ALGORITHM),
    "alg HS512": (lambda r: forge(r, algorithm="HS512"), codes.TOKEN_ALGORITHM),
    "4,097 characters": (lambda r: forge(r).ljust(4097, "x"), codes.TOKEN_TOO_LARGE),
    "ends now": (lambda r: forge(r, iat=-10, exp=0), codes.TOKEN_EXPIRED),
    "6 s ahead": (lambda r: forge(r, iat=6), codes.TOKEN_NOT_YET),
    "a second too long": (lambda r: forge(r, exp=86_401), codes.TOKEN_LIFETIME),
    "other audience": (lambda r: forge(r, aud="homeport:eu"), codes.TOKEN_AUDIENCE),
    "no such app": (lambda r: forge(r, iss="02" + "ab" * 15), codes.UNKNOWN_APP),
    "no such region": (lambda r: forge(r, iss="ff" + "ab" * 15), codes.UNKNOWN_APP),
}


@contextlib.asynccontextmanager
async def opened(running: RunningWorker, bearer: str | None = None) -> AsyncIterator[RawClient]:
    """A client that has not sent connect; `bearer` goes into the upgrade."""
    headers = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
    async with RawClient.open(running.url, additional_headers=headers) as client:
        yield client


async def refused(client: RawClient, token: str | None) -> frames.Error:
    """The error that answers a connect."""
    await client.send(frames.Connect(77, "d1", token))
    error = await client.expect(frames.Error)
    assert error.id == 77
    return error


@pytest.mark.parametrize("way", ["connect", "Authorization"])
@pytest.mark.parametrize("name", REFUSED)
async def test_a_token_that_is_not_good_lets_nobody_in(
    running: RunningWorker, name: str, way: str
) -> None:
    """HP-5.1-6, G8, HP-6.1-1 to HP-6.1-3, HP-6.2-1 to HP-6.2-5; HP-4.2-4: and is not repeated."""
    make, code = REFUSED[name]
    token = make(running)
    async with opened(running, token if way == "Authorization" else None) as client:
        error = await refused(client, token if way == "connect" else None)
        assert error.code == code.number
        assert token == "" or token not in error.text
        assert "mallory" not in error.text
        assert await client.closed() == codes.UNAUTHORIZED.number


@pytest.mark.parametrize("claims", [{"exp": 1, "iat": -10}, {"iat": 5}, {"exp": 86_400}])
async def test_a_token_at_the_edge_is_good(running: RunningWorker, claims: dict[str, Any]) -> None:
    """HP-6.2-3 to HP-6.2-5: a second before its end, 5 s ahead, a whole day."""
    async with opened(running) as client:
        await client.connect(forge(running, **claims))


async def test_without_a_token_nobody_gets_in(running: RunningWorker) -> None:
    """HP-5.1-5 and HP-5.1-6."""
    async with opened(running) as client:
        assert (await refused(client, None)).code == codes.TOKEN_MISSING.number
        assert await client.closed() == codes.UNAUTHORIZED.number


async def test_another_scheme_of_authorization_is_no_token(running: RunningWorker) -> None:
    """HP-2.1-5 names Bearer only."""
    headers = {"Authorization": f"Basic {running.token('alice')}"}
    async with RawClient.open(running.url, additional_headers=headers) as client:
        assert (await refused(client, None)).code == codes.TOKEN_MISSING.number


async def test_the_upgrade_may_carry_the_token(running: RunningWorker) -> None:
    """HP-2.1-5."""
    async with opened(running, running.token("alice")) as client:
        assert (await client.connect(None)).user == "alice"


async def test_the_token_of_connect_wins(running: RunningWorker) -> None:
    """HP-5.1-4: for better and for worse."""
    good, bad = running.token("alice"), forge(running, key="0" * 64)
    async with opened(running, bad) as client:
        assert (await client.connect(good)).user == "alice"
    async with opened(running, good) as client:
        assert (await refused(client, bad)).code == codes.TOKEN_SIGNATURE.number
        assert await client.closed() == codes.UNAUTHORIZED.number


async def test_an_app_is_sent_home(redis_url: str, tmp_path: Path, clock: FakeClock) -> None:
    """HP-5.1-7 and G6: with the region, and with its URL where the operator knows it."""
    url = "wss://eu.example.com/v1"
    settings = make_settings(redis_url, tmp_path, directory={"eu": url})
    async with running_worker(settings, clock=clock) as running:
        for region, details in (("eu", {"region": "eu", "url": url}), ("na", {"region": "na"})):
            other = create_app("other", region, "pro", "global", clock.ms)
            async with opened(running) as client:
                error = await refused(client, running.token("alice", app=other))
                assert (error.code, error.details) == (codes.WRONG_REGION.number, details)
                assert await client.closed() == codes.HOME_ELSEWHERE.number


async def test_a_token_signed_for_one_app_does_not_open_another(running: RunningWorker) -> None:
    """G8 and HP-6.1-2: `iss` alone proves nothing."""
    other = create_app("other", "sg", "pro", "global", 0)
    async with running.admin() as admin:
        await admin.apps.create(other, 0)
    async with opened(running) as client:
        token = forge(running, app=other, key=running.app.certificates[0])
        assert (await refused(client, token)).code == codes.TOKEN_SIGNATURE.number


async def test_both_certificates_open_and_one_that_was_rotated_out_does_not(
    running: RunningWorker,
) -> None:
    """HP-6.1-2: and a running gateway learns of it at once."""
    async with running.admin() as admin:
        first = running.app
        second = await admin.apps.rotate_certificate(first.id, 0)
        for app in (first, second):
            async with opened(running) as client:
                await client.connect(running.token("alice", app=app))
        await admin.apps.rotate_certificate(first.id, 0)
    async with opened(running) as client:
        await client.connect(running.token("alice", app=second), "d2")
    async with opened(running) as client:
        error = await refused(client, running.token("alice", app=first))
        assert error.code == codes.TOKEN_SIGNATURE.number


async def test_a_revoked_token_stays_out_and_a_new_one_does_not(running: RunningWorker) -> None:
    """HP-6.4-1: strictly before, so a token of the very second is good; other users' are too."""
    assert running.clock is not None
    before_ms = running.clock.ms
    async with running.admin() as admin:
        await admin.access.revoke(running.app.id, "alice", before_ms)
    old, new = (running.token("alice", now_s=before_ms / 1000 + at) for at in (-1, 0))
    async with opened(running) as client:
        assert (await refused(client, old)).code == codes.TOKEN_REVOKED.number
        assert await client.closed() == codes.UNAUTHORIZED.number
    async with opened(running) as client:
        await client.connect(new)
    async with opened(running) as client:
        await client.connect(running.token("bob", now_s=before_ms / 1000 - 1))


async def test_a_deleted_app_lets_nobody_in(running: RunningWorker) -> None:
    """HP-5.1-6: also where the gateway had known the app."""
    token = running.token("alice")
    async with opened(running) as client:
        await client.connect(token)
        async with running.admin() as admin:
            await admin.apps.delete(running.app.id)
        assert await client.closed() == codes.APP_DELETED.number
    async with opened(running) as client:
        assert (await refused(client, token)).code == codes.UNKNOWN_APP.number
        assert await client.closed() == codes.UNAUTHORIZED.number


async def test_connected_tells_everything(running: RunningWorker) -> None:
    """HP-5.2-1: session, region, user, heartbeat, token's end, cursor, resuming and limits."""
    assert running.clock is not None
    async with opened(running) as client:
        connected = await client.connect(running.token("alice", lifetime_s=600))
    assert len(connected.session) == 16
    assert (connected.region, connected.user, connected.heartbeat) == ("sg", "alice", 25.0)
    assert connected.expires == int(running.clock.now) + 600
    assert (connected.cursor.number, connected.resumed, connected.lost) == (0, False, None)
    assert connected.limits == frames.Limits(running.app.tier.max_body, WINDOW, DEDUPE_WINDOW_MS)


@pytest.mark.parametrize("device", ["a b", "d:1", "größe", "a/b", "\n"])
async def test_a_device_id_has_the_form_of_a_user_id(running: RunningWorker, device: str) -> None:
    """HP-3.1-2 and HP-4.2-2: refused, and the next connect on the same connection may be good."""
    async with opened(running) as client:
        await client.send(frames.Connect(5, device, running.token("alice")))
        error = await client.expect(frames.Error)
        assert (error.id, error.code) == (5, codes.INVALID_FIELD.number)
        assert device not in error.text
        await client.connect(running.token("alice"))


@pytest.mark.parametrize(
    ("frame", "request_id"),
    [
        (frames.Send(9, "c", "bob", "text", b""), 9),
        (frames.Renew(8, "t"), 8),
        (frames.Ping(), 0),
        (frames.Pong(), 0),
        (frames.Ack(1), 0),
    ],
)
async def test_the_first_frame_must_be_connect(
    running: RunningWorker, frame: frames.ClientFrame, request_id: int
) -> None:
    """HP-5.1-2."""
    async with opened(running) as client:
        await client.send(frame)
        error = await client.expect(frames.Error)
        assert (error.id, error.code) == (request_id, codes.NOT_CONNECTED.number)
        assert await client.closed() == codes.CONNECT_EXPECTED.number


async def test_no_frame_may_follow_connect_before_its_answer(running: RunningWorker) -> None:
    """HP-5.1-2: the state checking of section 5.4."""
    async with opened(running) as client:
        await client.send(frames.Connect(1, "d1", running.token("alice")))
        await client.send(frames.Connect(2, "d1", running.token("alice")))
        error = await client.until(frames.Error)
        assert (error.id, error.code) == (2, codes.NOT_CONNECTED.number)
        assert await client.closed() == codes.CONNECT_EXPECTED.number
    async with running.client("alice") as client:  # and the first left nothing behind
        await client.say("alice", "still here")


async def test_a_second_connect_is_refused_and_changes_nothing(running: RunningWorker) -> None:
    """HP-5.1-9."""
    async with running.client("alice") as client:
        await client.send(frames.Connect(50, "d2", running.token("bob")))
        error = await client.expect(frames.Error)
        assert (error.id, error.code) == (50, codes.ALREADY_CONNECTED.number)
        await client.send(frames.Send(51, "c", "bob", "text", b""))
        assert (await client.until(frames.Push)).message.sender == "alice"


async def test_a_client_that_says_nothing_is_closed_after_5_s(running: RunningWorker) -> None:
    """HP-5.1-3: and not before."""
    async with opened(running) as client, opened(running) as quick:
        running.pass_time(4.9)
        await quick.connect(running.token("alice"))
        running.pass_time(0.6)
        assert await client.closed() == codes.CONNECT_TIMEOUT.number
        assert isinstance(await quick.say("bob", "x"), frames.Ok)


async def test_refused_fields_do_not_put_the_deadline_off(running: RunningWorker) -> None:
    """HP-5.1-3: complete means a connect frame that could be read."""
    async with opened(running) as client:
        for _ in range(2):
            running.pass_time(2.4)
            await client.send(frames.Connect(5, "a b", None))
            await client.expect(frames.Error)
        running.pass_time(0.6)
        assert await client.closed() == codes.CONNECT_TIMEOUT.number


@pytest.mark.parametrize("known", [False, True], ids=["an unknown app", "a known app"])
async def test_while_the_store_is_away_nobody_is_refused_for_good(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """HP-5.1-8: `unavailable` with `retry_after`, 4001, and in again once it is back."""
    monkeypatch.setattr("gateway.session.connecting.CONNECT_TIMEOUT_S", 0.3)
    with EmbeddedValkey(tmp_path / "valkey") as store:
        settings: Settings = make_settings(store.url, tmp_path)
        async with running_worker(settings, clock=clock) as running:
            if known:
                async with running.client("bob"):
                    pass
            store.stop()
            async with opened(running) as client:
                error = await refused(client, running.token("alice"))
                assert error.code == codes.UNAVAILABLE.number
                assert error.retry_after is not None
                assert error.retry_after > 0
                assert await client.closed() == codes.STORE_UNAVAILABLE.number
            store.start()
            while True:
                clock.advance(1)  # a user connects once a second in the long run
                async with opened(running) as client:
                    await client.send(frames.Connect(1, "d1", running.token("alice")))
                    answer = await client.receive()
                if isinstance(answer, frames.Connected):
                    break
                assert isinstance(answer, frames.Error)
                assert answer.code == codes.UNAVAILABLE.number


async def test_an_app_record_that_cannot_be_read_is_our_fault(
    running: RunningWorker, redis_url: str
) -> None:
    """HP-5.1-6 is for the client's faults; this one closes with 4006, so that it comes back."""
    import redis

    with redis.Redis.from_url(redis_url) as store:
        store.set(f"hp:sg:app:{running.app.id}", b"\0" * 80)
    async with opened(running) as client:
        assert (await refused(client, running.token("alice"))).code == codes.INTERNAL.number
        assert await client.closed() == codes.INTERNAL_ERROR.number


async def test_keys_that_a_token_brings_along_are_not_looked_at(running: RunningWorker) -> None:
    """HP-6.1-1: neither `jwk` nor `jku` make a foreign signature good."""
    key = "f" * 64
    claims = jwt.decode(running.token("alice"), options={"verify_signature": False})
    headers = {"jwk": {"kty": "oct", "k": key}, "jku": "http://127.0.0.1:1/keys", "kid": "x"}
    async with opened(running) as client:
        token = jwt.encode(claims, key, "HS256", headers=headers)
        assert (await refused(client, token)).code == codes.TOKEN_SIGNATURE.number
