"""The link to a cluster: one connection to each primary, and each command to the one that has it.

What one slot's commands were asked in is the order in which they are done, as on one server, also
when the slot goes to another node meanwhile. A node that has not got the slot says so instead of
doing it; then the slot's commands wait until the last of those that were on their way has come
back. The first goes again alone, and once it is done the others follow in their order.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from operator import attrgetter
from typing import Any, Final

import structlog

from gateway.redis.cluster import Cluster, ClusterNode
from gateway.redis.errors import OperationFailed, Redirected, Unavailable, WrongServer
from gateway.redis.guard import Call, Guard
from gateway.redis.link import MAX_PENDING, Link, Then
from gateway.redis.member_link import MemberLink
from gateway.redis.promises import Condition, Promises
from gateway.redis.servers import CONNECT_TIMEOUT_S
from gateway.redis.slots import BUCKET_SLOTS, Node, slot_of

HOLD_S: Final = 3.0
"""How long a command may wait, or be sent again, because its slot is on its way."""
RETRY_S: Final = 0.02
"""The pause before that, where it is not known where the slot is."""
START_S: Final = 5.0
"""How long a start waits for nodes that do not answer; the others will do without them."""

_HOLDING: Final = frozenset({"moved", "ask", "tryagain", "clusterdown"})
"""Reasons for which a command was not done, and may be within moments."""
_DOUBTFUL: Final = frozenset({"moved", "clusterdown"})
"""Those that say that the map may be wrong."""

_log = structlog.get_logger()


class _Slot:
    """A slot's commands: on their way, come back, and waiting behind those."""

    __slots__ = ("asked", "back", "holding", "in_flight", "link", "refused", "timer", "waiting")

    def __init__(self, link: MemberLink | None) -> None:
        self.link = link
        self.asked = 0
        self.in_flight = 0
        self.holding = False
        self.refused = False  # one has come back since they were last sent
        self.back: list[_Sent] = []
        self.waiting: deque[_Sent] = deque()
        self.timer: asyncio.TimerHandle | None = None


class _Sent:
    """A command, which takes its own answer. `until` is when it is given up; 0: nothing held it.

    `number` is its place among the commands of its slot, as they were asked.
    """

    __slots__ = ("command", "durable", "link", "number", "reply", "slot", "then", "until")

    def __init__(
        self, link: ClusterLink, slot: _Slot, then: Then, command: bytes, durable: bool
    ) -> None:
        self.link = link
        self.slot = slot
        self.then = then
        self.command = command
        self.durable = durable
        self.until = 0.0
        self.reply: Any = None
        self.number = slot.asked
        slot.asked += 1

    def __call__(self, reply: Any) -> None:
        slot = self.slot
        slot.in_flight -= 1
        if isinstance(reply, Unavailable) and reply.reason in _HOLDING:
            self.reply = reply
            self.link._came_back(self)
        else:
            self.then(reply)
        if slot.holding and slot.in_flight == 0:
            self.link._go_on(slot)


