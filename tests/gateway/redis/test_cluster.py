"""A cluster: slots that move and primaries that die, while commands and messages flow."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.apps.tiers import TIERS
from gateway.redis import cluster as module
from gateway.redis.cluster import Cluster, ClusterNode
from gateway.redis.errors import IsCluster, NotDurable, Unavailable
from gateway.redis.link import Link
from gateway.redis.opening import open_redis
from gateway.redis.promises import Promises
from gateway.redis.slots import Node, slot_of
from gateway.redis.subscriber import Subscriber
from gateway.redis.url import RedisUrl
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry, Stored
from gateway.store.errors import WrongRegionStamp
from gateway.store.keys import Keys
from gateway.store.stamp import RegionIdentity
from gateway.store.stored import parse_references
from gateway.tasks import Tasks
from tests.clusters import START_S, RedisCluster, cluster
from tests.gateway.redis.conftest import Heard, beginning, until
from tests.gateway.store.conftest import message_id

APP = "02" + "0" * 30
IDENTITY = RegionIdentity("sg", {1: "a" * 16})
KEYS = Keys("sg")
SLOTS_OF_SECOND = (5461, 10921)


class Ends:
    """A link and a subscriber of one process, and what they said."""

    def __init__(self, url: str, replicas: int = 0) -> None:
        self.listener = Heard()
        self.missed: list[set[bytes]] = []
        self.ups = 0
        self.link: Link
        self.subscriber: Subscriber
        self.link, self.subscriber = open_redis(
            url, beginning(IDENTITY), Tasks(), Promises(replicas)
        )
        self.link.on_up = self._up
        self.subscriber.on_missed = lambda names: self.missed.append(set(names))

    @property
    def heard(self) -> list[bytes]:
        """What it heard, on whatever channel."""
        return self.listener.payloads

    def _up(self) -> None:
        self.ups += 1

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Ends]:
        """Both are up."""
        try:
            async with asyncio.timeout(START_S):
                await self.link.start()
                await self.subscriber.start()
            yield self
        finally:
            await self.subscriber.aclose()
            await self.link.aclose()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisCluster]:
    """A cluster that the test may damage."""
    with cluster(tmp_path) as own:
        yield own


def user_at(node_slots: Callable[[int], bool]) -> str:
    """A user whose slot fulfils a condition."""
    return next(
        name
        for n in itertools.count()
        if node_slots(slot_of(KEYS.inbox(APP, name := f"u{n}").refs))
    )


def other_than(found: RedisCluster, slot: int) -> Any:
    """A primary that has not got the slot."""
    owner = found.owner(slot)
    return next(node for node in found.primaries() if node is not owner)


# -- slots that move ---------------------------------------------------------------------------


async def _flow(
    stop: asyncio.Event, send: Callable[[int], Awaitable[object]], at_once: int
) -> list[object]:
    """Call `send` with 0, 1, 2… until `stop`, `at_once` of them unanswered; returns the answers."""
    answers: list[asyncio.Future[object]] = []
    room = asyncio.Semaphore(at_once)
    for number in itertools.count():
        if stop.is_set():
            break
        await room.acquire()
        answer = asyncio.ensure_future(send(number))
        answer.add_done_callback(lambda _: room.release())
        answers.append(answer)
    async with asyncio.timeout(START_S):
        return await asyncio.gather(*answers)


@pytest.mark.parametrize("way", ["move", "move_at_once"])
async def test_a_slot_moves_while_it_is_written_to(
    cluster_url: str, _cluster: RedisCluster, way: str
) -> None:
    """G1, G2, G3: a list that is appended to, and an inbox that messages are stored in: neither a
    refusal, nor a hole, nor one twice, nor two in another order, there and back again."""
    user = "ann"
    key = KEYS.inbox(APP, user).refs + ":list"
    slot = slot_of(key)
    source, target = _cluster.owner(slot), other_than(_cluster, slot)
    async with Ends(cluster_url).open() as ends:
        talks, stop = ConversationStore(ends.link, KEYS), asyncio.Event()
        answered = {"push": 0, "deliver": 0}

        async def push(number: int) -> object:
            answer = await ends.link.call("RPUSH", key, number)
            answered["push"] += 1
            return answer

        async def deliver(number: int) -> object:
            answer = await talks.send(
                APP,
                TIERS["pro"],
                talks.direct(APP, user, user),
                NewEntry(message_id(), b"%d" % number, 1_700_000_000_000, user),
            )
            answered["deliver"] += 1
            return answer

        async def both_flow() -> None:
            before = dict(answered)
            await until(lambda: all(answered[each] > before[each] + 50 for each in answered))

        flows = [asyncio.create_task(_flow(stop, each, 20)) for each in (push, deliver)]
        for to in (target, source):
            await both_flow()
            await asyncio.to_thread(getattr(_cluster, way), slot, to)
        await both_flow()
        stop.set()
        pushed, stored = await asyncio.gather(*flows)
        assert pushed == list(range(1, len(pushed) + 1))
        refs = await ends.link.call("LRANGE", KEYS.inbox(APP, user).refs, 0, -1)
        numbers = list(range(1, len(stored) + 1))
        assert [ref.seq for ref in parse_references(1, refs)] == numbers
        page = await talks.page(
            APP, TIERS["pro"], f"d:{user}:{user}", 1_700_000_000_000, 100, after=0
        )
        assert [message.record for message in page.messages] == [b"%d" % n for n in range(100)]


async def test_a_channel_is_heard_where_its_slot_is(
    cluster_url: str, _cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: after a move the channel is heard at the new node, and whoever listens is told of a gap
    on the channels of that slot alone; not when the map is looked at next, but at once."""
    monkeypatch.setattr(module, "PERIOD_S", 10 * START_S)
    here, there = KEYS.user(APP, "ann"), KEYS.user(APP, "bob")
    slot = slot_of(here.channel)
    source, target = _cluster.owner(slot), other_than(_cluster, slot)
    async with Ends(cluster_url).open() as ends:
        moved = {here.channel, f"{here.channel}2"}
        for channel in (there.channel, *moved):
            await ends.subscriber.subscribe(channel, ends.listener)

        def told() -> set[str]:
            return {name.decode() for names in ends.missed for name in names}

        def hears(node: Any) -> bool:
            return moved <= set(node.ask("PUBSUB", "SHARDCHANNELS"))

        for to in (target, source):
            ends.missed.clear()
            await asyncio.to_thread(_cluster.move, slot, to)
            # A last word about the move before may come now, so it alone says nothing.
            await until(partial(hears, to))
            await until(lambda: told() == moved)
            ends.listener.clear()
            await ends.link.publish(here.channel, b"one")
            await ends.link.publish(there.channel, b"two")
            await until(lambda: len(ends.heard) >= 2)
            assert sorted(ends.heard) == [b"one", b"two"]
            assert told() == moved
        ends.subscriber.unsubscribe(here.channel)
        await ends.subscriber.subscribe(f"{here.channel}3", ends.listener)
        await ends.link.publish(here.channel, b"three")
        await ends.link.publish(f"{here.channel}3", b"four")
        await until(lambda: b"four" in ends.heard)
        assert b"three" not in ends.heard


