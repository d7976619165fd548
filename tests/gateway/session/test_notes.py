"""What the log says of sessions."""

from __future__ import annotations

import time
from typing import Any

from homeport import codes, frames
from structlog.testing import capture_logs

from gateway.config import Settings
from gateway.security.pseudonyms import Pseudonyms
from tests.harness import FakeClock, RawClient, RunningWorker, running_worker, until


def named(running: RunningWorker, user: str) -> dict[str, str]:
    """The fields by which a line is found."""
    names = Pseudonyms(running.keyring)
    return {"app": names.app(running.app.id), "user": names.user(running.app.id, user)}


def of(said: list[Any], event: str, **fields: Any) -> list[Any]:
    """The lines of an event that have these fields."""
    return [
        line
        for line in said
        if line["event"] == event and all(line.get(name) == fields[name] for name in fields)
    ]


async def test_a_session_is_found_from_its_connect_to_its_end(running: RunningWorker) -> None:
    """One user's trouble could not be followed: a connect was not logged, and no line said whose
    it was. The id itself is in none."""
    who = named(running, "bobby-the-user")
    with capture_logs() as said:
        async with running.client("bobby-the-user", "phone") as client:
            session = client.connected.session
            await client.send(frames.Send(7, "c", "g:nothing", "text", b"secret body"))
            await client.until(frames.Error)
        await until(lambda: of(said, "left"))
        async with running.client("bobby-the-user", "phone"), running.admin() as admin:
            await admin.access.kick(running.app.id, "bobby-the-user")
            await until(lambda: of(said, "closed"))
    assert of(said, "connected", session=session, resumed=False, **who)
    assert of(said, "refused", session=session, code="unknown_recipient", **who)
    assert of(said, "left", session=session, by="client", code=1000, **who)
    [closed] = of(said, "closed", code="kicked", **who)
    assert closed["session"] != session
    for secret in ("bobby-the-user", running.app.id, "secret body", "phone"):
        assert secret not in repr(said)


async def test_a_refused_token_is_found_where_the_app_signed_it(running: RunningWorker) -> None:
    """`token_expired` for bob is his trouble; of a signature nobody vouches for, only the app that
    it claims is told, so that nobody can put a line under another one's name."""
    long_ago = int(time.time()) - 100_000
    forged = running.token("bob")[:-6] + "AAAAAA"
    with capture_logs() as said:
        for token in (running.token("bob", now_s=long_ago), forged, "nonsense"):
            async with RawClient.open(running.url) as client:
                await client.send(frames.Connect(1, "d", token))
                assert await client.closed() == codes.UNAUTHORIZED.number
    who = named(running, "bob")
    assert [line["code"] for line in of(said, "refused", **who)] == ["token_expired"]
    [signature] = of(said, "refused", app=who["app"], code="token_signature")
    assert "user" not in signature
    [malformed] = of(said, "refused", code="token_malformed")
    assert "app" not in malformed


async def test_too_many_devices_is_told_of_whom(settings: Settings, clock: FakeClock) -> None:
    """What the store refuses is a line under the same name."""
    async with (
        running_worker(settings, clock=clock, tier="free") as running,
        running.client("bob", "a", platform="x"),
        running.client("bob", "b", platform="y"),
        RawClient.open(running.url) as third,
    ):
        with capture_logs() as said:
            await third.send(frames.Connect(1, "c", running.token("bob"), platform="z"))
            assert await third.closed() == codes.UNAUTHORIZED.number
        who = named(running, "bob")
        assert of(said, "refused", code="too_many_devices", **who)
        assert of(said, "closed", code="unauthorized", **who)
