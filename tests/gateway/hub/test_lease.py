"""Mirrors gateway/hub/lease.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from structlog.testing import capture_logs

from gateway.hub.lease import Lease
from gateway.redis.errors import Unavailable
from gateway.runtime.core import Core
from gateway.security.keyring import Keyring
from gateway.store.presence import PresenceStore
from gateway.tasks import Tasks

Presences = Callable[[str], PresenceStore]


@pytest.fixture
async def presence_of(redis_url: str, keyring: Keyring) -> AsyncIterator[Presences]:
    """The presence of a region, for a gateway of this id."""
    core = Core.at(redis_url, keyring)
    link, subscriber = core.open_redis(Tasks())
    await link.start()
    yield lambda gateway: PresenceStore(link, core.keys, gateway)
    await subscriber.aclose()
    await link.aclose()


async def test_who_renews_learns_who_else_lives(presence_of: Presences) -> None:
    """HP-20.3-1: by the leases that the region's Redis has, until one ends its own."""
    learnt: list[frozenset[str]] = []
    there = presence_of("bbbbbb")
    await there.renew()
    lease = Lease(presence_of("aaaaaa"), learnt.append)
    await lease.renew()
    assert learnt == [{"aaaaaa", "bbbbbb"}]
    await lease.end()
    assert await there.renew() == {"bbbbbb"}


async def test_a_redis_that_is_away_is_asked_again(
    presence_of: Presences, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HP-20.3-2: it says so, and nobody is taken for dead; at the end it does not matter."""
    learnt: list[frozenset[str]] = []
    presence = presence_of("aaaaaa")
    lease = Lease(presence, learnt.append)

    async def away(lease_ms: int = 0) -> frozenset[str]:
        raise Unavailable("connection_lost")

    with monkeypatch.context() as patch, capture_logs() as said:
        patch.setattr(presence, "renew", away)
        await lease.renew()
        await lease.end()
    assert [event["event"] for event in said] == ["lease_put_off", "lease_not_ended"]
    assert learnt == []
    await lease.renew()
    assert learnt == [{"aaaaaa"}]
