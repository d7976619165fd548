"""The subscriber: heard means heard, from the confirmation on, and again after every reconnect."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from gateway.redis.subscriber import BATCH, NodeSubscriber
from tests.gateway.conftest import Servers
from tests.gateway.redis.conftest import Heard, ScriptedRedis, node_subscriber, until
from tests.memory import counting_memory


@contextlib.asynccontextmanager
async def subscribing(url: str) -> AsyncIterator[tuple[NodeSubscriber, Heard]]:
    """A subscriber that is up, and what it hears."""
    heard, subscriber = Heard(), node_subscriber(url)
    await subscriber.start()
    try:
        yield subscriber, heard
    finally:
        await subscriber.aclose()


@pytest.fixture
def raw(store_url: str) -> Any:
    """A client to publish with."""
    with redis.Redis.from_url(store_url) as client:
        yield client


def publish(raw: redis.Redis, channel: str, payload: str) -> int:
    """SPUBLISH; returns how many heard it."""
    return int(raw.execute_command("SPUBLISH", channel, payload))  # type: ignore[no-untyped-call]


def subscribes(raw: redis.Redis) -> int:
    """How many SSUBSCRIBE commands the server has had."""
    stats: Any = raw.info("commandstats")
    return int(stats.get("cmdstat_ssubscribe", {"calls": 0})["calls"])


def heard_channels(raw: redis.Redis) -> Any:
    """The channels that the server has hearers of."""
    return raw.execute_command("PUBSUB", "SHARDCHANNELS")  # type: ignore[no-untyped-call]


async def test_messages_come_in_order_and_whole(store_url: str, raw: redis.Redis) -> None:
    """G3: every payload of a channel, in the order of publishing."""
    async with subscribing(store_url) as (subscriber, heard):
        await asyncio.gather(subscriber.subscribe("a", heard), subscriber.subscribe("b", heard))
        for n in range(500):
            assert publish(raw, "ab"[n % 2], str(n)) == 1
        await until(lambda: len(heard) == 500)
        assert heard == [(b"ab"[n % 2 : n % 2 + 1], str(n).encode()) for n in range(500)]


async def test_each_channel_is_heard_by_the_listener_that_asked_for_it(
    store_url: str, raw: redis.Redis
) -> None:
    """G3: and by no other; where two have asked, by the last."""
    first, second, third = Heard(), Heard(), Heard()
    async with subscribing(store_url) as (subscriber, _):
        await asyncio.gather(
            subscriber.subscribe("a", first),
            subscriber.subscribe("b", second),
            subscriber.subscribe("c", first),
        )
        await subscriber.subscribe("c", third)
        for channel in "abcab":
            publish(raw, channel, f"to {channel}")
        await until(lambda: len(second) == 2)
        assert first == [(b"a", b"to a")] * 2
        assert second == [(b"b", b"to b")] * 2
        assert third == [(b"c", b"to c")]


async def test_a_listener_that_fails_takes_nothing_from_the_others(
    store_url: str, raw: redis.Redis
) -> None:
    """G9: what somebody published that its listener can't read cost all others of the process what
    came behind it, and their connection."""

    class Failing:
        def heard(self, channel: bytes, payload: bytes) -> None:
            raise ZeroDivisionError

    async with subscribing(store_url) as (subscriber, heard):
        await asyncio.gather(subscriber.subscribe("a", Failing()), subscriber.subscribe("b", heard))
        ups: list[bool] = []
        subscriber.on_up = lambda: ups.append(True)
        with capture_logs() as logs:
            with raw.pipeline(transaction=False) as pipe:
                for channel in "abab":
                    pipe.execute_command("SPUBLISH", channel, "x")  # type: ignore[no-untyped-call]
                pipe.execute()
            await until(lambda: len(heard) == 2)
        assert [log["event"] for log in logs] == ["listener_failed"] * 2
        assert subscriber.up
        assert not ups


async def test_what_a_listener_lost_is_looked_for(store_url: str, raw: redis.Redis) -> None:
    """G1, G10: what it failed at was in the log and nowhere else. Its channel alone has missed
    something, once for all that came together; and no more until something is published again."""

    class Failing:
        def heard(self, channel: bytes, payload: bytes) -> None:
            raise ZeroDivisionError

    missed: list[set[bytes]] = []
    async with subscribing(store_url) as (subscriber, heard):
        await asyncio.gather(subscriber.subscribe("a", Failing()), subscriber.subscribe("b", heard))
        subscriber.on_missed = lambda names: missed.append(set(names))
        for count in (1, 2):
            with raw.pipeline() as pipe:  # one transaction, so that it comes together
                for channel in "aaab":
                    pipe.execute_command("SPUBLISH", channel, "x")  # type: ignore[no-untyped-call]
                pipe.execute()
            await until(lambda: len(heard) == 2 * count - 1)  # noqa: B023
            publish(raw, "b", "behind it")
            await until(lambda: len(heard) == 2 * count)  # noqa: B023
            assert missed == [{b"a"}] * count


async def test_what_is_on_its_way_when_a_channel_is_given_up_is_nobodys(tmp_path: Path) -> None:
    """G9: whoever listened is gone, and must not be asked to take it."""
    scripted = ScriptedRedis(tmp_path / "s.sock")
    async with scripted.serving(), subscribing(scripted.url) as (subscriber, heard):
        both = [subscriber.subscribe(channel, heard) for channel in ("a", "b")]
        _, *names = await scripted.commands.get()
        for name in names:
            scripted.say(b"*3\r\n$10\r\nssubscribe\r\n$1\r\n%b\r\n:1\r\n" % name)
        await asyncio.gather(*both)
        subscriber.unsubscribe("a")
        for name in (b"a", b"b"):
            scripted.say(b"*3\r\n$8\r\nsmessage\r\n$1\r\n%b\r\n$1\r\nx\r\n" % name)
        await until(lambda: bool(heard))
        assert heard == [(b"b", b"x")]


async def test_subscriptions_of_one_turn_travel_together(store_url: str, raw: redis.Redis) -> None:
    """A storm of connects is a few commands, and each future is its own channel's."""
    before = subscribes(raw)
    async with subscribing(store_url) as (subscriber, heard):
        await asyncio.gather(*(subscriber.subscribe(f"c{n}", heard) for n in range(2 * BATCH + 1)))
        assert subscribes(raw) - before == 3
        assert all(publish(raw, f"c{n}", "x") == 1 for n in range(2 * BATCH + 1))


