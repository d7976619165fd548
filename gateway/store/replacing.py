"""Changing a message where it stands: in its conversation's log, and in every inbox that holds it.

A changed message keeps its place and its number; its entry says how often it was changed (``e``),
so that a later change is never undone by an earlier one, and a repetition changes nothing.

When an entry is removed from a stream, Redis only marks it until the whole block of entries goes.
Therefore a stream of up to `AT_ONCE` entries is written anew, in one step, and a longer one is
copied in slices. For a large group, with many members who were away for long, that would be too
much. From a longer inbox of one of its members, a recalled message is removed, which the devices
see as a loss; an edited message stays as it was sent. The notice that follows reports the change.

Every method may raise `Unavailable` or `CommandFault`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from homeport.limits import DEDUPE_WINDOW_MS

from gateway.apps.app import App
from gateway.redis.errors import Unavailable
from gateway.redis.link import Link
from gateway.store.audience import Audience
from gateway.store.entries import Entry, parse_entries
from gateway.store.keys import Keys
from gateway.store.scripts import script

_FIND: Final = script("find", "changed")
_REPLACE: Final = script("replace", "changed")
_COPY: Final = script("copy", "changed")

AT_ONCE: Final = 1000
"""Entries that one script writes anew: a few milliseconds of Redis."""

LOOK: Final = 500
"""Entries that are looked at to find a message."""

SLACK_MS: Final = 1000
"""How much earlier than its time says a message may stand in a stream: by its own it never does,
but a send that was repeated may have another time in another stream."""

COPY_MS: Final = 10_000
"""How long Redis keeps a copy that nobody goes on with: it holds what others take out meanwhile."""

COPIED: Final = 20
"""Inboxes of a conversation up to which longer ones are copied."""

BUCKETS_AT_ONCE: Final = 2
"""Calls of this process that are under way; others' commands get their turn between them."""

ATTEMPTS: Final = 20
"""How often a copy is begun while others write the same stream anew."""

_UNEXPECTED, _DONE, _TOO_LONG, _LEFT = range(4)
_MORE, _BEGIN_ANEW = 2, 3


@dataclass(frozen=True, slots=True)
class Where:
    """A log or an inbox: the stream, the hash beside it, and the mark that says that its bucket has
    stored the message."""

    stream: str
    meta: str
    dedupe: str


@dataclass(frozen=True, slots=True)
class Found:
    """A message and where it was found."""

    where: Where
    entry: Entry


@dataclass(frozen=True, slots=True)
class Changed:
    """What a message becomes. `number` is that of the change; `final` where none may follow, and
    no copy of the original that is still under way may be stored."""

    message_id: bytes
    time_ms: int
    record: bytes
    number: int
    final: bool


class RewriteStore:
    """Changes messages in the streams of a region."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys
        self._copying = asyncio.Lock()
        self._turns = asyncio.Semaphore(BUCKETS_AT_ONCE)

    async def find(
        self,
        app: App,
        conversation: str,
        users: Sequence[str],
        message_id: bytes,
        time_ms: int,
        now_ms: int,
    ) -> Found | None:
        """The message that was sent at `time_ms`, where it is still kept: in the conversation's
        log, or else in the inbox of the first of `users` that holds it."""
        places = [self._log(app.id, conversation, message_id)]
        for user in users:
            keys = self._keys.user(app.id, user)
            dedupe = self._keys.dedupe(keys.bucket, app.id, message_id)
            places.append(Where(keys.inbox, keys.meta, dedupe))
        for where in places:
            raw = await self._find(where, message_id, time_ms) or await self._find(
                where, message_id, max(0, time_ms - SLACK_MS)
            )
            for entry in parse_entries([raw] if raw else []):
                if entry.ms > now_ms - app.tier.retention_ms and not entry.expired(now_ms):
                    return Found(where, entry)
        return None

    async def _find(self, where: Where, message_id: bytes, from_ms: int) -> Any:
        return await self._link.run(_FIND, (where.stream,), message_id, from_ms, LOOK)

    async def swap(self, where: Where, changed: Changed, expected: int) -> bool:
        """Change the message in one place; False where it is not at change `expected` there."""
        return await self._replace([where], changed, expected, copy=True)

    async def spread(
        self, app_id: str, conversation: str, audience: Audience, changed: Changed
    ) -> None:
        """Change the message in the log and in each inbox, where it is at an earlier change."""
        mid = changed.message_id

        async def replace(places: list[Where], copy: bool) -> None:
            async with self._turns:
                await self._replace(places, changed, None, copy)

        few = sum(len(part.members) for part in audience) <= COPIED
        calls = [replace([self._log(app_id, conversation, mid)], copy=True)]
        for part in audience:
            dedupe = self._keys.dedupe(part.bucket, app_id, mid)
            calls.append(
                replace(
                    [
                        Where(inbox, meta, dedupe)
                        for inbox, meta in zip(part.inboxes, part.metas, strict=True)
                    ],
                    copy=few,
                )
            )
        await asyncio.gather(*calls)

    def _log(self, app_id: str, conversation: str, message_id: bytes) -> Where:
        keys = self._keys.log(app_id, conversation)
        dedupe = self._keys.log_dedupe(app_id, conversation, message_id)
        return Where(keys.log, keys.meta, dedupe)

    async def _replace(
        self, places: Sequence[Where], changed: Changed, expected: int | None, copy: bool
    ) -> bool:
        """In streams of one bucket with one mark; `copy` says what becomes of long ones."""
        left = places
        too_long = "copy" if copy else "delete" if changed.final else ""
        while left:
            replies = await self._link.run(
                _REPLACE,
                (left[0].dedupe, *(name for w in left for name in (w.stream, w.meta))),
                changed.message_id,
                max(0, changed.time_ms - SLACK_MS),
                changed.record,
                changed.number,
                "" if expected is None else expected,
                AT_ONCE,
                too_long,
                DEDUPE_WINDOW_MS if changed.final else "",
                durable=True,
            )
            if _UNEXPECTED in replies:
                return False
            for where, reply in zip(left, replies, strict=True):
                if reply == _TOO_LONG and not await self._copy(where, changed, expected):
                    return False
            left = [w for w, reply in zip(left, replies, strict=True) if reply == _LEFT]
        return True

    async def _copy(self, where: Where, changed: Changed, expected: int | None) -> bool:
        """Replace the record in one long stream, by copying the stream in slices."""
        # One at a time: Redis has others to serve too.
        async with self._copying:
            writing, begun = "0", 0
            while begun < ATTEMPTS:
                begun += 1
                copy = f"{where.stream}:{secrets.token_hex(8)}"
                reply: list[Any] = [_MORE]
                while reply[0] == _MORE:
                    reply = await self._link.run(
                        _COPY,
                        (where.stream, where.meta, copy),
                        writing,
                        changed.message_id,
                        changed.record,
                        changed.number,
                        "" if expected is None else expected,
                        AT_ONCE,
                        COPY_MS,
                        durable=True,
                    )
                if reply[0] != _BEGIN_ANEW:
                    return bool(reply[0] == _DONE)
                writing = reply[1].decode()
        raise Unavailable("stream_contention")
