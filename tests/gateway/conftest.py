"""A running gateway, for the tests of what clients see of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.config import Settings
from tests.harness import FakeClock, RunningWorker, running_worker


@pytest.fixture
async def running(settings: Settings, clock: FakeClock) -> AsyncIterator[RunningWorker]:
    """A gateway in sg in this process, with one app of tier pro, on a clock that stands still."""
    async with running_worker(settings, clock=clock) as running:
        yield running
