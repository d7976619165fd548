"""A session's token: warned of its end, renewed, ended. Over real sockets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from homeport import codec, codes, frames

from gateway.apps.app import create_app
from tests.gateway.session.forging import forge
from tests.harness import RawClient, RunningWorker


async def renewed(client: RawClient, token: str) -> frames.Ok | frames.Error:
    """The answer to a renewal."""
    await client.send(frames.Renew(88, token))
    answer = await client.receive()
    assert isinstance(answer, frames.Ok | frames.Error)
    assert answer.id == 88
    return answer


async def test_warned_renewed_and_warned_again(running: RunningWorker) -> None:
    """HP-6.3-1 and HP-6.3-3: the session goes on past its first end."""
    assert running.clock is not None
    async with RawClient.open(running.url) as client:
        first = await client.connect(running.token("alice", lifetime_s=300))
        running.pass_time(240.25)
        assert (await client.until(frames.Expiring)).expires == first.expires
        answer = await renewed(client, running.token("alice", lifetime_s=400))
        assert isinstance(answer, frames.Ok)
        end = int(running.clock.now) + 400
        assert codec.decode_answer(frames.Renew, answer).expires == end
        running.pass_time(60)  # past the first end
        assert isinstance(await client.say("alice", "still here"), frames.Ok)
        running.pass_time(280.25)
        assert (await client.until(frames.Expiring)).expires == end
        running.pass_time(60)
        assert await client.closed() == codes.SESSION_EXPIRED.number


async def test_the_end_comes_when_the_token_says(running: RunningWorker) -> None:
    """HP-6.3-2 and G8: a second before, the session works; then it is closed with 4004."""
    async with RawClient.open(running.url) as client:
        await client.connect(running.token("alice", lifetime_s=20))
        running.pass_time(10.25)
        await client.expect(frames.Expiring)  # half of what was left: HP-6.3-1
        running.pass_time(9)
        assert isinstance(await client.say("bob", "x"), frames.Ok)
        running.pass_time(1)
        assert await client.closed() == codes.SESSION_EXPIRED.number


async def test_a_wall_clock_that_jumps_ahead_ends_the_session(running: RunningWorker) -> None:
    """HP-6.3-2: within a heartbeat of the jump. HP-5.3-1: and nothing else moves with it."""
    assert running.clock is not None
    async with RawClient.open(running.url) as client, running.client("bob") as other:
        await client.connect(running.token("alice", lifetime_s=3600))
        running.clock.now += 7200
        running.pass_time(25.25)
        assert await client.closed() == codes.SESSION_EXPIRED.number
        await other.expect(frames.Ping)  # a heartbeat has passed, not two hours
        assert isinstance(await other.say("bob", "x"), frames.Ok)


async def test_a_wall_clock_that_jumps_back_ends_nothing(running: RunningWorker) -> None:
    """HP-6.3-2: and messages go on, in order."""
    assert running.clock is not None
    async with RawClient.open(running.url) as client:
        await client.connect(running.token("alice", lifetime_s=3600))
        assert isinstance(await client.say("alice", "before"), frames.Ok)
        running.clock.now -= 7200
        running.pass_time(25.25)
        await client.until(frames.Ping)
        await client.send(frames.Send(60, "after", "alice", "text", b""))
        # The first one's push may come behind its ok.
        while (push := await client.until(frames.Push)).message.body == b"before":
            pass
        assert push.number == 2


def _other_app(running: RunningWorker) -> str:
    return running.token("alice", app=create_app("o", "sg", "pro", "global", 0))


def _other_region(running: RunningWorker) -> str:
    return running.token("alice", app=create_app("o", "eu", "pro", "global", 0))


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (_other_app, codes.TOKEN_OTHER_USER),
        (_other_region, codes.TOKEN_OTHER_USER),
        (lambda r: r.token("bob"), codes.TOKEN_OTHER_USER),
        (lambda r: r.token("alice", now_s=r.clock.now - 1), codes.TOKEN_OLDER),
        (lambda r: "this is not a token", codes.TOKEN_MALFORMED),
        (lambda r: "", codes.TOKEN_MALFORMED),
        (lambda r: forge(r, sub="alice", key="0" * 64), codes.TOKEN_SIGNATURE),
        (lambda r: forge(r, sub="alice", key=None, algorithm="none"), codes.TOKEN_ALGORITHM),
        (lambda r: forge(r, sub="alice", algorithm="HS512"), codes.TOKEN_ALGORITHM),
        (lambda r: forge(r, sub="alice").ljust(4097, "x"), codes.TOKEN_TOO_LARGE),
        (lambda r: forge(r, sub="alice", iat=-10, exp=0), codes.TOKEN_EXPIRED),
        (lambda r: forge(r, sub="alice", iat=6), codes.TOKEN_NOT_YET),
        (lambda r: forge(r, sub="alice", exp=86_401), codes.TOKEN_LIFETIME),
        (lambda r: forge(r, sub="alice", aud="homeport:eu"), codes.TOKEN_AUDIENCE),
    ],
)
async def test_a_refused_renewal_changes_nothing(
    running: RunningWorker, make: Callable[[RunningWorker], str], code: codes.ErrorCode
) -> None:
    """HP-6.3-4, HP-6.3-5 and HP-6.3-6: the session goes on, until its old end and no longer."""
    async with RawClient.open(running.url) as client:
        await client.connect(running.token("alice", lifetime_s=100))
        answer = await renewed(client, make(running))
        assert isinstance(answer, frames.Error)
        assert answer.code == code.number
        assert isinstance(await client.say("bob", "still here"), frames.Ok)
        running.pass_time(100)
        assert await client.closed() == codes.SESSION_EXPIRED.number


async def test_a_renewal_after_a_revocation_needs_a_new_token(running: RunningWorker) -> None:
    """HP-6.3-6 and HP-6.4-1: an older token can't outlive its revocation through a session."""
    assert running.clock is not None
    old = running.token("alice", now_s=running.clock.now - 5)
    async with running.admin() as admin:
        await admin.access.revoke(running.app.id, "alice", running.clock.ms)
    async with running.client("alice") as client:
        answer = await renewed(client, old)
        assert isinstance(answer, frames.Error)
        assert answer.code == codes.TOKEN_OLDER.number


async def test_each_token_of_a_chain_of_renewals_must_be_as_new(running: RunningWorker) -> None:
    """HP-6.3-6: measured against the last good one, not the first."""
    assert running.clock is not None
    async with running.client("alice") as client:
        middle = running.token("alice", now_s=running.clock.now + 1)
        assert isinstance(await renewed(client, running.token("alice")), frames.Ok)
        assert isinstance(
            await renewed(client, running.token("alice", now_s=running.clock.now + 3)), frames.Ok
        )
        answer = await renewed(client, middle)
        assert isinstance(answer, frames.Error)
        assert answer.code == codes.TOKEN_OLDER.number
