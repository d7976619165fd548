"""The connection both the link and the subscriber are: it notices, lets go, and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from gateway.redis import connection as module
from gateway.redis.errors import CommandFault, Unavailable
from gateway.redis.guard import Call
from gateway.redis.node_link import NodeLink
from gateway.redis.servers import Server, server_of
from gateway.redis.url import RedisUrl
from gateway.store import stamp
from gateway.store.keys import STAMP
from gateway.tasks import Tasks
from tests.gateway.conftest import Servers
from tests.gateway.redis.conftest import (
    ScriptedRedis,
    beginning,
    linked,
    node_link,
    node_subscriber,
    until,
)
from tests.ports import free_port
from tests.resetting import ResettingProxy

IDENTITY = stamp.RegionIdentity("sg", {1: "a" * 16})


def link_to(server: Server) -> NodeLink:
    """A link to `server`, which is not started."""
    return NodeLink(server, beginning(IDENTITY), Tasks())


async def test_it_names_itself(servers: Servers) -> None:
    """An operator sees in CLIENT LIST which connections are Homeport's."""
    server = servers()
    subscriber = node_subscriber(server.url)
    async with linked(server.url):
        await subscriber.start()
        with redis.Redis.from_url(server.url) as raw:
            clients: Any = raw.client_list()
        assert {"homeport-link", "homeport-subscriber"} <= {c["name"] for c in clients}
        await subscriber.aclose()


async def test_start_waits_for_redis(servers: Servers) -> None:
    """G10: a gateway that starts before its Redis waits; nobody has to start it again."""
    server = servers()
    server.stop()
    link = node_link(server.url, IDENTITY)
    starting = asyncio.create_task(link.start())
    with capture_logs() as logs:
        await until(lambda: any(log["event"] == "redis_connect_failed" for log in logs))
    assert not starting.done()
    server.start()
    async with asyncio.timeout(10):
        await starting
    assert link.up
    await link.aclose()


async def test_a_wrong_redis_at_the_start_is_the_operators_to_mend(servers: Servers) -> None:
    """G6: start raises at once, rather than trying for ever, also for a stamp that is no stamp."""
    server = servers()
    with redis.Redis.from_url(server.url) as raw:
        raw.set(STAMP, "no hash")
    link = node_link(server.url, IDENTITY)
    with pytest.raises(CommandFault):
        await link.start()
    await link.aclose()


