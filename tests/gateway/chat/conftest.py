"""A gateway whose app has small groups."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.harness import FakeClock, RunningWorker, make_settings, running_worker


@pytest.fixture
async def gateway(store_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[RunningWorker]:
    """A gateway with an app of tier free, on either store."""
    async with running_worker(make_settings(store_url, tmp_path), tier="free", clock=clock) as one:
        yield one
