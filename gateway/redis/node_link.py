"""The link to one server: commands go out in one write for each turn of the loop.

Answers come in the order of the commands. What a server is held against on each connect, and looked
at for meanwhile, is asked over the same connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import hiredis
import structlog

from gateway.redis import rights
from gateway.redis.connection import RedisConnection, lost, pack
from gateway.redis.errors import (
    FORBIDDEN,
    CommandFault,
    IsCluster,
    MissingRights,
    NotDurable,
    NotReplicated,
    OperationFailed,
    Unavailable,
)
from gateway.redis.guard import Call, Guard
from gateway.redis.link import MAX_PENDING, Link, Then, settle
from gateway.redis.promises import DURABILITY, Condition, Promises, look, problem
from gateway.redis.reasons import PASSING, words_of
from gateway.redis.scripts import SCRIPTS
from gateway.redis.servers import Server
from gateway.tasks import Tasks

BARRIER_TIMEOUT_MS: Final = 1000
"""How long replicas may take to confirm a batch of writes."""

_log = structlog.get_logger()

_MOVING: Final = "ttempted to access a non local key"
"""What Redis says of a script whose keys are not all here while their slot moves."""

_FORBIDDEN: Final = ("ERR ACL failure in script", "ERR The user executing the script can't")
"""How Valkey, and Redis, begin what is NOPERM outside a script."""

_RECONNECT: Final = frozenset({"READONLY", "NOSCRIPT", "MASTERDOWN"})
"""Those that the next connection mends: a demoted primary, scripts that were flushed."""


class _Held:
    """A durable command's answer, kept back until the replicas have confirmed its batch."""

    __slots__ = ("reply", "then")

    def __init__(self, then: Then) -> None:
        self.then = then
        self.reply: Any = None


class _Barrier:
    """Stands for a WAIT in the line of answers; releases those held before it.

    There is one at a time: each may take its whole timeout, and Redis does nothing else for us
    meanwhile, so a line of them would hold everything up for as many seconds.
    """

    __slots__ = ("held",)

    def __init__(self, held: list[_Held]) -> None:
        self.held = held


