"""Redis as it is run at scale, on loopback: sentinels around a primary, and a cluster of six.

Servers are the real ones, in processes of their own, which end with the test process. They are
joined over the wire, as `redis-cli --cluster create` would.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.dev.embedded import packaged_server
from gateway.redis.url import RedisUrl
from gateway.runtime.parent import die_with_parent
from tests.ports import free_port

START_S: Final = 30.0
"""How long servers may take to start, to join and to fail over. Generous: nothing is measured."""

SLOTS: Final = 16384


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Block until `condition` holds; a server that can't answer yet does not hold it."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            if condition():
                return
        except redis.RedisError:
            pass  # it is starting, or on its way out: asked again, until the deadline
        assert time.monotonic() < deadline, f"{what}: not after {START_S:.0f} s"
        time.sleep(0.02)


def client_of(redis_url: str) -> Any:
    """A client of a server or of a whole cluster. Any: redis-py's own types are of every client."""
    url = RedisUrl.parse(redis_url)
    if url.kind == "cluster":
        options = url.of_server(*url.hosts[0])
        del options["db"]
        return redis.RedisCluster(**options)
    return redis.Redis(**url.of_server())


class Node:
    """One server process on a port of its own, with `options` as lines of its configuration."""

    def __init__(
        self,
        folder: Path,
        options: dict[str, str],
        *,
        binary: str | None = None,
        sentinel: bool = False,
        tls: bool = False,
        bus: bool = False,
    ) -> None:
        self.port = free_port()
        self.bus = free_port() if bus else 0
        self.folder = folder / str(self.port)
        self.folder.mkdir(parents=True)
        self._binary = binary or str(packaged_server())
        self._mode = ["--sentinel"] if sentinel else []
        self._conf = self.folder / "server.conf"
        given = {
            "dir": str(self.folder),
            "bind": "127.0.0.1",
            "port": "0" if tls else str(self.port),
            **({"tls-port": str(self.port)} if tls else {}),
            **({} if sentinel else {"save": '""'}),
            **({"cluster-port": str(self.bus)} if bus else {}),
            **options,
        }
        self._conf.write_text("".join(f"{name} {value}\n" for name, value in given.items()))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it; it may not answer yet."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, self._conf, *self._mode],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        return self

    def kill(self) -> None:
        """SIGKILL. A second time does nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP, and SIGCONT at the end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def client(self, **options: Any) -> Any:
        """A client that asks once. Any: redis-py types answers for all its clients at once."""
        options.setdefault("decode_responses", True)
        return redis.Redis(
            host="127.0.0.1",
            port=self.port,
            socket_timeout=10,
            retry=Retry(NoBackoff(), 0),
            **options,
        )

    def ask(self, *command: str | int) -> Any:
        """One command on a connection of its own."""
        with self.client() as client:
            return client.execute_command(*command)


class Sentinels:
    """A primary, a replica, and three sentinels that know the primary as ``hp``."""

    def __init__(self, folder: Path, options: dict[str, str] | None = None) -> None:
        given = {"repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"}
        self.servers = [Node(folder, {**given, **(options or {})}) for _ in range(2)]
        self.watchers = [
            Node(
                folder,
                {
                    "sentinel monitor": f"hp 127.0.0.1 {self.servers[0].port} 2",
                    "sentinel down-after-milliseconds": "hp 700",
                    "sentinel failover-timeout": "hp 3000",
                },
                sentinel=True,
            )
            for _ in range(3)
        ]

    @property
    def url(self) -> str:
        """The `redis_url` of the whole."""
        return f"redis+sentinel://{','.join(each.address for each in self.watchers)}/hp"

    def start(self) -> None:
        """Start all, and return when a failover would work."""
        primary, replica = (each.start() for each in self.servers)
        wait_until(lambda: primary.ask("PING"), "the primary answers")
        wait_until(lambda: replica.ask("REPLICAOF", "127.0.0.1", primary.port), "the replica")
        wait_until(lambda: primary.ask("WAIT", 1, 100) == 1, "the replica follows")
        for each in self.watchers:
            each.start()
        wait_until(self._acquainted, "the sentinels know each other")

    def _acquainted(self) -> bool:
        told = [each.ask("SENTINEL", "MASTER", "hp") for each in self.watchers]
        return all((t["num-other-sentinels"], t["num-slaves"]) == ("2", "1") for t in told)

    def primary(self) -> Node:
        """The server that the sentinels name."""
        port = int(self.watchers[0].ask("SENTINEL", "MASTER", "hp")["port"])
        return next(each for each in self.servers if each.port == port)

    def close(self) -> None:
        """End every process."""
        for each in [*self.watchers, *self.servers]:
            each.kill()


@contextlib.contextmanager
def sentinels(folder: Path, options: dict[str, str] | None = None) -> Iterator[Sentinels]:
    """`Sentinels`, started."""
    found = Sentinels(folder, options)
    try:
        found.start()
        yield found
    finally:
        found.close()


class RedisCluster:
    """Six servers: three primaries with a third of the slots each, and a replica of each."""

    def __init__(self, folder: Path, options: dict[str, str], binary: str | None) -> None:
        given = {
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-node-timeout": "1500",
            "cluster-require-full-coverage": "no",
            "cluster-replica-validity-factor": "0",
            "repl-diskless-sync-delay": "0",
            "repl-ping-replica-period": "1",
            **options,
        }
        self.nodes = [Node(folder, given, binary=binary, bus=True) for _ in range(6)]

    @property
    def url(self) -> str:
        """The `redis_url` of the whole; it names two of the six."""
        return f"redis+cluster://{self.nodes[0].address},{self.nodes[4].address}"

    def start(self) -> None:
        """Start all, join them, and return when every node sees a whole cluster."""
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            wait_until(partial(node.ask, "PING"), "a node answers")
        first, ids = self.nodes[0], [node.ask("CLUSTER", "MYID") for node in self.nodes]
        for number, node in enumerate(self.nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if node is not first:
                node.ask("CLUSTER", "MEET", "127.0.0.1", first.port, first.bus)
        for number, node in enumerate(self.nodes[:3]):
            node.ask("CLUSTER", "ADDSLOTSRANGE", SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1)
        for number, node in enumerate(self.nodes[3:]):
            replicate = partial(node.ask, "CLUSTER", "REPLICATE", ids[number])
            wait_until(replicate, "a replica knows its primary")
        wait_until(self.whole, "the cluster is whole")

    def whole(self) -> bool:
        """True when each node sees all slots served, and each primary has its replica."""
        for node in self.nodes:
            state = node.ask("CLUSTER INFO")
            if state["cluster_state"] != "ok" or state["cluster_slots_ok"] != str(SLOTS):
                return False
            known = node.ask("CLUSTER NODES")
            if len(known) != len(self.nodes) or any("fail" in n["flags"] for n in known.values()):
                return False
        return all(node.ask("WAIT", 1, 1000) == 1 for node in self.primaries())

    def primaries(self) -> list[Node]:
        """The nodes that have slots, by what the first that answers says."""
        for node in self.nodes:
            with contextlib.suppress(redis.RedisError):
                owned = {
                    int(address.partition("@")[0].rpartition(":")[2])
                    for address, each in node.ask("CLUSTER NODES").items()
                    if "master" in each["flags"] and each["slots"]
                }
                return [node for node in self.nodes if node.port in owned]
        raise AssertionError("no node answers")

    def owner(self, slot: int) -> Node:
        """The primary that has a slot, by its own word.

        Raises:
            redis.ConnectionError: none says so, as yet.
        """
        for node in self.nodes:
            with contextlib.suppress(redis.RedisError):
                for address, each in node.ask("CLUSTER NODES").items():
                    mine = "myself" in each["flags"] and "master" in each["flags"]
                    if mine and any(int(s[0]) <= slot <= int(s[-1]) for s in each["slots"]):
                        assert address.partition("@")[0].endswith(f":{node.port}")
                        return node
        raise redis.ConnectionError(f"nobody has slot {slot}")

    def move(self, slot: int, to: Node, at_once: int = 100) -> None:
        """Move a slot as resharding tools do: so many keys at once, and then tell all."""
        source = self.owner(slot)
        source_id, target_id = (node.ask("CLUSTER", "MYID") for node in (source, to))
        to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, at_once):
            source.ask("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        for node in (to, source, *(n for n in self.primaries() if n not in (to, source))):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def move_by_key(self, slot: int, to: Node) -> None:
        """The same, key by key: one of a conversation's may be here and the next one there."""
        self.move(slot, to, 1)

    def move_at_once(self, slot: int, to: Node) -> None:
        """Move a slot in one step, as Valkey 9 can, and return when it is there."""
        source, target_id = self.owner(slot), to.ask("CLUSTER", "MYID")
        source.ask("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target_id)
        wait_until(lambda: self.owner(slot) is to, "the slot has moved")

    def flush(self) -> None:
        """Empty it."""
        for node in self.primaries():
            node.ask("FLUSHALL")

    def close(self) -> None:
        """End every process."""
        for node in self.nodes:
            node.kill()


@contextlib.contextmanager
def cluster(
    folder: Path, options: dict[str, str] | None = None, binary: str | None = None
) -> Iterator[RedisCluster]:
    """A `RedisCluster`, started."""
    found = RedisCluster(folder, options or {}, binary)
    try:
        found.start()
        yield found
    finally:
        found.close()
