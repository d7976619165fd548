"""A running gateway, for the tests of what clients see of it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.config import Settings
from gateway.dev.embedded import EmbeddedValkey, packaged_server
from gateway.security.keyring import Keyring
from tests.conftest import REDIS
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


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    """A key file's content, of region sg."""
    return Keyring.create(tmp_path / "sg.keys.json", "sg")


Servers = Callable[..., EmbeddedValkey]


@pytest.fixture(params=["valkey", "redis7"])
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Servers]:
    """Starts servers of the test's own, which it may stop, starve and kill: ``servers(*extra)``."""
    binary = packaged_server() if request.param == "valkey" else Path(REDIS)
    if not binary.exists():
        pytest.skip(f"Redis 7.0 is not installed ({REDIS}): apt install redis-server")
    with contextlib.ExitStack() as running:
        numbers = itertools.count(1)

        def start(*extra: str, appendonly: bool = False) -> EmbeddedValkey:
            folder = tmp_path / f"server{next(numbers)}"
            server = EmbeddedValkey(folder, binary=binary, appendonly=appendonly, extra=extra)
            server.start()
            running.callback(server.stop)
            return server

        yield start