async def test_channels_that_come_and_go_as_a_slot_moves(
    cluster_url: str, _cluster: RedisCluster
) -> None:
    """G9, G10: whatever a node answers to late or early (un)subscriptions, what is wanted in the
    end is heard, once, and what is not wanted is not."""
    keys = KEYS.user(APP, "ann")
    slot = slot_of(keys.channel)
    source, target = _cluster.owner(slot), other_than(_cluster, slot)
    names = [f"{keys.channel}{n}" for n in range(40)]
    async with Ends(cluster_url).open() as ends:
        moving = asyncio.create_task(asyncio.to_thread(_cluster.move, slot, target))
        for turn in itertools.count():
            for name in names[turn % 2 :: 2]:
                ends.subscriber.subscribe(name, ends.listener)
            for name in names[(turn + 1) % 2 :: 2]:
                ends.subscriber.unsubscribe(name)
            await asyncio.sleep(0.002)
            if moving.done() and turn % 2 == 0:
                break
        await moving
        async with asyncio.timeout(START_S):
            await asyncio.gather(
                *(ends.subscriber.subscribe(name, ends.listener) for name in names[::2])
            )
        for number, name in enumerate(names):
            await ends.link.publish(name, b"%d" % number)
        await ends.link.publish(names[0], b"end")
        await until(lambda: b"end" in ends.heard)
        assert ends.heard == [*(b"%d" % number for number in range(0, 40, 2)), b"end"]
        await asyncio.to_thread(_cluster.move, slot, source)
        await until(lambda: ends.link.up and ends.subscriber.up)