class ClusterLink(Link):
    """A link to all primaries of a cluster. If one is away, commands to the others continue."""

    def __init__(
        self,
        cluster: Cluster,
        guard: Guard,
        promises: Promises = Promises(),  # noqa: B008 - it is frozen
    ) -> None:
        self.on_up: Callable[[], None] | None = None
        self._cluster = cluster
        self._guard = guard
        self._on_greet: Callable[[Call, int | None], Awaitable[None]] | None = None
        self._promises = promises
        self._members: dict[Node, MemberLink] = {}
        self._slots: dict[int, _Slot] = {}
        self._buckets = [self._slot(number) for number in BUCKET_SLOTS]
        self._waiting = 0
        self._refused: asyncio.Future[None] | None = None
        self._started = False
        self._once = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving: set[MemberLink] = set()
        self._joining: dict[MemberLink, asyncio.Task[None]] = {}
        cluster.links = lambda: self._members
        cluster.on_change.append(self._follow)

    @property
    def up(self) -> bool:  # type: ignore[override]
        """True while every slot can be asked."""
        return self._cluster.map.complete and all(m.up for m in self._members.values())

    @property
    def refused(self) -> WrongServer | Unavailable | None:  # type: ignore[override]
        """Why a Redis that answers is not used, while that is so; None: it is used."""
        members = self._members.values()
        return next((member.refused for member in members if member.refused is not None), None)

    @property
    def on_greet(self) -> Callable[[Call, int | None], Awaitable[None]] | None:
        """Called on each new connection, with a bucket that lies there, before the guard."""
        return self._on_greet

    @on_greet.setter
    def on_greet(self, on_greet: Callable[[Call, int | None], Awaitable[None]] | None) -> None:
        self._on_greet = on_greet
        for member in self._members.values():
            member.on_greet = on_greet

    @property
    def queued(self) -> int:
        """How many commands wait for their answer."""
        return self._waiting + sum(member.queued for member in self._members.values())

    async def look(self) -> None:
        """Look again at each server's settings and at our user's rights."""
        await asyncio.gather(*(member.look() for member in self._members.values()))

    @property
    def conditions(self) -> list[Condition]:
        """What each primary reported of its settings when it was last looked at."""
        return [told for member in self._members.values() for told in member.conditions]

    def places(self) -> list[int]:
        """One bucket on each primary, and one that no primary has, if any."""
        owners = self._cluster.map.owners
        found: dict[Node | None, int] = {}
        for bucket, number in enumerate(BUCKET_SLOTS):
            found.setdefault(owners[number], bucket)
        return list(found.values())

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect to all primaries, and wait at most `START_S` for each that does not answer.

        The primary that has the guard's key is waited for without an end.

        Raises:
            WrongServer, NotDurable: this Redis must not be used.
        """
        loop = asyncio.get_running_loop()
        self._refused = loop.create_future()
        await self._cluster.start()
        enough = loop.time() + START_S
        while not (self.up or (loop.time() > enough and self._holder_is_up())):
            await asyncio.wait({self._refused}, timeout=0.02)
            if self._refused.done():
                self._refused.result()
        self._started = True

    async def connect(self) -> None:
        """Connect to each primary once; one that can't be reached fails what is asked of it."""
        self._once = True
        await self._cluster.connect()
        await asyncio.gather(*self._joining.values())
        holder = self._owner(slot_of(self._guard.key))
        if holder is None or not holder.up:
            raise _away(holder)

    def _holder_is_up(self) -> bool:
        holder = self._cluster.map.owners[slot_of(self._guard.key)]
        return holder in self._members and self._members[holder].up

    async def aclose(self) -> None:
        """Close the connections. Commands that were not answered fail with `Unavailable`."""
        await self._cluster.aclose()
        for task in self._tasks:
            self._cluster.tasks.dismiss(task)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for slot in self._slots.values():
            if slot.timer is not None:
                slot.timer.cancel()
            back = [*slot.back, *slot.waiting]
            slot.back.clear()
            slot.waiting.clear()
            for sent in back:
                sent.then(Unavailable("connection_lost"))
        left = [*self._members.values(), *self._leaving]  # also one that was just being closed
        await asyncio.gather(*(member.aclose() for member in left))

    def _follow(self) -> None:
        """Connect to the primaries of the map, leave the others, and note which has which slot."""
        nodes = self._cluster.map.nodes
        for node in nodes - self._members.keys():
            self._members[node] = member = self._member(node)
            self._joining[member] = self._spawn(self._join(member))
        for node in self._members.keys() - nodes:
            member = self._members.pop(node)
            self._cluster.tasks.dismiss(self._joining.pop(member))
            self._leaving.add(member)
            self._spawn(self._leave(member))
        for number, slot in self._slots.items():
            owner = self._owner(number)
            if owner is not slot.link and slot.in_flight:
                slot.holding = True  # until the old node has answered: it may refuse what it has
            slot.link = owner

    def _member(self, node: Node) -> MemberLink:
        member = MemberLink(
            ClusterNode(self._cluster.url, node, "homeport-link"),
            self._guard,
            self._cluster.tasks,
            self._promises,
            lambda slot: self._cluster.map.owners[slot] == node,
            self._cluster.doubt,
        )
        member.on_greet = self._on_greet
        return member

    async def _join(self, member: MemberLink) -> None:
        if self._once:
            with contextlib.suppress(OperationFailed):  # it says why, whenever it is asked
                await member.connect()
            return
        while True:
            try:
                await member.start()
                break
            except OperationFailed as error:
                if self._refused is not None and not (self._started or self._refused.done()):
                    self._refused.set_exception(error)
                    return
                _log.error("redis_node_refused", reason=type(error).__name__)
                await asyncio.sleep(ClusterNode.last_retry_s)
        member.on_up = self._is_back
        if self._started:
            self._is_back()

    async def _leave(self, member: MemberLink) -> None:
        """Let go of a node that has no slots any more, once it has answered what it was asked."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                while member.up and member.owed():  # noqa: ASYNC110 - once in a node's life
                    await asyncio.sleep(0.05)
        await member.aclose()
        self._leaving.discard(member)

    def _is_back(self) -> None:
        if self.on_up is not None:
            self.on_up()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._cluster.tasks.keep(work, "cluster-link", may_end=True)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- commands --------------------------------------------------------------------------------

    def everywhere(self, *command: str | bytes | int) -> list[asyncio.Future[Any]]:
        """Send a command without a key to every primary; one future per primary."""
        return [member.call(*command) for member in self._members.values()]

    def run_of(self, bucket: int) -> str:
        """Which run of which server has a bucket."""
        member = self._buckets[bucket].link
        return "" if member is None else member.run_of(bucket)

    def run_packed(self, then: Then, command: bytes, bucket: int, *, durable: bool) -> None:
        """Send a packed command for `bucket`, and hand the answer to `then`."""
        self._put(_Sent(self, self._buckets[bucket], then, command, durable))

    def _send(self, then: Then, command: bytes, key: str | bytes | int, durable: bool) -> None:
        self._put(_Sent(self, self._slot(slot_of(key)), then, command, durable))

    def _slot(self, number: int) -> _Slot:
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = _Slot(self._owner(number))
        return slot

    def _owner(self, number: int) -> MemberLink | None:
        node = self._cluster.map.owners[number]
        return None if node is None else self._members.get(node)

    def _put(self, sent: _Sent) -> None:
        slot = sent.slot
        if not slot.holding:
            self._go(sent, slot.link)
        elif self._waiting >= MAX_PENDING:
            sent.then(Unavailable("busy", retry_after=2.0))
        else:
            sent.until = asyncio.get_running_loop().time() + HOLD_S
            self._waiting += 1
            slot.waiting.append(sent)

    def _go(self, sent: _Sent, link: MemberLink | None) -> None:
        if link is None or not link.up:
            sent.then(_away(link))
            return
        sent.slot.in_flight += 1
        link.run_packed(sent, sent.command, 0, durable=sent.durable)

    def _came_back(self, sent: _Sent) -> None:
        """It was not done: keep it, until all that were asked before it have come back."""
        now = asyncio.get_running_loop().time()
        slot, reply = sent.slot, sent.reply
        slot.holding = slot.refused = True
        if isinstance(reply, Redirected) and not reply.ask:
            slot.link = self._member_at(reply) or slot.link
        if reply.reason in _DOUBTFUL:
            self._cluster.doubt()
        if sent.until and now > sent.until:
            sent.then(reply)
            return
        sent.until = sent.until or now + HOLD_S
        slot.back.append(sent)
        self._waiting += 1

    def _go_on(self, slot: _Slot) -> None:
        """Nothing is on its way: try the first of those that wait, or, when it was done, send all
        that wait behind it."""
        if not slot.refused:
            slot.holding = False
            line, slot.waiting = slot.waiting, deque()
            self._waiting -= len(line)
            for sent in line:
                self._go(sent, slot.link)
            return
        reply = slot.back[0].reply if slot.back else None
        where = self._member_at(reply) if isinstance(reply, Redirected) else None
        if where is not None and where.up:
            self._try_first(slot)
        elif slot.timer is None:
            slot.timer = asyncio.get_running_loop().call_later(RETRY_S, self._try_first, slot)

    def _try_first(self, slot: _Slot) -> None:
        """Send the first command alone: of two commands at once, a node that is just receiving
        the slot could refuse the first and execute the second."""
        slot.timer = None
        slot.refused = False
        # Their answers may have come in another order: those to durable commands wait for replicas.
        slot.back.sort(key=attrgetter("number"), reverse=True)
        slot.waiting.extendleft(slot.back)
        slot.back.clear()
        now = asyncio.get_running_loop().time()
        while slot.waiting and not slot.in_flight:
            sent = slot.waiting.popleft()
            self._waiting -= 1
            reply, sent.reply = sent.reply, None
            if now > sent.until:
                sent.then(reply or Unavailable("clusterdown"))
                continue
            link = self._member_at(reply) if isinstance(reply, Redirected) and reply.ask else None
            if link is not None and link.up:
                slot.in_flight += 1
                link.run_asking(sent, sent.command, sent.durable)
            else:
                self._go(sent, slot.link)
        if not slot.in_flight:
            slot.holding = False  # none is left: their node is away

    def _member_at(self, reply: Redirected) -> MemberLink | None:
        for node, member in self._members.items():
            if node.port == reply.port and reply.host in {node.host, node.address}:
                return member
        return None


def _away(member: MemberLink | None) -> OperationFailed:
    """Why what is asked of this primary fails, or of none."""
    return (member.failure if member is not None else None) or Unavailable("not_connected")
