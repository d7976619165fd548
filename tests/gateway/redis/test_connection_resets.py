"""What stands before Redis may accept connections and reset them: for a moment, and again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
import uvloop

from gateway.redis.opening import open_redis
from gateway.redis.url import RedisUrl
from gateway.store import stamp
from gateway.tasks import Tasks
from tests.gateway.conftest import Servers
from tests.gateway.redis.conftest import Heard, beginning, until
from tests.harness import ANSWER_S
from tests.ports import free_port
from tests.resetting import ResettingProxy

ROUNDS = 4
RESETS = 60
"""In each round: only once in a few times does uvloop hear of a reset between redis-py's connect
and its first write."""

IDENTITY = stamp.RegionIdentity("sg", {1: "a" * 16})


def on_uvloop(work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` as gateways do: on the loop that raises errors which asyncio's does not."""

    async def run() -> None:
        await work()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@pytest.fixture
def proxy(servers: Servers) -> Iterator[ResettingProxy]:
    """A proxy before a server."""
    port = free_port()
    servers("--port", str(port), "--bind", "127.0.0.1")
    with ResettingProxy(("127.0.0.1", port)).running() as running:
        yield running


def test_a_redis_behind_a_proxy_that_resets_is_found_again(
    proxy: ResettingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: a proxy before Redis accepted and reset for some seconds. Between redis-py's connect and
    its first write uvloop raised RuntimeError, which no list of errors had: the task that
    reconnects was gone, and the gateway answered `unavailable` until somebody restarted it."""
    monkeypatch.setattr(
        "gateway.redis.connection.random.uniform", lambda _, bound: min(bound, 0.01)
    )

    async def work() -> None:
        heard, tasks = Heard(), Tasks()
        url = f"redis://127.0.0.1:{proxy.port}"
        link, subscriber = open_redis(url, beginning(IDENTITY), tasks)
        try:
            await link.start()
            await subscriber.start()
            await subscriber.subscribe("hp:sg:c", heard)
            for number in range(ROUNDS):
                before = proxy.resets
                proxy.break_all()
                await until(lambda: proxy.resets > before + RESETS)  # noqa: B023
                assert not (link.up or subscriber.up)
                proxy.mend()
                await until(lambda: link.up and subscriber.up)
                await link.publish("hp:sg:c", b"%d" % number)
                await until(lambda: heard.payloads[-1:] == [b"%d" % number])  # noqa: B023
            assert tasks.lost == ""
        finally:
            await subscriber.aclose()
            await link.aclose()

    on_uvloop(work)


def test_a_cluster_behind_a_proxy_that_resets_is_found(
    cluster_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: the same where a gateway starts, and the proxy is all it knows of a cluster."""
    monkeypatch.setattr("gateway.redis.cluster.random.uniform", lambda *_: 0.01)
    host, port = RedisUrl.parse(cluster_url).hosts[0]
    with ResettingProxy((host, port)).running() as proxy:

        async def work() -> None:
            url = f"redis+cluster://127.0.0.1:{proxy.port}"
            link, _ = open_redis(url, beginning(IDENTITY), Tasks())
            proxy.break_all()
            starting = asyncio.create_task(link.start())
            try:
                await until(lambda: proxy.resets > RESETS)
                proxy.mend()
                async with asyncio.timeout(ANSWER_S):
                    await starting
                assert link.up
            finally:
                await link.aclose()

        on_uvloop(work)
