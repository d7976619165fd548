"""From a conversation to the inboxes of those it is for.

One script for each bucket adds references to a message. A reference that is missing below a new one
is added with it, so a fan-out that was cut off heals with the next message, with a repeat, or by
the sweeper, which finds the conversation in the due list until `Fanout.settle` has said that
everyone has their reference.

Times are milliseconds since 1970. Every method may raise, or put into its future, `Unavailable` or
`CommandFault`.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any, Final, NamedTuple

import structlog
from homeport.ids import peer_of
from homeport.limits import DEDUPE_WINDOW_MS

from gateway.apps.tiers import Tier
from gateway.redis.connection import together, words_of
from gateway.redis.errors import Unavailable
from gateway.redis.link import Link, Then
from gateway.store import recipients
from gateway.store.entries import NewEntry
from gateway.store.hook_queue import ABSENT, argument
from gateway.store.keys import Keys
from gateway.store.recipients import Recipients
from gateway.store.scripts import script
from gateway.store.storage import Storage, message_bytes
from gateway.store.stored import time_of

_log = structlog.get_logger()

_REFERENCES: Final = script("references", "mended", "shed", "happened", "refer_all", "refer")
_REFERENCES_FULL: Final = script(
    "references_full", "mended", "shed", "happened", "refer_all", "refer"
)
_SETTLED: Final = script("settled", "stored", "head")

TAKEOVER_MS: Final = 20_000
"""After which the sweeper makes sure that everyone has a reference, if `settle` has not said so."""

PLACE_SIZE: Final = 24
"""Of what a script says of a message's place (PLACE in lua/head.lua), in bytes."""

AT_ONCE: Final = 32
"""Buckets to which an app's large fan-outs go at once. All 256 of a group of a thousand are 30 ms
of Redis, for which everybody else would wait; these are 3."""

_LIMITS: Final = struct.Struct(">IHI4s")


class Placed(NamedTuple):
    """A message that its conversation has numbered and kept.

    `place` is what the conversation's script says of its place, `value` the stored message,
    `sender` its author's id, "" where that is the server, None where nobody knows; `epoch`
    (4 bytes) that of an inbox which begins with it, `event` what webhooks are told of it
    (`NewEntry`).
    """

    place: bytes
    value: bytes
    sender: str | None
    epoch: bytes
    event: bytes = b""


Step = tuple[Then, bytes, int, bool]
"""Who gets the answer, the command, its bucket, and whether it is durable."""


class _Line:
    """One app's large fan-outs in this process: they go in their order, a few buckets at once.
    `over` is called when none is left."""

    __slots__ = ("_going_on", "_link", "_open", "_over", "_waiting")

    def __init__(self, link: Link, over: Callable[[], object]) -> None:
        self._link = link
        self._over = over
        self._waiting: deque[Iterator[Step]] = deque()
        self._open = 0
        self._going_on = False

    def add(self, steps: Iterator[Step]) -> None:
        """Go through `steps` behind all that was added before."""
        self._waiting.append(steps)
        self._go_on()

    def _go_on(self) -> None:
        if self._going_on:  # a Redis that is away answers at once, while this asks
            return
        self._going_on = True
        while self._waiting and self._open < AT_ONCE:
            step = next(self._waiting[0], None)
            if step is None:
                self._waiting.popleft()
                continue
            then, command, bucket, durable = step
            self._open += 1
            self._link.run_packed(partial(self._answered, then), command, bucket, durable=durable)
        self._going_on = False
        if not self._waiting and not self._open:
            self._over()

    def _answered(self, then: Then, reply: Any) -> None:
        self._open -= 1
        then(reply)
        self._go_on()


class _Settling(NamedTuple):
    """Everyone has a reference to number `seq` of a conversation's `epoch` (4 bytes), which is of
    `time_ms`."""

    to: Recipients
    seq: int
    time_ms: int
    retention_ms: int
    epoch: bytes


