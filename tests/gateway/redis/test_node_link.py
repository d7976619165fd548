"""One server's link: all is answered in order, or fails by name; and it comes back by itself."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import shutil
import signal
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import redis
from homeport.frames import Cursor

from gateway.apps.tiers import TIERS
from gateway.redis import connection
from gateway.redis import node_link as module
from gateway.redis.cluster import ClusterNode
from gateway.redis.errors import CommandFault, OperationFailed, Unavailable
from gateway.redis.member_link import MemberLink
from gateway.redis.promises import Promises
from gateway.redis.scripts import SCRIPTS
from gateway.redis.servers import server_of
from gateway.redis.url import RedisUrl
from gateway.security.keyring import Keyring
from gateway.store import stamp
from gateway.store.access import REVOKE
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry, Stored
from gateway.store.inbox import InboxStore
from gateway.store.keys import STAMP, Keys
from gateway.store.readers import Reader
from gateway.tasks import Tasks
from tests.gateway.conftest import Servers
from tests.gateway.redis.conftest import beginning, linked, replicated, until
from tests.gateway.store.conftest import APP_ID, Store, message_id, open_store


@pytest.fixture
async def store(store_url: str, keyring: Keyring) -> AsyncIterator[Store]:
    """One server: clusters are `test_cluster`'s."""
    async with open_store(store_url, keyring) as opened:
        yield opened


def calls_of(raw: redis.Redis, command: str) -> int:
    """How often the server has run a command."""
    stats: Any = raw.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def reasons(futures: list[asyncio.Future[Any]]) -> set[str]:
    """Why each of `futures` failed; none may hang, nor succeed."""
    async with asyncio.timeout(10):
        results = await asyncio.gather(*futures, return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results), results
    return {result.reason for result in results if isinstance(result, Unavailable)}


# -- answers ---------------------------------------------------------------------------------


async def test_thousands_of_calls_are_answered_in_order(store: Store) -> None:
    """G3: each future gets the answer of its own command."""
    answers = await asyncio.gather(*(store.link.call("INCR", "n") for _ in range(10_000)))
    assert answers == list(range(1, 10_001))


async def test_an_error_is_its_own_calls_only(store: Store) -> None:
    """G1: a refused command in the middle moves nobody's answer to another."""
    store.raw.set("text", "abc")
    calls = [
        store.link.call("ECHO", str(n)) if n % 3 else store.link.call("LPUSH", "text", n)
        for n in range(300)
    ]
    results = await asyncio.gather(*calls, return_exceptions=True)
    for n, result in enumerate(results):
        if n % 3:
            assert result == str(n).encode()
        else:
            assert isinstance(result, CommandFault)


async def test_a_cancelled_call_does_not_shift_the_answers(store: Store) -> None:
    """G1: its answer still comes, and is nobody else's."""
    calls = [store.link.call("ECHO", str(n)) for n in range(10)]
    calls[4].cancel()
    rest = await asyncio.gather(*calls[:4], *calls[5:])
    assert rest == [b"0", b"1", b"2", b"3", b"5", b"6", b"7", b"8", b"9"]