# -- primaries that die ------------------------------------------------------------------------


async def test_a_primary_dies(own: RedisCluster) -> None:
    """G1, G10: what it had is unavailable until its replica takes over, and the rest goes on; what
    replicas had confirmed is there, and who listened on its channels is told of the gap."""
    lost = own.nodes[1]
    theirs = user_at(lambda slot: SLOTS_OF_SECOND[0] <= slot <= SLOTS_OF_SECOND[1])
    ours = user_at(lambda slot: slot < SLOTS_OF_SECOND[0])
    async with Ends(own.url, replicas=1).open() as ends:
        channels = [KEYS.user(APP, user).channel for user in (theirs, ours)]
        await asyncio.gather(*(ends.subscriber.subscribe(each, ends.listener) for each in channels))
        there, here = (KEYS.inbox(APP, user).refs + "x" for user in (theirs, ours))
        assert await ends.link.call("SET", there, "kept", durable=True) == b"OK"
        calls = [ends.link.call("APPEND", there, "") for _ in range(100)]
        lost.kill()
        await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: not ends.link.up)
        with pytest.raises(Unavailable):
            await ends.link.call("GET", there)
        assert await ends.link.call("SET", here, "goes on") == b"OK"
        await until(lambda: ends.link.up and ends.subscriber.up)
        await until(lambda: bool(ends.missed))
        await until(lambda: ends.ups >= 1)
        assert await ends.link.call("GET", there) == b"kept"
        assert set.union(*ends.missed) == {channels[0].encode()}
        for channel in channels:
            await ends.link.publish(channel, channel.encode())
        await until(lambda: len(ends.heard) == 2)
        with pytest.raises(Unavailable) as caught:  # its own replica is dead
            await ends.link.call("SET", there, "2", durable=True)
        assert caught.value.reason == "replicas"


async def test_a_primary_that_was_cut_off_is_left(own: RedisCluster) -> None:
    """G1: the rest of the cluster has gone on with its replica, and it does not know: whoever is
    connected to it asks elsewhere too, and leaves."""
    cut = own.nodes[1]
    user = user_at(lambda slot: SLOTS_OF_SECOND[0] <= slot <= SLOTS_OF_SECOND[1])
    channel = KEYS.user(APP, user).channel
    async with Ends(own.url).open() as ends:
        await ends.subscriber.subscribe(channel, ends.listener)
        with cut.frozen():  # its sockets stay open
            await until(lambda: bool(ends.missed))
            await until(lambda: ends.link.up)
            await ends.link.publish(channel, b"heard")
            await until(lambda: bool(ends.heard))


# -- what must not be used ---------------------------------------------------------------------


async def test_another_regions_cluster_is_refused(cluster_url: str) -> None:
    """G6: whichever node has the stamp, all of the cluster is another's."""
    async with linked_to(cluster_url, RegionIdentity("eu", {1: "e" * 16})):
        pass
    with pytest.raises(WrongRegionStamp):
        async with linked_to(cluster_url, IDENTITY):
            raise AssertionError("it is used")


