"""A session that ends is nowhere any more: mirrors gateway/session/entrance.py and hub/hubs.py."""

from __future__ import annotations

from homeport import codes, frames

from tests.harness import RawClient, RunningWorker, until
from tests.inside import seats, watchers


async def test_a_session_that_ends_leaves_every_place_that_it_entered(
    running: RunningWorker,
) -> None:
    """G9: a hub, a room, a bucket or a count that kept it would grow with each connect."""
    inside = running.inside
    due = len(inside.wheel)
    async with running.client("alice") as alice:
        await alice.ask(frames.RoomJoin, "lobby")
        await alice.ask(frames.PresenceSubscribe, ("bob",), 600)
        assert (len(inside.hub), seats(inside.rooms), watchers(inside.presence)) == (1, 1, 1)
        assert inside.headcount.total(running.app.id) == 1
        assert len(inside.limits) > 0
        assert sum(inside.counts.sessions.values()) == 1
    await until(lambda: not len(inside.hub))
    assert (seats(inside.rooms), watchers(inside.presence)) == (0, 0)
    assert inside.headcount.total(running.app.id) == 0
    assert len(inside.limits) == 0
    assert sum(inside.counts.sessions.values()) == 0
    await until(lambda: len(inside.wheel) == due)


async def test_a_connect_that_is_refused_leaves_what_it_had_entered(running: RunningWorker) -> None:
    """G9: as far as it came; here to the inbox, where the token turns out to be revoked."""
    inside = running.inside
    token = running.token("alice")
    async with running.admin() as admin:
        await admin.access.revoke(running.app.id, "alice")
    async with RawClient.open(running.url) as client:
        await client.send(frames.Connect(1, "d1", token))
        assert (await client.expect(frames.Error)).code == codes.TOKEN_REVOKED.number
        assert await client.closed() == codes.UNAUTHORIZED.number
    await until(lambda: not len(inside.hub))
    assert inside.headcount.total(running.app.id) == 0
    assert len(inside.limits) == 0
    assert sum(inside.counts.sessions.values()) == 0
