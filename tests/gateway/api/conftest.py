"""A running API for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.config import Settings
from tests.gateway.api.calling import Calling, calling
from tests.harness import FakeClock


@pytest.fixture
async def api(settings: Settings, clock: FakeClock) -> AsyncIterator[Calling]:
    """The API of a gateway in sg, with one app of tier pro, on a clock that stands still."""
    async with calling(settings, clock) as made:
        yield made
