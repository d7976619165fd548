"""A cluster's slots as they are now: asked for when something says that they moved, and regularly.

No server reports a failover elsewhere, or a primary that was cut off with its clients. Therefore
one node is asked every `PERIOD_S`, each time another one, over the existing connections.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from gateway.redis.errors import OperationFailed, RedisRefused, Unavailable
from gateway.redis.link import Link
from gateway.redis.reasons import Sayings
from gateway.redis.servers import Server
from gateway.redis.slots import Claim, Node, SlotMap, parse_nodes
from gateway.redis.url import RedisUrl
from gateway.tasks import Tasks

PERIOD_S: Final = 2.0
TROUBLED_S: Final = 0.25
"""How often, while a primary is away."""
PACE_S: Final = 0.05
"""At most one map is asked for in this many seconds, however many slots are reported as moved."""
ASK_S: Final = 1.0
"""How long a node may take to tell; then another is asked."""

_log = structlog.get_logger()


class ClusterNode(Server):
    """One node, which must be the one with that id: addresses are given to others."""

    last_retry_s = 1.0

    def __init__(self, url: RedisUrl, node: Node, name: str) -> None:
        super().__init__(url, name, node.host, node.port)
        self.node = node

    async def verify(self, connection: Any) -> None:
        await connection.send_command("CLUSTER", "MYID")
        if (await connection.read_response()).decode() != self.node.id:
            raise Unavailable("another_node")


class Cluster:
    """Knows the cluster at `url`.

    `tasks` are the process'. `links` gives the connections that can be asked, by their node.
    `on_change` are called after each change of `map`.
    """

    def __init__(self, url: RedisUrl, tasks: Tasks) -> None:
        self.url = url
        self.tasks = tasks
        self.map = SlotMap()
        self.links: Callable[[], Mapping[Node, Link]] = dict
        self.on_change: list[Callable[[], None]] = []
        self._doubted = asyncio.Event()
        # The nodes that did not tell, and why: in words, and as an error.
        self._silent: dict[str, tuple[str, OperationFailed]] = {}
        self._sayings = Sayings()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when the map is there."""
        await self._refresh(wait=True)
        self._task = self.tasks.keep(self._run(), "cluster-map")

    async def connect(self) -> None:
        """As `start`, and fail where no node tells now.

        Raises:
            Unavailable, RedisRefused: why not.
        """
        claims = await self._ask()
        if claims is None or not self._take(claims):
            failures = [failure for _, failure in self._silent.values()]
            refusal = next((each for each in failures if isinstance(each, RedisRefused)), None)
            told = [each.detail for each in failures if isinstance(each, Unavailable)]
            raise refusal or Unavailable("no_node", detail="; ".join(told))
        self._task = self.tasks.keep(self._run(), "cluster-map")

    async def aclose(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self.tasks.dismiss(self._task)
            await asyncio.gather(self._task, return_exceptions=True)

    def doubt(self) -> None:
        """Something is not where the map says."""
        self._doubted.set()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PACE_S)
            troubled = not all(link.up for link in self.links().values())
            period = TROUBLED_S if troubled else PERIOD_S * random.uniform(0.5, 1.0)  # noqa: S311
            try:
                async with asyncio.timeout(period):
                    await self._doubted.wait()
            except TimeoutError:
                pass  # nothing moved that we know of
            self._doubted.clear()
            await self._refresh(wait=False)

    async def _refresh(self, wait: bool) -> None:
        while True:
            claims = await self._ask()
            if claims is not None and self._take(claims):
                return
            if not wait:
                return
            self._say_failed()
            await asyncio.sleep(random.uniform(0.1, 1.0))  # noqa: S311 - jitter

    def _say_failed(self) -> None:
        now = asyncio.get_running_loop().time()
        for place, (reason, _) in self._silent.items():
            if self._sayings.is_new(f"{place} {reason}", now):
                _log.warning("redis_connect_failed", link="cluster", server=place, reason=reason)

    def _take(self, claims: list[Claim]) -> bool:
        ours = self.map.knows(claims)
        if not ours and any(link.up for link in self.links().values()):
            _log.error("redis_other_cluster")
            return False
        if not ours:
            self.map.clear()  # all of it is new: each node is checked as at the start
        if self.map.merge(claims):
            _log.info("redis_slots_changed", primaries=len(self.map.nodes))
            for changed in self.on_change:
                changed()
        return bool(self.map.nodes)

    async def _ask(self) -> list[Claim] | None:
        """The view of some node; None where none tells."""
        for node, link in random.sample([*self.links().items()], len(self.links())):
            try:
                async with asyncio.timeout(ASK_S):
                    told = await link.everywhere("CLUSTER", "NODES")[0]
                return parse_nodes(told.decode(), node.host)
            except (OperationFailed, TimeoutError, ValueError):
                continue  # the next one knows as much
        known = [*self.url.hosts, *((node.host, node.port) for node in self.map.nodes)]
        self._silent.clear()
        for host, port in random.sample(known, len(known)):
            server = Server(self.url, "homeport-map", host, port)
            try:
                async with asyncio.timeout(ASK_S):
                    return await self._ask_at(server, host)
            except Exception as error:  # noqa: BLE001 - whatever it is, this node does not tell
                self._silent[server.place] = server.explain(error), server.failure(error)
        return None

    async def _ask_at(self, server: Server, host: str) -> list[Claim]:
        connection = await server.make()
        try:
            await connection.connect()
            await connection.send_command("CLUSTER", "NODES")
            return parse_nodes((await connection.read_response()).decode(), host)
        finally:
            await connection.disconnect(nowait=True)