async def test_past_the_limit_it_says_that_it_is_busy(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: what waits for Redis is bounded; those in the line are answered."""
    monkeypatch.setattr(module, "MAX_PENDING", 5)
    calls = [store.link.call("ECHO", str(n)) for n in range(7)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert results[:5] == [b"0", b"1", b"2", b"3", b"4"]
    for result in results[5:]:
        assert isinstance(result, Unavailable)
        assert (result.reason, result.retry_after) == ("busy", 2.0)
    assert await store.link.call("PING") == b"PONG"


# -- errors, by class --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word",
    ["LOADING", "BUSY", "MISCONF", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "OOM"],
)
async def test_what_passes_is_unavailable(store: Store, word: str) -> None:
    """HP-7.1-6: the client is told to come back."""
    script = f"return redis.error_reply('{word} and some text with key hp:sg:secret')"
    with pytest.raises(Unavailable) as error:
        await store.link.call("EVAL", script, 0)
    assert (error.value.reason, error.value.retry_after) == (word.lower(), 1.0)
    assert "secret" not in str(error.value)


async def test_what_does_not_pass_is_a_fault(store: Store) -> None:
    """No retry mends foreign data; the error does not quote it."""
    store.raw.set("hp:sg:secret", "text")
    with pytest.raises(CommandFault) as error:
        await store.link.call("LPUSH", "hp:sg:secret", 1)
    assert error.value.reply == "WRONGTYPE"
    assert "secret" not in str(error.value)
    with pytest.raises(CommandFault) as error:
        await store.link.run(REVOKE, ("hp:sg:secret", "channel"), "no number", 1, "event")
    assert "secret" not in str(error.value)
    assert store.link.up


async def test_flushed_scripts_are_loaded_again(store: Store) -> None:
    """G10: SCRIPT FLUSH, or a failover to a server without them, mends itself."""
    ups: list[None] = []
    store.link.on_up = lambda: ups.append(None)
    assert await store.say("ann")
    store.raw.script_flush()
    with pytest.raises(Unavailable, match="NOSCRIPT"):
        await store.say("ann")
    await until(lambda: store.link.up)
    assert await store.say("ann")
    assert store.inbox("ann") == [1, 2]
    assert len(ups) == 1


async def test_a_demoted_primary_is_left_and_taken_back(servers: Servers) -> None:
    """G1, G10: a replica that accepts no writes is no store; when it does again, all goes on."""
    server = servers()
    async with linked(server.url) as link:
        with redis.Redis.from_url(server.url) as raw:
            raw.replicaof("127.0.0.1", "1")
            assert await reasons([link.call("SET", "a", 1)]) == {"readonly"}
            assert not link.up
            assert await reasons([link.call("GET", "a")]) == {"not_connected"}
            raw.replicaof("NO", "ONE")
            await until(lambda: link.up)
            assert await link.call("SET", "a", 1) == b"OK"


async def test_a_full_redis_is_unavailable_and_keeps_the_connection(servers: Servers) -> None:
    """HP-7.1-6: reading goes on, writing is refused until there is room."""
    server = servers("--maxmemory", "1")
    with redis.Redis.from_url(server.url) as raw:
        raw.config_set("maxmemory", 0)
        async with linked(server.url) as link:
            raw.config_set("maxmemory", 1)
            talks = ConversationStore(link, Keys("sg"))
            inboxes = InboxStore(link, Keys("sg"), talks)
            assert await reasons([link.call("SET", "a", 1)]) == {"oom"}
            sent = talks.send(
                APP_ID,
                TIERS["free"],
                talks.direct(APP_ID, "bob", "ann"),
                NewEntry(message_id(), b"r", 1, "bob"),
            )
            with pytest.raises(Unavailable, match="OOM"):
                await sent
            assert (
                await inboxes.check(Reader(APP_ID, "ann", "d", "s"), Cursor("", 0, 0), 0, 1)
            ).top == 0
            assert link.up
            raw.config_set("maxmemory", 0)
            assert await link.call("SET", "a", 1) == b"OK"


# -- away and back -------------------------------------------------------------------------------


@pytest.mark.parametrize("replicas", [0, 1])
async def test_calls_in_flight_fail_when_redis_is_killed(servers: Servers, replicas: int) -> None:
    """G1, G10: none hangs, none succeeds, and the link comes back by itself."""
    server = servers(appendonly=True)
    ups: list[None] = []
    async with linked(server.url, replicas=replicas) as link:
        link.on_up = lambda: ups.append(None)
        os.kill(server.pid, signal.SIGSTOP)
        calls = [link.call("INCR", "n", durable=bool(n % 2)) for n in range(1000)]
        await asyncio.sleep(0)  # they leave now
        calls += [link.call("INCR", "n", durable=bool(n % 2)) for n in range(1000)]
        os.kill(server.pid, signal.SIGKILL)
        assert await reasons(calls) == {"connection_lost"}
        assert await reasons([link.call("PING")]) == {"not_connected"}
        server.stop()
        server.start()
        await until(lambda: link.up)
        assert await link.call("INCR", "n") == 1
        assert len(ups) == 1


async def test_answers_held_for_the_replicas_fail_too(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1: Redis has done it and said so, but the replicas have not confirmed it when it dies."""
    monkeypatch.setattr(module, "BARRIER_TIMEOUT_MS", 0)  # 0: for ever
    server = servers()
    with redis.Redis.from_url(server.url) as raw:
        async with linked(server.url, replicas=1) as link:
            calls = [link.call("INCR", "n", durable=True)]
            await until(lambda: raw.get("n") == b"1")
            calls.append(link.call("INCR", "n", durable=True))
            await asyncio.sleep(0.02)  # the first one's own answer is here, WAIT's is not
            assert not any(call.done() for call in calls)
            os.kill(server.pid, signal.SIGKILL)
            assert await reasons(calls) == {"connection_lost"}


async def test_each_is_told_once_that_the_connection_is_lost(servers: Servers) -> None:
    """G1, G10: a durable command stands in two lines, that of the answers and that of the replicas,
    and was told in both. A cluster's link then counted fewer than none on their way, and a slot
    waited for ever after a failover."""
    server = servers()
    async with linked(server.url, replicas=1) as link:
        told: list[Any] = []
        link.run_packed(told.append, connection.pack(("PING",)), 0, durable=True)
        await asyncio.sleep(0)  # on its way, and behind a WAIT
        link.run_packed(told.append, connection.pack(("PING",)), 0, durable=True)
        link.run_packed(told.append, connection.pack(("PING",)), 0, durable=False)
        link.abort()
        await until(lambda: len(told) >= 3 and not link.queued)
        assert [answer.reason for answer in told] == ["connection_lost"] * 3


async def test_closing_fails_what_is_open(servers: Servers) -> None:
    """What was asked and not answered fails; afterwards the link is down for good."""
    server = servers()
    async with linked(server.url) as link:
        os.kill(server.pid, signal.SIGSTOP)
        calls = [link.call("PING") for _ in range(3)]
    os.kill(server.pid, signal.SIGCONT)
    assert await reasons(calls) == {"connection_lost"}
    assert await reasons([link.call("PING")]) == {"not_connected"}


async def test_a_lost_ping_is_no_noise(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that has no stamp is asked with a PING that has no caller; when that is lost, asyncio
    must not complain of it."""
    monkeypatch.setattr(connection, "WATCH_S", 0.02)
    server = servers()
    noise: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    link = MemberLink(
        cast("ClusterNode", server_of(RedisUrl.parse(server.url), "test")),
        beginning(stamp.RegionIdentity("sg", {1: "a" * 16})),
        Tasks(),
        Promises(),
        has=lambda _: False,
        on_lost=lambda: None,
    )
    await link.start()
    os.kill(server.pid, signal.SIGSTOP)
    await until(lambda: link.queued > 0)
    os.kill(server.pid, signal.SIGKILL)
    await until(lambda: not link.up)
    await link.aclose()
    gc.collect()
    await asyncio.sleep(0)
    assert noise == []


async def test_nothing_is_sent_to_a_redis_that_was_not_greeted(servers: Servers) -> None:
    """G6: another region's data appears behind the same address while callers send: not one
    command of theirs reaches it, and nothing in it changes."""
    foreign, server = servers(appendonly=True), servers(appendonly=True)
    async with linked(foreign.url, stamp.RegionIdentity("eu", {1: "e" * 16})):
        pass
    foreign.stop()
    async with linked(server.url) as link:
        sending = True
        answers: list[asyncio.Future[Any]] = []

        async def send() -> None:
            while sending:
                answers.append(link.call("SET", f"ours{len(answers)}", 1))
                await asyncio.sleep(0)

        sender = asyncio.create_task(send())
        await until(lambda: any(a.done() and not a.exception() for a in answers))
        server.stop()
        shutil.rmtree(server.data_dir / "appendonlydir")
        shutil.copytree(foreign.data_dir / "appendonlydir", server.data_dir / "appendonlydir")
        server.start()
        with redis.Redis.from_url(server.url) as raw:
            await until(lambda: calls_of(raw, "hmget") >= 2)  # it was looked at, and again
            sending = False
            await sender
            assert raw.keys() == [STAMP.encode()]
            stamped: Any = raw.hgetall(STAMP)
            assert (stamped[b"region"], stamped[b"key:1"]) == (b"eu", b"e" * 16)
            assert calls_of(raw, "set") == calls_of(raw, "hsetnx") == 0
        assert not link.up
        assert isinstance(answers[-1].exception(), Unavailable)
    with contextlib.suppress(OperationFailed):
        await asyncio.gather(*answers)


# -- replicas ------------------------------------------------------------------------------------


async def test_a_short_count_of_replicas_is_not_ok(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1, G2: with `replica`, ok means that the replica has it; without it the client is told to
    come back, and the retry finds that it was stored, once."""
    monkeypatch.setattr(module, "BARRIER_TIMEOUT_MS", 100)
    primary, replica = await replicated(servers)
    keys = Keys("sg")
    inbox = keys.inbox(APP_ID, "ann").refs
    async with linked(primary.url, replicas=1) as link:
        talks = ConversationStore(link, keys)
        with redis.Redis.from_url(replica.url) as copy, redis.Redis.from_url(primary.url) as raw:

            def deliver(mid: bytes) -> asyncio.Future[Stored]:
                return talks.send(
                    APP_ID,
                    TIERS["free"],
                    talks.direct(APP_ID, "ann", "ann"),
                    NewEntry(mid, b"x", 1_700_000_000_000, "ann"),
                )

            await deliver(message_id())
            assert copy.llen(inbox) == 1
            mid = message_id()
            os.kill(replica.pid, signal.SIGSTOP)
            try:
                assert await reasons([deliver(mid), deliver(mid)]) == {"replicas"}
                assert raw.llen(inbox) == 2
                assert await link.call("GET", "nothing") is None  # what need not be durable goes on
            finally:
                os.kill(replica.pid, signal.SIGCONT)
            assert (await deliver(mid)).time_ms == 1_700_000_000_000
            assert raw.llen(inbox) == copy.llen(inbox) == 2


async def test_waits_do_not_queue_up(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """G1, G9: while a replica is away, sends of many turns share few WAITs: each is answered
    within two of them, not after a line of all."""
    monkeypatch.setattr(module, "BARRIER_TIMEOUT_MS", 200)
    monkeypatch.setattr(connection, "PACE_S", 0.0)  # so that each turn is a write of its own
    server = servers()
    with redis.Redis.from_url(server.url) as raw:
        async with linked(server.url, replicas=1) as link:
            calls = []
            for _ in range(50):
                calls.append(link.call("INCR", "n", durable=True))
                await asyncio.sleep(0)
            assert await reasons(calls) == {"replicas"}
            assert raw.get("n") == b"50"
            assert calls_of(raw, "wait") == 2
            assert await reasons([link.call("INCR", "n", durable=True)]) == {"replicas"}


async def test_without_replicas_nothing_waits(store: Store) -> None:
    """`memory` and `fsync` need no WAIT: Redis' own answer is the promise."""
    before = calls_of(store.raw, "wait")
    await store.say("ann")
    assert calls_of(store.raw, "wait") == before


async def test_an_error_before_the_barrier_is_still_the_error(servers: Servers) -> None:
    """A refused durable command is told as refused, though its batch was confirmed."""
    primary, _ = await replicated(servers)
    async with linked(primary.url, replicas=1) as link:
        await link.call("SET", "text", "a", durable=True)
        with pytest.raises(CommandFault):
            await link.call("LPUSH", "text", "a", durable=True)


async def test_scripts_are_there_from_the_greeting_on(servers: Servers) -> None:
    """EVALSHA works at once on a fresh server."""
    server = servers()
    async with linked(server.url) as link:
        keys = ("{1}i", "{1}m", "{1}r", "{1}b", "{1}w")
        epoch, top, *_ = await link.run(SCRIPTS["inbox_check"], keys, 1, "d", 0, 0, 1, 0)
        assert (epoch, top) == (-1, 0)


async def test_a_server_that_became_a_replica_is_named_at_each_connect(servers: Servers) -> None:
    """G12: its greeting went on after the answer for which the connection was given up, and waited
    five seconds for nothing; then the log asked whether this port wants TLS."""
    server = servers()
    async with linked(server.url) as link:

        async def writes(ask: Any, _: int | None) -> None:
            with contextlib.suppress(OperationFailed):  # as who knows the time already does
                await ask("EVALSHA", SCRIPTS["lease"].sha, 1, "a", "me", 1000)

        link.on_greet = writes
        with redis.Redis.from_url(server.url) as raw:
            raw.replicaof("127.0.0.1", "1")
            with pytest.raises(Unavailable):
                await link.call("SET", "a", "b")
            async with asyncio.timeout(3):
                await until(lambda: link.refused is not None)
            assert getattr(link.refused, "reason", None) == "readonly"
            raw.replicaof("NO", "ONE")
        await until(lambda: link.up)
        assert link.refused is None
        assert await link.call("SET", "a", "b") == b"OK"