class NodeLink(RedisConnection, Link):
    """The link to one server.

    `guard` looks at the server on every connect, so that a failover to a wrong one is caught too,
    and each second, in case it was emptied. A server that breaks one of `promises` is sent
    nothing durable.
    """

    def __init__(
        self,
        server: Server,
        guard: Guard,
        tasks: Tasks,
        promises: Promises = Promises(),  # noqa: B008 - it is frozen
    ) -> None:
        super().__init__(server, "link", tasks)
        self._guard = guard
        self.on_greet = None
        self._promises = promises
        self._replicas = promises.replicas
        self._condition: Condition | None = None
        self._broken = ""
        self._may_look: frozenset[str] = frozenset()
        self._allowed = False  # our user has been found to have its rights
        self._left: Unavailable | None = None  # the answer that this connection was given up for
        self._pending: deque[Then | _Held | _Barrier] = deque()
        self._held: list[_Held] = []
        self._barrier: _Barrier | None = None

    @property
    def queued(self) -> int:
        """How many commands wait for their answer."""
        return len(self._pending)

    def everywhere(self, *command: str | bytes | int) -> list[asyncio.Future[Any]]:
        """Send a command without a key to every primary; one future per primary."""
        return [self.call(*command)]

    @property
    def conditions(self) -> list[Condition]:
        """What the server reported of its settings when it was last looked at."""
        return [] if self._condition is None else [self._condition]

    def run_of(self, bucket: int) -> str:
        """Which run of the server has a bucket; one server has all of them."""
        return "" if self._condition is None else self._condition.run

    def places(self) -> list[int]:
        """One bucket on each primary that has any."""
        return [0]

    def run_packed(self, then: Then, command: bytes, bucket: int, *, durable: bool) -> None:
        """Send a packed command for `bucket`, and hand the answer to `then`."""
        self._send(then, command, bucket, durable)

    def _send(self, then: Then, command: bytes, key: str | bytes | int, durable: bool) -> None:
        if not self.up:
            then(self.failure or Unavailable("not_connected"))
        else:
            self._ask(then, command, durable)

    def _ask(self, then: Then, command: bytes, durable: bool = False) -> None:
        if len(self._pending) >= MAX_PENDING:
            then(Unavailable("busy", retry_after=2.0))
            return
        if durable and self._broken:
            then(Unavailable(self._broken))
            return
        if durable and self._replicas:
            held = _Held(then)
            self._held.append(held)
            self._pending.append(held)
        else:
            self._pending.append(then)
        self._write(command)

    # -- RedisConnection ---------------------------------------------------------------------

    async def _greet(self) -> None:
        def ask(*command: str | bytes | int) -> asyncio.Future[Any]:
            future: asyncio.Future[Any] = self._loop.create_future()
            if self._left is not None or self._lost.is_set():
                # An answer before was a reason to leave: to nothing more there is an answer.
                future.set_exception(self._left or lost(self._server))
            else:
                self._ask(partial(settle, future), pack(command))
            return future

        self._allowed, self._left = False, None
        await asyncio.gather(*(ask("SCRIPT", "LOAD", script.text) for script in SCRIPTS.values()))
        await self._check_rights(ask)
        self._allowed = True
        if self.on_greet is not None:
            await self.on_greet(ask, self._place())
        await self._check_server(ask)
        first = self._condition is None
        condition = await self._look(ask)
        if first and self._broken == DURABILITY:
            raise NotDurable(problem(DURABILITY, condition))

    def _place(self) -> int | None:
        """A bucket that lies on this server."""
        return 0

    async def look(self) -> None:
        """Look again at each server's settings and at our user's rights."""
        try:
            await self._check_rights(self.call)
        except (MissingRights, CommandFault):  # NOPERM, where it is the right to ask
            self.abort()  # each connect names them, until they are given back
        else:
            await self._look(self.call)

    async def _look(self, ask: Call) -> Condition:
        condition = await look(ask, self._may_look)
        before, self._condition = self._condition, condition
        for name in ("append_only", "append_fsync", "eviction", "log_written", "saved"):
            value = getattr(condition, name)
            if before is not None and value != getattr(before, name):
                _log.warning("redis_changed", what=name, value=value, was=getattr(before, name))
        broken = self._promises.broken(condition)
        if broken and broken != self._broken:
            _log.error("redis_breaks_promise", promise=broken, problem=problem(broken, condition))
        elif self._broken and not broken:
            _log.info("redis_keeps_promise", promise=self._broken)
        self._broken = broken
        return condition

    async def _check_rights(self, ask: Call) -> None:
        """Whether our user may do what a gateway does, before something is half done."""
        url = self._server.url
        needed = self._guard.needed(replicas=self._replicas > 0, cluster=url.kind == "cluster")
        names = rights.missing(needed, await self._refused(ask, [each.words for each in needed]))
        if names:
            raise MissingRights(url.login.user or "default", ", ".join(names))
        kept = {int(place) - 1 for place in await self._refused(ask, rights.LOOKING)}
        self._may_look = frozenset(
            words[0] for place, words in enumerate(rights.LOOKING) if place not in kept
        )

    async def _refused(self, ask: Call, commands: Sequence[Sequence[str]]) -> Any:
        return await ask("EVALSHA", rights.RIGHTS.sha, 0, *rights.arguments(commands))

    async def _check_server(self, ask: Call) -> None:
        """Whether it is the server that it should be."""
        hello = await ask("HELLO", 2)
        if dict(zip(hello[::2], hello[1::2], strict=True)).get(b"mode") == b"cluster":
            raise IsCluster
        await self._guard.admit(ask)

    def _flush(self) -> None:
        if self._held and self._barrier is None:
            self._barrier = _Barrier(self._held)
            self._held = []
            self._pending.append(self._barrier)
            self._out.append(pack(("WAIT", self._replicas, BARRIER_TIMEOUT_MS)))
        super()._flush()

    def _on_reply(self, reply: Any) -> None:
        waiter = self._pending.popleft()
        if isinstance(reply, hiredis.ReplyError):
            reply = self._error(reply)
        if isinstance(waiter, _Held):
            waiter.reply = reply
        elif isinstance(waiter, _Barrier):
            self._release(waiter, reply)
        else:
            waiter(reply)

    def _release(self, barrier: _Barrier, reply: Any) -> None:
        self._barrier = None
        if self._held and not self._flushing:
            self._flush()
        have = reply if isinstance(reply, int) else 0
        for held in barrier.held:
            done = not isinstance(held.reply, OperationFailed)
            short = done and have < self._replicas
            held.then(NotReplicated(have, held.reply) if short else held.reply)

    def _error(self, reply: hiredis.ReplyError) -> OperationFailed:
        # Only the first word: the rest of a script's error may quote keys.
        text = str(reply)
        word = "NOPERM" if text.startswith(_FORBIDDEN) else text.split(" ", 1)[0]
        if _MOVING in text:
            word = "TRYAGAIN"
        if word == "NOPERM" and not self._allowed:
            return Unavailable(FORBIDDEN, detail=words_of(text))
        if word in PASSING:
            detail = f"{self._server.place}: {word} {PASSING[word]}"
            passing = Unavailable(word.lower(), detail=detail)
            if word in _RECONNECT:
                self._left = passing
                self.abort()
            return passing
        if word == "NOPERM":
            detail = words_of(text)  # no key in it
            _log.error("redis_refused_command", reply=word, detail=detail)
            return CommandFault(word, detail)
        _log.error("redis_refused_command", reply=word)
        return CommandFault(word)

    def owed(self) -> bool:
        return bool(self._pending)

    def _forget(self) -> None:
        gone = lost(self._server)
        pending, self._pending = self._pending, deque()
        held, self._held = self._held, []
        barrier, self._barrier = self._barrier, None
        if barrier is not None:
            held = [*barrier.held, *held]  # these may have left the line, answered but not released
        for durable in held:
            durable.then(gone)
        for waiter in pending:
            if not isinstance(waiter, _Held | _Barrier):  # the first stand among `held` too
                waiter(gone)

    def _prod(self) -> None:
        if self._is_guarded():
            question = pack(self._guard.question)
            self._send(self._answered, question, self._guard.key, durable=False)
        elif not self._pending:
            # Nobody waits for it; if it is lost, asyncio need not say so.
            self.call("PING").add_done_callback(asyncio.Future.exception)

    def _is_guarded(self) -> bool:
        """True where this server should have the guard's key."""
        return True

    def _answered(self, reply: Any) -> None:
        """Emptied under our feet (FLUSHALL): the next connect says so, and keeps off it."""
        if not isinstance(reply, OperationFailed) and not self._guard.holds(reply):
            self.abort()