class Fanout:
    """Refers inboxes to messages, and remembers which of them everyone has."""

    def __init__(self, link: Link, keys: Keys, storage: Storage) -> None:
        self._link = link
        self._keys = keys
        self._storage = storage
        self.evictions = 0
        """References that made room for others because an inbox held its tier's cap."""
        self.lost_keys = 0
        """How often a key was found gone that nothing had removed."""
        self._settling: dict[str, _Settling] = {}
        self._epochs = count(secrets.randbits(32))
        self._lines: dict[str, _Line] = {}

    def refer(
        self,
        app_id: str,
        tier: Tier,
        to: Recipients,
        message: Placed,
        future: asyncio.Future[Any],
        result: Any,
        *,
        full: bool = False,
    ) -> None:
        """Refer the inboxes of all other buckets to a message; then `future` has `result`.

        A message to many of them takes its turn behind those of its app that were begun before.
        """
        left = len(to.parts)
        place, value, sender, epoch, event = message

        def all_have_it() -> None:
            seq, its_epoch = int.from_bytes(place[:4], "big"), place[4:8]
            known = self._settling.get(to.keys.head)
            if known is None or known.seq <= seq or known.epoch != its_epoch:
                made = _Settling(to, seq, time_of(value), tier.retention_ms, its_epoch)
                self._settling[to.keys.head] = made
            done(future, result)

        def placed(reply: Any) -> None:
            nonlocal left
            left -= 1
            if isinstance(reply, Exception):
                fail(future, reply)
                return
            if reply:
                self.note(*reply[:2])
                self.grew(app_id, tier, to, sender or "", len(value), reply[2:])
            if left == 0 and not future.done():
                all_have_it()

        if not to.parts:
            all_have_it()
            return
        sha = (_REFERENCES_FULL if full else _REFERENCES).sha
        limits = _LIMITS.pack(tier.inbox_cap, *two_fields(tier.retention_ms), epoch)
        author = "?" if sender is None else f"{app_id}:{sender}"
        said = words_of(place, value, limits, author, b"")
        tells = bool(event) and event[0] & ABSENT

        def steps() -> Iterator[Step]:
            for part in to.parts:
                told = said
                if tells:
                    noted = argument(event, epoch, self._link.run_of(part.bucket))
                    told = words_of(place, value, limits, author, noted)
                begin = words_of("EVALSHA", sha, part.names.number)
                yield placed, together(begin, part.names, told, part.arguments), part.bucket, True

        self.go(app_id, steps(), len(to.parts))

    def go(self, app_id: str, steps: Iterator[Step], count: int) -> None:
        """Go through `count` steps of an app: at once, or in its line where they are many."""
        if count > AT_ONCE:
            line = self._lines.get(app_id)
            if line is None:
                line = _Line(self._link, partial(self._lines.pop, app_id))
                self._lines[app_id] = line
            line.add(steps)
            return
        for then, command, bucket, durable in steps:
            self._link.run_packed(then, command, bucket, durable=durable)

    async def tell(
        self,
        app_id: str,
        tier: Tier,
        to: Recipients,
        said: bytes,
        sender: str | None,
        epoch: bytes,
        *,
        full: bool,
    ) -> None:
        """Refer everyone to a message, those whose inboxes lie beside the conversation too.

        `said` is its PLACE (lua/head.lua) and the stored message."""
        message = Placed(said[:PLACE_SIZE], said[PLACE_SIZE:], sender, epoch)
        everywhere = self.everywhere(app_id, to)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.refer(app_id, tier, everywhere, message, future, None, full=full)
        await future

    def numbering(self, message_id: bytes, bucket: int) -> tuple[bytes, bytes]:
        """What a script that adds to a conversation is told, 4 bytes each: the epoch of what this
        message begins, as good as random, and the run of the server that has the bucket."""
        # A repeat must not come to the epoch that it began before: that one may be lost.
        run = int(self._link.run_of(bucket) or "0", 16)
        epoch = int.from_bytes(message_id[:4], "big") ^ next(self._epochs) & 0xFFFFFFFF
        return epoch.to_bytes(4, "big"), run.to_bytes(4, "big")

    def note(self, evicted: int, keys: int) -> None:
        """A script said that so many references made room, and so many keys were gone."""
        self.evictions += evicted
        if keys:
            self.lost_keys += keys
            _log.error("redis_lost_keys", keys=keys)

    def numbered(
        self, app_id: str, tier: Tier, to: Recipients, message: NewEntry, said: tuple[Any, ...]
    ) -> None:
        """Count what the conversation's script said: whether the message is new, its number,
        references dropped, keys gone, and the numbers of `grew`."""
        new, seq, dropped, gone, grown = said
        self.note(dropped, gone)
        self._storage.answered(app_id, tier, message, new=new, first=seq == 1)
        if any(grown):
            self.grew(app_id, tier, to, message.sender, len(message.record), grown)

    def grew(
        self,
        app_id: str,
        tier: Tier,
        to: Recipients,
        sender: str,
        size: int,
        grown: Sequence[int],
    ) -> None:
        """A script said how many bytes of references there are more for users who are away, how
        many for users who have never connected, and how many of these there are (refer.lua). A
        message of `size` bytes is for all but its sender in equal parts."""
        away, strange, strangers = grown
        if away + strange:
            self._storage.written(app_id, tier, sender, away + strange)
        if strangers:
            others = len(to.here) // 3 + sum(part.names.number // 3 for part in to.parts) - 1
            share = message_bytes(size) * strangers // max(1, others)
            self._storage.for_strangers(app_id, tier, sender, strange + share)

    async def settle(self, now_ms: int) -> None:
        """Say of which conversations everyone has their references, so that nobody looks after
        them.

        To be called every few seconds. What fails is left to the sweeper, which then finds that
        nothing is owed.
        """
        settling, self._settling = self._settling, {}
        buckets: dict[tuple[int, int], list[_Settling]] = {}
        for each in settling.values():
            buckets.setdefault((each.to.keys.bucket, each.retention_ms), []).append(each)
        calls = []
        for (_, retention_ms), found in buckets.items():
            names = [found[0].to.keys.due]
            arguments: list[str | int | bytes] = []
            for to, seq, time_ms, _, epoch in found:
                names += (to.keys.head, to.state or to.keys.head)
                arguments += (to.keys.member, seq, time_ms, epoch, to.version)
            calls.append(
                self._link.run(
                    _SETTLED,
                    tuple(names),
                    now_ms + TAKEOVER_MS,
                    retention_ms,
                    DEDUPE_WINDOW_MS,
                    *arguments,
                )
            )
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, Unavailable):
                _log.error("settle_failed", reason=type(result).__name__, exc_info=result)

    def everywhere(self, app_id: str, to: Recipients) -> Recipients:
        """The same, with those who have their inboxes beside the conversation among the parts."""
        if not to.here:
            return to
        conversation = to.keys.member.partition(":")[2]
        users = [member.partition(":")[2] for member in to.here_arguments[::2]]
        parts = [
            recipients.part(
                to.keys.bucket,
                "",
                [(self._keys.inbox(app_id, user), peer_of(user, conversation)) for user in users],
            )
        ]
        return to._replace(here=(), here_arguments=(), parts=(*to.parts, *parts))


def two_fields(value: int) -> tuple[int, int]:
    """What `struct` needs for a number of 6 bytes."""
    return value >> 32, value & 0xFFFFFFFF


def done(future: asyncio.Future[Any], result: Any) -> None:
    """Give `future` its result, unless nobody waits any more."""
    if not future.done():
        future.set_result(result)


def fail(future: asyncio.Future[Any], error: Exception) -> None:
    """Give `future` an error, unless nobody waits any more."""
    if not future.done():
        future.set_exception(error)
