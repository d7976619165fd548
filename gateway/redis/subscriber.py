"""Sharded pub/sub for a process, on a connection of its own to each primary.

Pub/sub is at most once. A subscriber must therefore be ready to read the inbox, on any hole in the
numbers and after every reconnect (`on_up`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, Protocol

import hiredis
import structlog

from gateway.redis.connection import RedisConnection, pack
from gateway.redis.errors import Unavailable
from gateway.redis.reasons import words_of
from gateway.redis.servers import Server
from gateway.tasks import Tasks

BATCH: Final = 500
"""Channels in one SSUBSCRIBE."""

_log = structlog.get_logger()


class ChannelListener(Protocol):
    """Who asks for channels."""

    def heard(self, channel: bytes, payload: bytes) -> None:
        """Take what was published: all of a channel in its order, at once. May not block.

        If it raises, the channel has missed something: `on_missed` tells of it.
        """


class Subscriber(ABC):
    """Hears channels, whatever kind of Redis they are on.

    `up` is True while all of them are heard. `on_up` is called when something may have been missed
    on any of them, `on_missed` when on these alone: they were heard elsewhere meanwhile, or their
    listener failed.
    """

    up: bool
    on_up: Callable[[], None] | None
    on_missed: Callable[[Collection[bytes]], None] | None = None

    @abstractmethod
    async def start(self) -> None:
        """Connect, and keep connecting until it works."""

    @abstractmethod
    async def aclose(self) -> None:
        """Hear nothing more."""

    @abstractmethod
    def subscribe(self, channel: str, listener: ChannelListener) -> asyncio.Future[None]:
        """Have `listener` hear `channel` from now on, and nobody else; the future is done once
        Redis has confirmed it.

        It is done too when the channel is unsubscribed before that. While Redis is away the future
        waits for its return; give it a deadline.
        """

    @abstractmethod
    def unsubscribe(self, channel: str) -> None:
        """Stop hearing `channel`."""


class _Asked:
    """A command that Redis has not answered in full: it answers channel by channel."""

    __slots__ = ("channels", "left", "verb")

    def __init__(self, verb: str, channels: frozenset[bytes]) -> None:
        self.verb = verb
        self.channels = channels
        self.left = len(channels) or 1


class NodeSubscriber(RedisConnection, Subscriber):
    """Hears the channels of one server."""

    def __init__(self, server: Server, tasks: Tasks) -> None:
        super().__init__(server, "subscriber", tasks)
        self._wanted: dict[bytes, ChannelListener] = {}
        self._asked: set[bytes] = set()
        self._unconfirmed: dict[bytes, int] = {}  # SSUBSCRIBEs of a channel not confirmed yet
        self._changed: set[bytes] = set()
        self._changing = False
        self._waiters: dict[bytes, list[asyncio.Future[None]]] = {}
        self._line: deque[_Asked] = deque()
        self._greeting: list[asyncio.Future[None]] = []
        self._refusal = ""  # why the last connection was given up, in the server's words
        self._failed: set[bytes] = set()  # channels whose listener has failed in this turn

    def subscribe(self, channel: str, listener: ChannelListener) -> asyncio.Future[None]:
        """Have `listener` hear `channel`; the future is done once Redis has confirmed it."""
        name = channel.encode()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wanted[name] = listener
        if self.up and name in self._asked and name not in self._unconfirmed:
            future.set_result(None)
            return future
        self._waiters.setdefault(name, []).append(future)
        self._change(name)
        return future

    def unsubscribe(self, channel: str) -> None:
        """Stop hearing `channel`."""
        name = channel.encode()
        self._wanted.pop(name, None)
        self._change(name)
        self._release(name)  # or a waiter of each client that left early would stay for ever

    def _change(self, name: bytes) -> None:
        """Tell Redis at the end of this turn of the loop, with all other changes."""
        self._changed.add(name)
        if not self._changing:
            self._changing = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._changing = False
        changed, self._changed = self._changed, set()
        if self._transport is None:
            return  # the next greeting asks for all that is wanted
        self._send("SSUBSCRIBE", [c for c in changed if c in self._wanted and c not in self._asked])
        gone = [c for c in changed if c not in self._wanted and c in self._asked]
        self._asked.difference_update(gone)
        self._send("SUNSUBSCRIBE", gone)

    def _send(self, verb: str, channels: list[bytes]) -> None:
        for batch in self._batches(channels):
            self._line.append(_Asked(verb, frozenset(batch)))
            if verb == "SSUBSCRIBE":
                self._asked.update(batch)
                for channel in batch:
                    self._unconfirmed[channel] = self._unconfirmed.get(channel, 0) + 1
            self._write(pack((verb, *batch)))

    def _batches(self, channels: list[bytes]) -> Iterator[list[bytes]]:
        """What may stand in one command."""
        for start in range(0, len(channels), BATCH):
            yield channels[start : start + BATCH]

    # -- RedisConnection ---------------------------------------------------------------------

    async def _greet(self) -> None:
        loop = asyncio.get_running_loop()
        confirmed = []
        for channel in self._wanted:
            future: asyncio.Future[None] = loop.create_future()
            self._waiters.setdefault(channel, []).append(future)
            confirmed.append(future)
        self._refusal = ""
        self._greeting = confirmed
        self._send("SSUBSCRIBE", list(self._wanted))
        await asyncio.gather(*confirmed)

    def _on_reply(self, reply: Any) -> None:
        if isinstance(reply, list) and reply[0] == b"smessage":
            # Until all channels are back, `on_up` has not told anyone that something was missed.
            if self.up and (listener := self._wanted.get(reply[1])) is not None:
                try:
                    listener.heard(reply[1], reply[2])
                except Exception as error:  # noqa: BLE001 - or the others would lose the connection
                    _log.error("listener_failed", exc_info=error)
                    self._fail(reply[1])
            return
        if isinstance(reply, hiredis.ReplyError):
            self._refused(str(reply))
            return
        told = reply if isinstance(reply, list) else [reply]
        if told[0] == b"sunsubscribe" and not self._is_answer(told[1]):
            self._taken(told[1])
            return
        asked = self._line[0]
        asked.left -= 1
        if asked.left == 0:
            self._line.popleft()
        if told[0] == b"ssubscribe":
            self._confirmed(told[1])

    def _fail(self, channel: bytes) -> None:
        """The listener of `channel` has lost what was published: say so after this turn, once."""
        if not self._failed:
            self._loop.call_soon(self._tell_of_failed)
        self._failed.add(channel)

    def _tell_of_failed(self) -> None:
        failed, self._failed = self._failed, set()
        if self.up and self.on_missed is not None:  # else `on_up` tells of all channels
            self.on_missed(failed)

    def _is_answer(self, channel: bytes) -> bool:
        """False where Redis unsubscribed it by itself, as its slot went elsewhere."""
        if not self._line:
            return False
        return self._line[0].verb == "SUNSUBSCRIBE" and channel in self._line[0].channels

    def _taken(self, channel: bytes) -> None:
        """Redis has unsubscribed `channel` by itself."""
        _log.error("redis_unsubscribed")
        self.abort()

    def _refused(self, reply: str) -> None:
        """Redis answers what stands first in the line with an error."""
        self._refusal = words_of(reply)
        _log.error("redis_refused_subscription", reply=self._refusal)
        self.abort()

    def _confirmed(self, channel: bytes) -> None:
        left = self._unconfirmed.pop(channel) - 1
        if left > 0:  # unsubscribed and subscribed again: the last confirmation is the one
            self._unconfirmed[channel] = left
        else:
            self._release(channel)

    def _release(self, channel: bytes) -> None:
        for future in self._waiters.pop(channel, ()):
            if not future.done():
                future.set_result(None)

    def owed(self) -> bool:
        return bool(self._line)

    def _forget(self) -> None:
        # Waiters stay: the next greeting confirms them. This one has failed.
        greeting, self._greeting = self._greeting, []
        for future in greeting:
            if not future.done():
                future.set_exception(Unavailable("connection_lost", detail=self._refusal))
        self._asked.clear()
        self._unconfirmed.clear()
        self._line.clear()

    def _prod(self) -> None:
        if not self._line:
            self._line.append(_Asked("PING", frozenset()))
            self._write(pack(("PING",)))