async def test_a_second_subscription_is_done_at_once(store_url: str, raw: redis.Redis) -> None:
    """A user's second device does not ask Redis again."""
    async with subscribing(store_url) as (subscriber, heard):
        await subscriber.subscribe("a", heard)
        before = subscribes(raw)
        assert subscriber.subscribe("a", heard).done()
        await asyncio.sleep(0)
        assert subscribes(raw) == before


async def test_unsubscribed_is_not_heard(store_url: str, raw: redis.Redis) -> None:
    """The last session of a user that leaves takes its channel along."""
    async with subscribing(store_url) as (subscriber, heard):
        await asyncio.gather(subscriber.subscribe("a", heard), subscriber.subscribe("b", heard))
        subscriber.unsubscribe("a")
        await until(lambda: publish(raw, "a", "gone") == 0)
        heard.clear()
        publish(raw, "b", "still")
        await until(lambda: heard == [(b"b", b"still")])


async def test_changes_of_mind_within_one_turn(store_url: str, raw: redis.Redis) -> None:
    """What counts is the last word, whatever came before it in the same turn of the loop."""
    async with subscribing(store_url) as (subscriber, heard):
        gone = subscriber.subscribe("new, gone", heard)
        subscriber.unsubscribe("new, gone")
        subscriber.unsubscribe("never had")
        stays = subscriber.subscribe("new, stays", heard)
        subscriber.unsubscribe("new, stays")
        again = subscriber.subscribe("new, stays", heard)
        async with asyncio.timeout(10):
            await asyncio.gather(gone, stays, again)
        assert publish(raw, "new, gone", "x") == 0
        assert publish(raw, "new, stays", "x") == 1
        subscriber.unsubscribe("new, stays")
        back = subscriber.subscribe("new, stays", heard)
        await back
        await subscriber.subscribe("other", heard)
        assert publish(raw, "new, stays", "x") == 1


async def test_who_leaves_before_the_confirmation_leaves_nothing(
    store_url: str, raw: redis.Redis
) -> None:
    """G9: clients that connect and go at once do not add up in memory."""
    listener = Heard()

    async def come_and_go(subscriber: NodeSubscriber, names: Iterable[str]) -> None:
        for n, name in enumerate(names):
            future = subscriber.subscribe(name, listener)
            if n % 2:
                await asyncio.sleep(0)  # it was asked for, and is not confirmed yet
            subscriber.unsubscribe(name)
            assert future.done()
        await subscriber.subscribe("end", listener)
        subscriber.unsubscribe("end")
        await until(lambda: heard_channels(raw) == [])

    async with subscribing(store_url) as (subscriber, _):
        await come_and_go(subscriber, (f"first{n}" for n in range(2000)))
        with counting_memory() as kept:
            await come_and_go(subscriber, (f"c{n}" for n in range(2000)))
            assert kept() < 2000 * 20  # a name in a set takes 60 bytes and more