async def test_a_silent_redis_is_left(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """G10: a server that hangs with its connections open is noticed, by link and subscriber, also
    when nobody asks it anything; what waits fails; and it is taken back when it answers again."""
    monkeypatch.setattr(module, "SILENCE_LIMIT_S", 0.1)
    monkeypatch.setattr(module, "WATCH_S", 0.02)
    server = servers()
    subscriber = node_subscriber(server.url)
    async with linked(server.url) as link:
        await subscriber.start()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            await until(lambda: not subscriber.up)  # by its own PING
            call = link.call("PING")
            with pytest.raises(Unavailable):
                async with asyncio.timeout(10):
                    await call
            await until(lambda: not link.up)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await until(lambda: link.up and subscriber.up)
        assert await link.call("PING") == b"PONG"
        await subscriber.aclose()


async def test_a_quiet_connection_is_not_a_silent_one(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing to do is no reason to reconnect."""
    monkeypatch.setattr(module, "SILENCE_LIMIT_S", 0.1)
    monkeypatch.setattr(module, "WATCH_S", 0.02)
    server = servers()
    with redis.Redis.from_url(server.url) as raw:

        def questions() -> int:
            stats: Any = raw.info("commandstats")
            return int(stats["cmdstat_hget"]["calls"])

        async with linked(server.url) as link:
            ups: list[None] = []
            link.on_up = lambda: ups.append(None)
            before = questions()
            await until(lambda: questions() > before + 20)
            assert link.up
            assert ups == []


async def test_the_pauses_grow_to_a_bound_and_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: a region's gateways do not come back in step, nor hammer a Redis that is starting."""
    bounds: list[float] = []

    def uniform(low: float, high: float) -> float:
        assert low == 0
        bounds.append(high)
        return 0.0

    monkeypatch.setattr("gateway.redis.connection.random.uniform", uniform)
    link = node_link(f"unix://{tmp_path}/nothing.sock", IDENTITY)
    starting = asyncio.create_task(link.start())
    await until(lambda: len(bounds) >= 8)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await link.aclose()
    assert bounds[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


async def test_a_connection_that_is_closed_at_once_is_retried(tmp_path: Path) -> None:
    """G10: as behind a proxy whose Redis is away; it neither hangs nor gives up."""
    redis_ = ScriptedRedis(tmp_path / "s.sock")
    redis_.close_after_greeting = True
    link = node_link(redis_.url, IDENTITY)
    async with redis_.serving():
        starting = asyncio.create_task(link.start())
        await until(lambda: redis_.connections >= 4)
        assert not link.up
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        async with asyncio.timeout(10):
            await link.aclose()


async def test_a_connection_lost_before_it_is_taken_over(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: redis-py hears of that end and we do not: to wait for it would be to hang for ever."""
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.2)
    port, verified = free_port(), []
    servers("--port", str(port), "--bind", "127.0.0.1")

    class LostAtOnce(Server):
        async def verify(self, connection: Any) -> None:
            verified.append(connection)
            if len(verified) == 1:
                proxy.break_all()
                with pytest.raises(redis.ConnectionError):
                    await connection.read_response(disconnect_on_error=False)
                proxy.mend()

    with ResettingProxy(("127.0.0.1", port)).running() as proxy:
        link = link_to(LostAtOnce(RedisUrl.parse(f"redis://127.0.0.1:{proxy.port}"), "test"))
        async with asyncio.timeout(10):
            await link.start()
        assert (link.up, len(verified)) == (True, 2)
        await link.aclose()


async def test_closing_takes_no_failed_connect_for_an_answer(servers: Servers) -> None:
    """A gateway that stops while Redis is away stops, though redis-py may turn the cancellation of
    a connect into an error of its own."""
    connecting = asyncio.Event()

    class Swallowing(Server):
        async def make(self) -> Any:
            connection = await super().make()
            connection.connect = self.connect
            return connection

        async def connect(self) -> None:
            connecting.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise redis.ConnectionError("cancelled") from None

    link = link_to(Swallowing(RedisUrl.parse(servers().url), "test"))
    starting = asyncio.create_task(link.start())
    await connecting.wait()
    starting.cancel()
    async with asyncio.timeout(10):
        await link.aclose()


async def test_what_is_not_redis_protocol_ends_the_connection(tmp_path: Path) -> None:
    """G10: nothing is guessed from garbage; a new connection is made."""
    redis_ = ScriptedRedis(tmp_path / "s.sock")
    subscriber = node_subscriber(redis_.url)
    ups: list[None] = []
    subscriber.on_up = lambda: ups.append(None)
    async with redis_.serving():
        await subscriber.start()
        redis_.say(b"?garbage\r\n")
        await until(lambda: bool(ups))
        assert redis_.connections == 2
        await subscriber.aclose()


async def test_a_url_with_a_password(servers: Servers) -> None:
    """User and password in the URL work; a wrong password is tried again and never logged."""
    server = servers()
    with redis.Redis.from_url(server.url) as raw:
        raw.execute_command("ACL", "SETUSER", "homeport", "on", ">s3cret-one", "~*", "&*", "+@all")
        raw.acl_setuser("default", False, nopass=True)
    wrong = server.url.replace("unix://", "unix://homeport:wr0ng-one@")
    right = server.url.replace("unix://", "unix://homeport:s3cret-one@")
    link = node_link(wrong, IDENTITY)
    starting = asyncio.create_task(link.start())
    with capture_logs() as logs:
        await until(lambda: any(log["event"] == "redis_connect_failed" for log in logs))
    assert {log["reason"].split()[0] for log in logs} == {"WRONGPASS"}
    assert "wr0ng" not in str(logs)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await link.aclose()
    async with linked(right) as link:
        assert await link.call("ACL", "WHOAMI") == b"homeport"


async def test_who_waits_for_a_command_is_told_and_nothing_comes_back(servers: Servers) -> None:
    """G10: the command line had a Redis client of its own, with reasons of its own. By the link it
    connects once, says where the connection was that is lost, and logs nothing by itself."""
    server = servers()
    link = node_link(server.url, IDENTITY)
    with capture_logs() as logs:
        await link.connect()
        assert await link.call("PING") == b"PONG"
        asked = link.call("BLPOP", "nothing", 0)
        server.stop()
        with pytest.raises(Unavailable, match="the connection was lost") as lost:
            await asked
        assert str(server.socket) in str(lost.value)
        with pytest.raises(Unavailable, match="the connection was lost") as lost:
            await link.call("PING")
        assert str(server.socket) in str(lost.value)
        await link.aclose()
    assert not [log for log in logs if log["event"].startswith("redis_")]


async def test_who_waits_for_a_command_waits_longer_than_a_gateway(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator who is told after six seconds that the connection is lost gives a command again
    that was done: a certificate was rotated twice, and the back end's was void."""
    monkeypatch.setattr(module, "SILENCE_LIMIT_S", 0.1)
    monkeypatch.setattr(module, "WATCH_S", 0.02)
    server = servers()
    link = node_link(server.url, IDENTITY)
    await link.connect()
    async with linked(server.url) as gateway:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            asked = link.call("PING")
            await until(lambda: not gateway.up)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert await asked == b"PONG"
    monkeypatch.setattr(module, "PATIENCE_S", 0.1)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable, match="the connection was lost"):
            await link.call("PING")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    await link.aclose()


async def test_a_fault_of_ours_is_not_said_of_redis(servers: Servers) -> None:
    """Who is told that Redis is away looks there, and finds nothing."""

    class Faulty(stamp.Stamp):
        async def admit(self, call: Call) -> None:
            raise ZeroDivisionError

    guard = Faulty(IDENTITY, lambda: True)
    server = server_of(RedisUrl.parse(servers().url), "homeport-link")
    link = NodeLink(server, guard, Tasks())
    with pytest.raises(ZeroDivisionError):
        await link.connect()
    await link.aclose()
