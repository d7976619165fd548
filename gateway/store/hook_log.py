"""The log of a webhook's endpoint: its events, numbered 1, 2, 3…, and what became of each.

lua/hooks_log.lua has the layout. Everything in it is kept for `KEPT_MS`, and as long as the log has
room. Times are milliseconds since 1970. Every method may raise `Unavailable` or `CommandFault`.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import msgspec

from gateway.redis.link import Link
from gateway.store.hook_queue import KEPT_MS, Noted, Taken, Waiting, parse_noted
from gateway.store.keys import HookKeys, Keys
from gateway.store.scripts import script

_LOG: Final = script("hooks_log")
_RECORDS: Final = script("hooks_records")
_DONE: Final = script("hooks_done")
_AGAIN: Final = script("hooks_again")
_SWEEP: Final = script("hooks_log_sweep")

LOG_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of one log; the oldest records make room."""

READ_BYTES: Final = 512 * 1024
"""Bytes of records that are read at a time."""

SWEPT: Final = 1000
"""Records that one call removes."""

_EPOCH_BYTES: Final = 4
_HEAD_BYTES: Final = 26

GONE: Final = "gone"
FAILING: Final = "failing"
"""Why an endpoint is off: it said that it is gone, or has taken nothing for too long. A log that
was deleted says ``deleted``."""


class Attempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt to send an event.

    `ms` is when it began, `took_ms` how long it took. `status` is what the receiver answered, 0
    where it did not, and then `error` says why. `answer` is the first KiB of what it said.
    """

    ms: int
    took_ms: int
    status: int = 0
    error: str = ""
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Record:
    """Number `number` of a log, which was given in `epoch`; `attempts` are sealed, "" for none."""

    number: int
    epoch: str
    noted: Noted
    attempts: bytes


class Page(NamedTuple):
    """Records of a log: it holds those from number `first` to `last`, of which some may be gone.

    `looked` is the last number that was looked at.
    """

    first: int
    last: int
    looked: int
    records: list[Record]


class Outcome(NamedTuple):
    """What became of an attempt to send `number`: all `attempts`, sealed; and when it is to be
    tried again, None for never."""

    number: int
    again_ms: int | None
    attempts: bytes


@dataclass(frozen=True, slots=True)
class LogState:
    """How an endpoint is. `waiting` is how many events are to be sent to it, or sent again.

    `off` is why nothing is sent to it, "" where it is. `ok_ms` is when it last took something,
    `since_ms` since when it has taken nothing although something was sent; 0: never.
    """

    epoch: str
    first: int
    last: int
    bytes: int
    waiting: int
    off: str
    ok_ms: int
    since_ms: int


class HookLogs:
    """The logs of a region."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    async def open(self, app_id: str, endpoint: str, now_ms: int) -> None:
        """Make a log, where there is none."""
        await self._append(self._keys.hook(app_id, endpoint), now_ms, [], [], may_begin=True)

    async def taken(
        self, app_id: str, endpoint: str, buckets: Sequence[int]
    ) -> dict[int, Taken | None]:
        """What a log has of each of these buckets."""
        key = self._keys.hook(app_id, endpoint).log
        found = await self._link.call("HMGET", key, *(f"p{bucket}" for bucket in buckets))
        return {
            bucket: None if raw is None else Taken(raw[:4], int.from_bytes(raw[4:], "big"))
            for bucket, raw in zip(buckets, found, strict=True)
        }

    async def take(
        self,
        app_id: str,
        endpoint: str,
        now_ms: int,
        sources: Sequence[tuple[int, Taken | None, Waiting]],
        values: Sequence[bytes | int],
    ) -> bool:
        """Add `values`, events or how many were lost, that were waiting in the buckets of
        `sources`: bucket, what the log had of it, and what was waiting.

        False: the log has something else of them by now, or is gone. Nothing was added.
        """
        words: list[bytes | str] = []
        for bucket, had, waiting in sources:
            words += (f"p{bucket}", b"" if had is None else _packed(had), _packed(waiting.end))
        keys = self._keys.hook(app_id, endpoint)
        return await self._append(keys, now_ms, words, values) is not None

    async def add(self, app_id: str, endpoint: str, now_ms: int, value: bytes) -> int | None:
        """Add one event for this endpoint alone; returns its number, None where there is no log."""
        return await self._append(self._keys.hook(app_id, endpoint), now_ms, [], [value])

    async def _append(
        self,
        keys: HookKeys,
        now_ms: int,
        sources: Sequence[bytes | str],
        values: Sequence[bytes | int],
        *,
        may_begin: bool = False,
    ) -> int | None:
        run = int(self._link.run_of(keys.bucket) or "0", 16).to_bytes(4, "big")
        reply = await self._link.run(
            _LOG,
            (keys.log, keys.pending, keys.hooked, keys.due),
            secrets.token_bytes(_EPOCH_BYTES) + run,
            now_ms,
            KEPT_MS,
            LOG_BYTES,
            keys.hooked_member,
            keys.member,
            "begin" if may_begin else "",
            len(sources) // 3,
            *sources,
            *(v if isinstance(v, bytes) else b"\0" + v.to_bytes(6, "big") for v in values),
            durable=True,
        )
        return int(reply) if reply else None

    async def to_send(self, app_id: str, endpoint: str, now_ms: int, count: int) -> list[int]:
        """Up to `count` numbers that are to be sent by now, those that are longest due first."""
        found = await self._link.call(
            "ZRANGE",
            self._keys.hook(app_id, endpoint).pending,
            "-inf",
            now_ms,
            "BYSCORE",
            "LIMIT",
            0,
            count,
        )
        return [int(member) for member in found]

    async def read(self, app_id: str, endpoint: str, numbers: Sequence[int]) -> Page | None:
        """The records with these numbers that are there, of the first of them as many as
        `READ_BYTES` allow, whatever their age. None: there is no log."""
        key = self._keys.hook(app_id, endpoint).log
        head, *found = await self._link.run(_RECORDS, (key,), READ_BYTES, *numbers)
        if not head:
            return None
        records, looked = [], 0
        for number, value, attempts in zip(numbers, found[::2], found[1::2], strict=False):
            looked = number
            if value:
                epoch = value[:_EPOCH_BYTES].hex()
                records.append(Record(number, epoch, parse_noted(value, _EPOCH_BYTES), attempts))
        first, last = (int.from_bytes(head[at : at + 6], "big") for at in (8, 14))
        return Page(first, last, looked, records)

    async def done(
        self,
        app_id: str,
        endpoint: str,
        now_ms: int,
        how: Literal["ok", "failed", ""],
        outcomes: Sequence[Outcome],
        *,
        off: str = "",
        not_before_ms: int = 0,
    ) -> tuple[int, str]:
        """Note what became of attempts. `off` is why nothing is to be sent any more, if so.

        Returns since when the endpoint has failed, 0 where it has not, and why it is off.
        """
        keys = self._keys.hook(app_id, endpoint)
        words: list[bytes | int | str] = []
        for number, again_ms, attempts in outcomes:
            words += (number, "" if again_ms is None else again_ms, attempts)
        since, why = await self._link.run(
            _DONE,
            (keys.log, keys.pending, keys.hooked),
            keys.hooked_member,
            now_ms,
            how,
            off,
            not_before_ms,
            *words,
        )
        return int(since), why.decode()

    async def again(
        self, app_id: str, endpoint: str, now_ms: int, first: int, last: int, *, on: bool = False
    ) -> int | None:
        """Send the numbers from `first` to `last` again; returns how many are there. None: there is
        no log. With `on`, the endpoint is no longer off."""
        keys = self._keys.hook(app_id, endpoint)
        count: int | None = await self._link.run(
            _AGAIN,
            (keys.log, keys.pending, keys.hooked),
            keys.hooked_member,
            now_ms,
            "on" if on else "",
            first,
            last,
        )
        return count

    async def state(self, app_id: str, endpoint: str) -> LogState | None:
        """How an endpoint is; None: it has no log."""
        keys = self._keys.hook(app_id, endpoint)
        head, off, ok, since = await self._link.call("HMGET", keys.log, "h", "off", "ok", "since")
        if head is None:
            return None
        waiting = await self._link.call("ZCARD", keys.pending)
        first, last, size = (int.from_bytes(head[at : at + 6], "big") for at in (8, 14, 20))
        return LogState(
            epoch=head[:_EPOCH_BYTES].hex(),
            first=first,
            last=last,
            bytes=size,
            waiting=waiting,
            off=(off or b"").decode(),
            ok_ms=int(ok or 0),
            since_ms=int(since or 0),
        )

    async def sweep(
        self, app_id: str, endpoint: str, now_ms: int, retention_ms: int
    ) -> tuple[int, bool]:
        """Remove what is past its time; with `retention_ms` 0, the whole log. Returns how much
        went, and whether more is due."""
        keys = self._keys.hook(app_id, endpoint)
        removed, more = await self._link.run(
            _SWEEP,
            (keys.log, keys.pending, keys.hooked, keys.due),
            now_ms,
            retention_ms,
            keys.hooked_member,
            keys.member,
            SWEPT,
            durable=not retention_ms,
        )
        return removed, bool(more)


def _packed(taken: Taken) -> bytes:
    return taken.epoch + taken.number.to_bytes(6, "big")
