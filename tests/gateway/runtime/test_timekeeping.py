"""Mirrors gateway/runtime/timekeeping.py."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.redis.errors import Unavailable
from gateway.redis.link import Link
from gateway.runtime.core import Core
from gateway.runtime.timekeeping import Timekeeping
from gateway.store.region_clock import RegionClock
from gateway.tasks import Tasks
from tests.harness import make_settings


async def test_the_time_is_known_before_the_stamp_is_looked_at(
    redis_url: str, tmp_path: Any
) -> None:
    """Which key seals now is a question of the time. So it is read on each new connection, first of
    all, and whoever chose by the machine's clock is told once that it is known."""
    core = Core.of(make_settings(redis_url, tmp_path))
    link, subscriber = core.open_redis(Tasks())
    clock = RegionClock(wall=lambda: 0.0)
    known: list[bool] = []
    Timekeeping(clock, link, core.keys, lambda: known.append(clock.known))
    try:
        await link.start()
        assert known == [True]
        assert clock.now() > 1_600_000_000
    finally:
        await subscriber.aclose()
        await link.aclose()


class Unconnected:
    """A link, of which nothing is asked but to call on each connection."""

    on_greet: Any = None


@pytest.mark.parametrize("knew", [False, True])
async def test_a_server_that_does_not_tell_the_time(knew: bool, tmp_path: Any) -> None:
    """It is not used as long as the time is not known at all; later, another has told."""
    core = Core.of(make_settings("redis://127.0.0.1", tmp_path))
    link: Any = Unconnected()
    assert not isinstance(link, Link)
    clock = RegionClock()
    told: list[str] = []
    Timekeeping(clock, link, core.keys, lambda: told.append("known"))

    async def tells(*_: object) -> bytes:
        return b"1700000000000"

    async def is_away(*_: object) -> bytes:
        raise Unavailable("away")

    if knew:
        await link.on_greet(tells, 7)
        await link.on_greet(is_away, 8)
    else:
        with pytest.raises(Unavailable, match="time_unknown"):
            await link.on_greet(is_away, None)
    assert told == (["known"] if knew else [])
