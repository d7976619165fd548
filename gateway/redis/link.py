"""The pipelined link: every command of a process goes through one connection to each primary.

`call` costs no round trip of its own: commands of one turn of the loop leave in one write, and each
gets a future. Answers come in the order of the commands, which is what keeps a sender's messages in
order on their way to the inbox.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from gateway.redis.connection import pack
from gateway.redis.errors import OperationFailed, Unavailable, WrongServer
from gateway.redis.guard import Call
from gateway.redis.promises import LOOK_EVERY_S, Condition
from gateway.redis.scripts import Script

MAX_PENDING: Final = 20_000
"""Commands in flight past which the link says it is busy, rather than queue in memory."""

Then = Callable[[Any], None]
"""Takes the answer to one command: what Redis replied, or an `OperationFailed`. Must not raise."""


class Link(ABC):
    """The process' commands to Redis, whatever kind of Redis it is.

    `up` is True while all of it may be asked; `on_up` is called each time something that was away
    is back. Where the configured durability is `replica`, every durable call waits until as many
    replicas have the write (Redis WAIT).
    """

    on_greet: Callable[[Call, int | None], Awaitable[None]] | None
    """Called on each new connection to a server, before the guard looks at it, with a bucket that
    lies there; None: there is none."""
    up: bool
    on_up: Callable[[], None] | None
    refused: WrongServer | Unavailable | None
    """Why the Redis that answers is not used, while that is so: it is the wrong one or a replica,
    or our user lacks rights."""

    @abstractmethod
    async def start(self) -> None:
        """Connect, and keep connecting until it works.

        Raises:
            WrongServer, NotDurable: this Redis must not be used.
        """

    @abstractmethod
    async def connect(self) -> None:
        """Connect once, for a command that a person waits for: what is lost does not come back.

        Of a cluster, primaries that are away fail what is asked of them, and say why.

        Raises:
            Unavailable, RedisRefused, WrongServer: it can't be used, and why.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connections. Commands that were not answered fail with `Unavailable`."""

    @abstractmethod
    def everywhere(self, *command: str | bytes | int) -> list[asyncio.Future[Any]]:
        """Send a command without a key to every primary; a future for each."""

    @abstractmethod
    async def look(self) -> None:
        """Look again at each server's settings and at our user's rights.

        A server whose settings break a promise gets nothing durable until they are corrected. A
        server that has taken a right from our user is disconnected; connecting again waits until
        the user has the right.

        Raises:
            Unavailable: a server is away; the next connect looks.
        """

    async def keep_looking(self) -> None:
        """`look` every `LOOK_EVERY_S`. Never returns."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with contextlib.suppress(Unavailable):  # the next connect looks
                await self.look()

    @property
    @abstractmethod
    def conditions(self) -> list[Condition]:
        """What each primary reported of its settings when it was last looked at."""

    @abstractmethod
    def places(self) -> list[int]:
        """One bucket on each primary that has any."""

    @abstractmethod
    def run_of(self, bucket: int) -> str:
        """Which run of which server has a bucket (`Condition.run`).

        Where it is another than before, the server may have come back older than it was.
        """

    @property
    @abstractmethod
    def queued(self) -> int:
        """How many commands wait for their answer."""

    def call(self, *command: str | bytes | int, durable: bool = False) -> asyncio.Future[Any]:
        """Send one command, whose first argument is a key, and get a future of its answer.

        `durable` asks for the configured durability before the answer counts. The future raises
        `Unavailable` when Redis is away, busy, or goes away before it answers, and `CommandFault`
        when it refuses the command.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        key = command[1] if len(command) > 1 else ""
        self._send(partial(settle, future), pack(command), key, durable)
        return future

    def run(
        self,
        script: Script,
        keys: tuple[str, ...],
        *arguments: str | bytes | int,
        durable: bool = False,
    ) -> asyncio.Future[Any]:
        """Call one of `SCRIPTS`, and get a future of its answer.

        All keys and channels of it lie in one bucket. `durable`, and what the future raises, are
        those of `call`.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.run_then(partial(settle, future), script, keys, *arguments, durable=durable)
        return future

    def run_then(
        self,
        then: Then,
        script: Script,
        keys: tuple[str, ...],
        *arguments: str | bytes | int,
        durable: bool = False,
    ) -> None:
        """Call one of `SCRIPTS`, and hand the answer to `then`: at once, if Redis is away."""
        command = pack(("EVALSHA", script.sha, len(keys), *keys, *arguments))
        self._send(then, command, keys[0], durable)

    @abstractmethod
    def run_packed(self, then: Then, command: bytes, bucket: int, *, durable: bool) -> None:
        """Send a command packed before (`words_of`, `together`); the answer goes to `then`.

        All its keys lie in `bucket`.
        """

    def publish(self, channel: str, payload: bytes) -> asyncio.Future[Any]:
        """Publish to `channel`; the answer does not say how many subscribers there are."""
        return self.call("SPUBLISH", channel, payload)

    @abstractmethod
    def _send(self, then: Then, command: bytes, key: str | bytes | int, durable: bool) -> None:
        """Send a packed command to the primary with `key`; the answer goes to `then`."""


def settle(future: asyncio.Future[Any], reply: Any) -> None:
    """Put the answer to a command into its future."""
    if future.done():  # its caller was cancelled
        return
    if isinstance(reply, OperationFailed):
        future.set_exception(reply)
    else:
        future.set_result(reply)
