"""A running gateway, for the tests of what clients see of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis

from gateway.config import Settings
from tests.harness import FakeClock, RunningWorker, running_worker


@pytest.fixture
async def running(settings: Settings, clock: FakeClock) -> AsyncIterator[RunningWorker]:
    """A gateway in sg in this process, with one app of tier pro, on a clock that stands still."""
    async with running_worker(settings, clock=clock) as running:
        yield running


@pytest.fixture
def store(redis_url: str) -> Iterator[Any]:
    """The gateway's store, seen from outside. Any: redis-py's own types are of every client."""
    with redis.Redis.from_url(redis_url) as client:
        yield client
