"""Fixtures for every test: one store server a worker process, emptied before each test.

Hypothesis leaves no file behind, and does not fail because a machine is busy.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import settings as hypothesis

from gateway.config import Settings
from gateway.dev.embedded import EmbeddedValkey, packaged_server
from tests.clusters import RedisCluster, cluster
from tests.harness import FakeClock, make_settings

hypothesis.register_profile("homeport", database=None, deadline=None, print_blob=True)
hypothesis.load_profile("homeport")

# A shell has what it starts in the background ignore Ctrl-C, and so does all that this starts: a
# program that a test ends with SIGINT would run on.
signal.signal(signal.SIGINT, signal.default_int_handler)

REDIS = "/usr/bin/redis-server"
"""Debian's, version 7.0: the oldest server that Homeport supports."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """For ``-n auto``: two a core, since tests wait for other processes half of the time."""
    return 2 * len(os.sched_getaffinity(0))


@pytest.fixture(scope="session")
def _valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    folder = tmp_path_factory.mktemp("valkey")
    with EmbeddedValkey(folder, binary=packaged_server(), appendonly=False) as server:
        yield server


@pytest.fixture(scope="session")
def _redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey | None]:
    binary = shutil.which("redis-server") or REDIS
    if not Path(binary).exists():
        yield None
        return
    folder = tmp_path_factory.mktemp("redis")
    with EmbeddedValkey(folder, binary=Path(binary), appendonly=False) as server:
        yield server


def _emptied(server: EmbeddedValkey) -> str:
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    return server.url


def _emptied_server(request: pytest.FixtureRequest) -> str:
    server = request.getfixturevalue("_valkey" if request.param == "valkey" else "_redis")
    if server is None:
        pytest.skip(f"Redis 7.0 is not installed ({REDIS}): apt install redis-server")
    return _emptied(server)


@pytest.fixture
def redis_url(_valkey: EmbeddedValkey) -> str:
    """An empty store, on the embedded Valkey."""
    return _emptied(_valkey)


@pytest.fixture(scope="session")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture
def cluster_url(_cluster: RedisCluster) -> str:
    """An empty cluster, which a test must leave as it was."""
    _cluster.flush()
    return _cluster.url


@pytest.fixture(params=["valkey", "redis7"])
def store_url(request: pytest.FixtureRequest) -> str:
    """An empty store, once on the embedded Valkey and once on Debian's Redis 7.0."""
    return _emptied_server(request)


@pytest.fixture(params=["valkey", "redis7", "cluster"])
def any_url(request: pytest.FixtureRequest) -> str:
    """As `store_url`, and once more on a cluster."""
    if request.param == "cluster":
        url: str = request.getfixturevalue("cluster_url")
        return url
    return _emptied_server(request)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    """Settings of a gateway in sg on `redis_url`."""
    return make_settings(redis_url, tmp_path)
