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
import struct
from typing import Any, Final, NamedTuple

import structlog
from homeport.ids import peer_of
from homeport.limits import DEDUPE_WINDOW_MS

from gateway.apps.tiers import Tier
from gateway.redis.connection import together, words_of
from gateway.redis.errors import Unavailable
from gateway.redis.link import Link
from gateway.store import recipients
from gateway.store.keys import Keys
from gateway.store.recipients import Recipients
from gateway.store.scripts import script
from gateway.store.stored import time_of

_log = structlog.get_logger()

_REFERENCES: Final = script("references", "mended", "shed", "refer_all", "refer")
_REFERENCES_FULL: Final = script("references_full", "mended", "shed", "refer_all", "refer")
_SETTLED: Final = script("settled", "stored", "head")

TAKEOVER_MS: Final = 20_000
"""After which the sweeper makes sure that everyone has a reference, if `settle` has not said so."""

PLACE_SIZE: Final = 24
"""Of what a script says of a message's place (PLACE in lua/head.lua), in bytes."""

_LIMITS: Final = struct.Struct(">IHI4s")


class Placed(NamedTuple):
    """A message that its conversation has numbered and kept.

    `place` is what the conversation's script says of its place, `value` the stored message,
    `sender` its author's id, "" where that is the server, None where nobody knows; `epoch`
    (4 bytes) that of an inbox which begins with it.
    """

    place: bytes
    value: bytes
    sender: str | None
    epoch: bytes


class Fanout:
    """Refers inboxes to messages, and remembers which of them everyone has."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys
        self.evictions = 0
        """References that made room for others because an inbox held its tier's cap."""
        self.lost_keys = 0
        """How often a key was found gone that nothing had removed."""
        self._settling: dict[str, tuple[Recipients, int, int, int]] = {}

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
        """Refer the inboxes of all other buckets to a message; then `future` has `result`."""
        left = len(to.parts)
        place, value, sender, epoch = message

        def all_have_it() -> None:
            seq = int.from_bytes(place[:4], "big")
            known = self._settling.get(to.keys.head)
            if known is None or known[1] <= seq:
                self._settling[to.keys.head] = (to, seq, time_of(value), tier.retention_ms)
            done(future, result)

        def placed(reply: Any) -> None:
            nonlocal left
            left -= 1
            if isinstance(reply, Exception):
                fail(future, reply)
                return
            if reply:
                self.note(*reply)
            if left == 0 and not future.done():
                all_have_it()

        if not to.parts:
            all_have_it()
            return
        sha = (_REFERENCES_FULL if full else _REFERENCES).sha
        limits = _LIMITS.pack(tier.inbox_cap, *two_fields(tier.retention_ms), epoch)
        author = "?" if sender is None else f"{app_id}:{sender}"
        said = words_of(place, value, limits, author)
        for part in to.parts:
            begin = words_of("EVALSHA", sha, part.names.number)
            command = together(begin, part.names, said, part.arguments)
            self._link.run_packed(placed, command, part.bucket, durable=True)

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
        # A repeat under another run of the server must not come to the epoch that it began before.
        run = int(self._link.run_of(bucket) or "0", 16)
        epoch = int.from_bytes(message_id[:4], "big") ^ run
        return epoch.to_bytes(4, "big"), run.to_bytes(4, "big")

    def note(self, evicted: int, keys: int) -> None:
        """A script said that so many references made room, and so many keys were gone."""
        self.evictions += evicted
        if keys:
            self.lost_keys += keys
            _log.error("redis_lost_keys", keys=keys)

    async def settle(self, now_ms: int) -> None:
        """Say of which conversations everyone has their references, so that nobody looks after
        them.

        To be called every few seconds. What fails is left to the sweeper, which then finds that
        nothing is owed.
        """
        settling, self._settling = self._settling, {}
        buckets: dict[tuple[int, int], list[tuple[Recipients, int, int]]] = {}
        for to, seq, time_ms, retention_ms in settling.values():
            buckets.setdefault((to.keys.bucket, retention_ms), []).append((to, seq, time_ms))
        calls = []
        for (_, retention_ms), found in buckets.items():
            names = [found[0][0].keys.due]
            arguments: list[str | int] = []
            for to, seq, time_ms in found:
                names += (to.keys.head, to.state or to.keys.head)
                arguments += (to.keys.member, seq, time_ms, to.version)
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
