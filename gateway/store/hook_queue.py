"""What waits for an app's webhooks: noted in a bucket by the script that keeps or changes it.

From there a dispatcher takes it to the logs of the app's endpoints (`gateway.store.hook_log`).
lua/happened.lua has the layout. Times are milliseconds since 1970. Every method may raise
`Unavailable` or `CommandFault`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.redis.link import Link
from gateway.redis.slots import BUCKETS
from gateway.store.keys import Keys
from gateway.store.scripts import script

_NOTE: Final = script("hooks_note", "happened")
_WAITING: Final = script("hooks_waiting")
_TAKEN: Final = script("hooks_taken")
_SWEEP: Final = script("hooks_sweep")

KEPT_MS: Final = 3 * 24 * 60 * 60 * 1000
"""How long an event, and what became of it, is kept."""

QUEUE_BYTES: Final = 1024 * 1024
"""Most bytes that wait in one bucket for one app; the oldest make room, and are said to be lost."""

READ: Final = 200
READ_BYTES: Final = 128 * 1024
"""Events, and bytes of them, that are taken from a bucket at a time."""

HAPPENED: Final = 1
ABSENT: Final = 2
"""Which of an event are wanted: that it happened, and that a user was not there to hear it."""

_HEAD_BYTES: Final = 15


def argument(event: bytes, seed: bytes, run: str) -> bytes:
    """The argument of a script for `event` (`NewEntry.event`): "" for none.

    `seed` is as good as random, 4 bytes or more; `run` is `Link.run_of` the script's bucket.
    """
    if not event:
        return b""
    number = int(run or "0", 16)
    epoch = int.from_bytes(seed[:4], "big") ^ number  # see Fanout.numbering
    numbering = epoch.to_bytes(4, "big") + number.to_bytes(4, "big")
    return b"%b%b%b%b" % (event[:1], numbering, QUEUE_BYTES.to_bytes(4, "big"), event[1:])


class Noted(NamedTuple):
    """Something that happened, as it waits in a bucket, or is kept in a log.

    `absent` says that `users` were not there to hear it. `seq` is its number in its conversation, 0
    for none. `sealed` is the event.
    """

    absent: bool
    time_ms: int
    seq: int
    users: tuple[str, ...]
    sealed: bytes


def parse_noted(value: bytes, start: int = 0) -> Noted:
    """What is kept as `value`, from `start` on."""
    at = start + _HEAD_BYTES
    end = at + int.from_bytes(value[start + 11 : at], "big")
    return Noted(
        value[start] == ABSENT,
        int.from_bytes(value[start + 1 : start + 7], "big"),
        int.from_bytes(value[start + 7 : start + 11], "big"),
        tuple(value[at:end].decode().split()),
        value[end:],
    )


class Taken(NamedTuple):
    """Up to which number an endpoint's log has what waited in a bucket."""

    epoch: bytes
    number: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in a bucket: `values`, the first of which is number `first` of the numbering.

    `version` tells this numbering from others; `before` is the last number before its epoch;
    `taken` is up to which number all was taken.
    """

    version: bytes
    before: int
    taken: int
    first: int
    values: list[bytes]

    @property
    def last(self) -> int:
        """The number of the last of the values."""
        return self.first + len(self.values) - 1

    @property
    def end(self) -> Taken:
        """What a log has that has all of it."""
        return Taken(self.version[:4], self.last)

    def missing(self, taken: Taken | None) -> tuple[int, list[bytes]]:
        """What a log lacks that has `taken`: how many are lost, and then the values."""
        if taken is None:
            have = self.taken
        elif taken.epoch == self.version[:4]:
            have = taken.number
        else:
            have = min(taken.number, self.before)
        return max(0, self.first - 1 - have), self.values[max(0, have + 1 - self.first) :]


class HookQueue:
    """What waits in the buckets of a region."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    async def note(self, app_id: str, whom: str, event: bytes, seed: bytes, now_ms: int) -> None:
        """Note an event that no other script notes; `whom` it is about decides where it waits."""
        keys = self._keys.hooks_of(app_id, whom)
        said = argument(event, seed, self._link.run_of(keys.bucket))
        await self._link.run(_NOTE, (keys.due,), keys.member, said, now_ms, durable=True)

    async def hooked(self, bucket: int, now_ms: int, count: int) -> list[str]:
        """What is to be looked at in a bucket: ``<app>`` for what waits there, ``<app>:<endpoint>``
        for what an endpoint's log has to send."""
        key = self._keys.hooked(bucket)
        found = await self._link.call("ZRANGE", key, "-inf", now_ms, "BYSCORE", "LIMIT", 0, count)
        return [member.decode() for member in found]

    async def waiting(self, app_id: str, bucket: int) -> Waiting | None:
        """Up to `READ` of what waits in a bucket, the oldest first; None: the app has nothing."""
        keys = self._keys.hooks(app_id, bucket)
        head, *values = await self._link.run(_WAITING, (keys.queue,), READ, READ_BYTES)
        if not head:
            return None
        before, taken, first = (int.from_bytes(head[at : at + 6], "big") for at in (8, 14, 20))
        return Waiting(head[:8], before, taken, first, values)

    async def took(self, app_id: str, bucket: int, waiting: Waiting, *, lost: bool = False) -> None:
        """Every endpoint of the app has what was `waiting`; or, if it is `lost`, there is none."""
        keys = self._keys.hooks(app_id, bucket)
        await self._link.run(
            _TAKEN,
            (keys.queue, keys.hooked),
            app_id,
            waiting.version,
            waiting.last,
            "lost" if lost else "",
        )

    async def sweep(self, app_id: str, bucket: int, now_ms: int, retention_ms: int) -> int:
        """Remove what is past its time; with `retention_ms` 0, all of the app in this bucket."""
        keys = self._keys.hooks(app_id, bucket)
        names = (keys.queue, keys.hooked, keys.due)
        return int(await self._link.run(_SWEEP, names, now_ms, retention_ms, keys.member, app_id))


ALL: Final = range(BUCKETS)
"""All buckets."""