@contextlib.asynccontextmanager
async def linked_to(url: str, identity: RegionIdentity, fsync: bool = False) -> AsyncIterator[Link]:
    """A link to anything, that is up."""
    promises = Promises(fsync=fsync)
    link, _ = open_redis(url, beginning(identity), Tasks(), promises)
    try:
        async with asyncio.timeout(START_S):
            await link.start()
        yield link
    finally:
        await link.aclose()


async def test_one_node_is_not_taken_for_all(cluster_url: str, _cluster: RedisCluster) -> None:
    """The text says what to write instead."""
    with pytest.raises(IsCluster, match=r"begin redis_url with redis\+cluster://"):
        async with linked_to(f"redis://{_cluster.nodes[0].address}", IDENTITY):
            raise AssertionError("it is used")


async def test_every_primary_must_write_before_it_answers(
    cluster_url: str, _cluster: RedisCluster
) -> None:
    """G1: with durability fsync two that do are not enough."""
    for node in _cluster.primaries():
        node.ask("CONFIG", "SET", "appendonly", "yes", "appendfsync", "always")
    try:
        async with linked_to(cluster_url, IDENTITY, fsync=True) as link:
            assert link.up
        _cluster.primaries()[1].ask("CONFIG", "SET", "appendfsync", "everysec")
        with pytest.raises(NotDurable):
            async with linked_to(cluster_url, IDENTITY, fsync=True):
                raise AssertionError("it is used")
    finally:
        for node in _cluster.primaries():
            node.ask("CONFIG", "SET", "appendonly", "no", "appendfsync", "everysec")


async def test_a_node_at_an_address_that_was_anothers(
    cluster_url: str, _cluster: RedisCluster
) -> None:
    """G6: addresses are given to others; the id tells."""
    port = _cluster.nodes[0].port
    server = ClusterNode(RedisUrl.parse(cluster_url), Node("0" * 40, "127.0.0.1", port), "test")
    connection = await server.make()
    await connection.connect()
    with pytest.raises(Unavailable, match="another_node"):
        await server.verify(connection)
    await connection.disconnect()


async def test_another_cluster_is_not_taken_over(
    cluster_url: str, _cluster: RedisCluster, own: RedisCluster
) -> None:
    """G6: while ours is there, what other clusters' nodes say does not count."""
    found = Cluster(RedisUrl.parse(cluster_url), Tasks())
    await found.start()
    owners = list(found.map.owners)
    async with Ends(own.url).open() as others:
        ours = next(iter(found.map.nodes))
        with capture_logs() as logs:
            found.links = lambda: {ours: others.link}  # the address has become another cluster's
            found.doubt()
            await until(lambda: any(log["event"] == "redis_other_cluster" for log in logs))
        assert found.map.owners == owners
    await found.aclose()


# -- the rest ----------------------------------------------------------------------------------


async def test_scripts_are_loaded_again_at_each_node(
    cluster_url: str, _cluster: RedisCluster
) -> None:
    """G10: after SCRIPT FLUSH a repetition works, on whichever node it is."""
    users = [f"u{n}" for n in range(30)]
    async with Ends(cluster_url).open() as ends:
        talks = ConversationStore(ends.link, KEYS)
        for node in _cluster.primaries():
            node.ask("SCRIPT", "FLUSH")

        async def deliver(user: str) -> Stored:
            mid = message_id()
            while True:
                try:
                    to = talks.direct(APP, user, user)
                    entry = NewEntry(mid, b"x", 1_000, user)
                    return await talks.send(APP, TIERS["pro"], to, entry)
                except Unavailable:
                    await asyncio.sleep(0.02)

        async with asyncio.timeout(START_S):
            await asyncio.gather(*map(deliver, users))
        inboxes_of = [KEYS.inbox(APP, user).refs for user in users]
        lengths = await asyncio.gather(*(ends.link.call("LLEN", name) for name in inboxes_of))
        assert lengths == [1] * len(users)
