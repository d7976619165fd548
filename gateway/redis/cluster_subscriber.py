"""The ears in a cluster: one connection to each primary, each channel heard where its slot is.

When a slot goes to another node, the old one unsubscribes its channels (or dies) and the new one
has to be asked. What was published between the two is missed, as on any reconnect: `on_missed`
tells of which channels, once they are heard again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator
from functools import partial
from typing import Any, Final

import structlog

from gateway.redis.cluster import PACE_S, Cluster, ClusterNode
from gateway.redis.slots import Node, slot_of
from gateway.redis.subscriber import ChannelListener, NodeSubscriber, Subscriber
from gateway.tasks import Tasks

_ELSEWHERE: Final = frozenset({"MOVED", "CLUSTERDOWN", "TRYAGAIN"})
"""What a node answers to SSUBSCRIBE when it has not got the slot, or not now."""

_log = structlog.get_logger()


class _MemberSubscriber(NodeSubscriber):
    """Hears the channels of one primary, and says which it was not given, or was deprived of."""

    def __init__(
        self,
        server: ClusterNode,
        on_taken: Callable[[_MemberSubscriber, Collection[bytes]], None],
        tasks: Tasks,
    ) -> None:
        super().__init__(server, tasks)
        self._on_taken = on_taken

    def _batches(self, channels: list[bytes]) -> Iterator[list[bytes]]:
        slots = defaultdict(list)
        for channel in channels:
            slots[slot_of(channel)].append(channel)
        for each in slots.values():  # of two slots in one command Redis takes neither
            yield from super()._batches(each)

    def _taken(self, channel: bytes) -> None:
        if channel in self._asked:
            self._give_up([channel])

    def _refused(self, reply: str) -> None:
        word, _, rest = reply.partition(" ")
        if word == "MOVED":
            slot = int(rest.partition(" ")[0])
            if not self._line or slot not in map(slot_of, self._line[0].channels):
                return  # to an SUNSUBSCRIBE that the node was quicker to do by itself
        if word not in _ELSEWHERE or not self._line:
            super()._refused(reply)
            return
        asked = self._line[0]
        self._line.popleft()
        if asked.verb == "SSUBSCRIBE":
            for channel in asked.channels:
                left = self._unconfirmed.pop(channel) - 1
                if left > 0:
                    self._unconfirmed[channel] = left
            self._give_up(asked.channels)

    def _give_up(self, channels: Collection[bytes]) -> None:
        self._asked.difference_update(channels)
        for channel in channels:
            self._wanted.pop(channel, None)
        self._on_taken(self, channels)
        for channel in channels:
            self._release(channel)


class _Channel:
    """A channel that is wanted, and where it is, or will be, heard."""

    __slots__ = ("at", "listener", "slot", "waiters")

    def __init__(self, slot: int, listener: ChannelListener) -> None:
        self.slot = slot
        self.listener = listener
        self.at: _MemberSubscriber | None = None
        self.waiters: list[asyncio.Future[None]] = []


class ClusterSubscriber(Subscriber):
    """Hears channels on all primaries of a cluster. To be started after the link."""

    def __init__(self, cluster: Cluster) -> None:
        self.on_up: Callable[[], None] | None = None
        self._cluster = cluster
        self._members: dict[Node, _MemberSubscriber] = {}
        self._wanted: dict[bytes, _Channel] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: dict[_MemberSubscriber, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def up(self) -> bool:  # type: ignore[override]
        """True while every slot's channels are heard."""
        return self._cluster.map.complete and all(m.up for m in self._members.values())

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to connect to all primaries, without waiting for nodes that do not answer."""
        self._cluster.on_change.append(self._follow)
        self._follow()

    async def aclose(self) -> None:
        """Close the connections; nothing more is heard."""
        self._cluster.on_change.remove(self._follow)
        for task in self._tasks:
            self._cluster.tasks.dismiss(task)
        await asyncio.gather(*self._tasks, *self._closing, return_exceptions=True)
        await asyncio.gather(*(member.aclose() for member in self._members.values()))

    def _follow(self) -> None:
        """Be connected to the primaries of the map, and hear each channel where it is."""
        nodes = self._cluster.map.nodes
        gone = [self._members.pop(node) for node in self._members.keys() - nodes]
        for node in nodes - self._members.keys():
            server = ClusterNode(self._cluster.url, node, "homeport-subscriber")
            member = _MemberSubscriber(server, self._taken, self._cluster.tasks)
            member.on_up = partial(self._is_back, member)
            member.on_missed = self._missed
            self._members[node] = member
            self._starting[member] = self._spawn(member.start())
        self._move(self._wanted)
        for member in gone:
            self._cluster.tasks.dismiss(self._starting.pop(member))
            closing = self._cluster.tasks.keep(member.aclose(), "cluster-subscriber", may_end=True)
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def _move(self, names: Iterable[bytes]) -> None:
        """Hear those of `names` elsewhere that are not heard where the map says."""
        confirmed: dict[_MemberSubscriber, dict[bytes, asyncio.Future[None]]] = defaultdict(dict)
        for name in names:
            channel = self._wanted.get(name)
            if channel is None:
                continue
            member = self._member(channel.slot)
            if channel.at is not member:
                old, channel.at = channel.at, member
                if old is not None:
                    old.unsubscribe(name.decode())
                if member is not None:
                    confirmed[member][name] = self._ask(name, channel, member)
        for heard in confirmed.values():  # a node that is not there yet keeps no other's waiting
            self._spawn(self._moved(heard))

    async def _moved(self, confirmed: dict[bytes, asyncio.Future[None]]) -> None:
        await asyncio.gather(*confirmed.values())
        self._missed(confirmed.keys())

    def _taken(self, member: _MemberSubscriber, names: Collection[bytes]) -> None:
        """A node has these no more. Where they are the map may not know yet."""
        for name in names:
            channel = self._wanted.get(name)
            if channel is not None and channel.at is member:
                channel.at = None
        self._cluster.doubt()
        loop = asyncio.get_running_loop()
        loop.call_later(2 * PACE_S, self._move, list(names))

    def _is_back(self, member: _MemberSubscriber) -> None:
        self._missed([name for name, each in self._wanted.items() if each.at is member])

    def _missed(self, names: Collection[bytes]) -> None:
        _log.info("redis_channels_missed", channels=len(names))
        if self.on_missed is not None:
            self.on_missed(names)

    def _member(self, slot: int) -> _MemberSubscriber | None:
        node = self._cluster.map.owners[slot]
        return None if node is None else self._members.get(node)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._cluster.tasks.keep(work, "cluster-subscriber", may_end=True)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- channels --------------------------------------------------------------------------------

    def subscribe(self, channel: str, listener: ChannelListener) -> asyncio.Future[None]:
        """Have `listener` hear `channel`; the future is done once Redis has confirmed it."""
        name = channel.encode()
        wanted = self._wanted.get(name)
        if wanted is None:
            wanted = self._wanted[name] = _Channel(slot_of(name), listener)
            wanted.at = self._member(wanted.slot)
        wanted.listener = listener
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wanted.waiters.append(future)
        if wanted.at is not None:
            self._ask(name, wanted, wanted.at)
        return future

    def unsubscribe(self, channel: str) -> None:
        """Stop hearing `channel`."""
        wanted = self._wanted.pop(channel.encode(), None)
        if wanted is not None:
            if wanted.at is not None:
                wanted.at.unsubscribe(channel)
            _release(wanted)

    def _ask(
        self, name: bytes, channel: _Channel, member: _MemberSubscriber
    ) -> asyncio.Future[None]:
        confirmed = member.subscribe(name.decode(), channel.listener)

        def heard(_: asyncio.Future[None]) -> None:
            if channel.at is member:  # else the node let it go, and another is asked
                _release(channel)

        confirmed.add_done_callback(heard)
        return confirmed


def _release(channel: _Channel) -> None:
    waiters, channel.waiters = channel.waiters, []
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