async def test_done_means_confirmed(servers: Servers) -> None:
    """G3: a session reads its inbox after the future, so from then on nothing may be missed."""
    server = servers()
    async with subscribing(server.url) as (subscriber, heard):
        os.kill(server.pid, signal.SIGSTOP)
        try:
            waiting = subscriber.subscribe("a", heard)
            await asyncio.wait({waiting}, timeout=0.05)
            assert not waiting.done()
        finally:
            os.kill(server.pid, signal.SIGCONT)
        await waiting
        with redis.Redis.from_url(server.url) as raw:
            assert publish(raw, "a", "x") == 1
        await until(lambda: heard == [(b"a", b"x")])


async def test_the_last_confirmation_is_the_one(tmp_path: Path) -> None:
    """G3: after unsubscribing and subscribing again, the first confirmation, which is late, does
    not count: the unsubscription is still to come behind it."""
    scripted = ScriptedRedis(tmp_path / "s.sock")
    confirmed = b"*3\r\n$10\r\nssubscribe\r\n$1\r\na\r\n:1\r\n"
    async with scripted.serving(), subscribing(scripted.url) as (subscriber, heard):
        subscriber.subscribe("a", heard)
        assert await scripted.commands.get() == [b"SSUBSCRIBE", b"a"]
        subscriber.unsubscribe("a")
        assert await scripted.commands.get() == [b"SUNSUBSCRIBE", b"a"]
        waiting = subscriber.subscribe("a", heard)
        assert await scripted.commands.get() == [b"SSUBSCRIBE", b"a"]
        scripted.say(confirmed)
        await asyncio.wait({waiting}, timeout=0.05)
        assert not waiting.done()
        assert not subscriber.subscribe("a", heard).done()
        scripted.say(b"*3\r\n$12\r\nsunsubscribe\r\n$1\r\na\r\n:0\r\n", confirmed)
        async with asyncio.timeout(10):
            await waiting
        assert subscriber.subscribe("a", heard).done()


async def test_everything_is_heard_again_after_a_reconnect(
    store_url: str, raw: redis.Redis
) -> None:
    """G3, G10: Redis cuts pub/sub clients that it finds too slow; on_up tells to look for a gap
    only when all channels are confirmed."""
    async with subscribing(store_url) as (subscriber, heard):
        channels = [f"c{n}" for n in range(BATCH + 10)]
        await asyncio.gather(*(subscriber.subscribe(channel, heard) for channel in channels))
        counts: list[list[int]] = []
        subscriber.on_up = lambda: counts.append([publish(raw, c, "x") for c in channels])
        subscriber.unsubscribe(channels.pop())
        raw.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # type: ignore[no-untyped-call]
        await until(lambda: bool(counts))
        assert counts == [[1] * len(channels)]
        assert publish(raw, f"c{BATCH + 9}", "x") == 0


async def test_subscribing_while_redis_is_away(servers: Servers) -> None:
    """G10: the future waits for the return; who gives up meanwhile is not subscribed."""
    server = servers()
    async with subscribing(server.url) as (subscriber, heard):
        server.stop()
        await until(lambda: not subscriber.up)
        waiting, gone = subscriber.subscribe("a", heard), subscriber.subscribe("b", heard)
        subscriber.unsubscribe("b")
        await asyncio.sleep(0)
        assert not waiting.done()
        assert gone.done()
        server.start()
        async with asyncio.timeout(10):
            await waiting
        with redis.Redis.from_url(server.url) as raw:
            assert publish(raw, "b", "x") == 0
            assert publish(raw, "a", "x") == 1
        await until(lambda: heard == [(b"a", b"x")])


async def test_a_refused_subscription_makes_a_new_connection(tmp_path: Path) -> None:
    """G10: a session is never left to believe that it hears."""
    scripted = ScriptedRedis(tmp_path / "s.sock")
    async with scripted.serving(), subscribing(scripted.url) as (subscriber, heard):
        waiting = subscriber.subscribe("a", heard)
        await scripted.commands.get()
        scripted.say(b"-LOADING not yet\r\n")
        assert await scripted.commands.get() == [b"SSUBSCRIBE", b"a"]
        assert scripted.connections == 2
        assert not waiting.done()
        scripted.say(b"*3\r\n$10\r\nssubscribe\r\n$1\r\na\r\n:1\r\n")
        async with asyncio.timeout(10):
            await waiting
