"""The log of a conversation: its messages, for users who read the history.

A log is a Redis stream whose entry ids are ``<ms>-<seq>``, like an inbox's; next to it lies a hash:
``q`` and ``t`` last seq and ms, and ``w:<user>`` the entry up to which the user deleted the
conversation. The log of two users lies in the bucket of one of them, and `InboxStore.deliver`
writes it. The log of a group lies in the group's bucket, and goes with it (group_change.lua).

Times are milliseconds since 1970 and are passed in. Every method may raise, or put into its future,
`Unavailable` or `CommandFault`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import structlog
from homeport.ids import GROUP
from homeport.limits import DEDUPE_WINDOW_MS

from gateway.apps.tiers import Tier
from gateway.redis.link import Link
from gateway.store.entries import Entry, NewMessage, parse_entries
from gateway.store.keys import Keys
from gateway.store.scripts import script

_log = structlog.get_logger()

_LOG: Final = script("log", "half", "keep")
_HISTORY: Final = script("history")
_FORGET: Final = script("forget")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands in a log."""

    ms: int
    seq: int


@dataclass(frozen=True, slots=True)
class Page:
    """Entries of a log in reading order. `next` is where reading goes on; None at the end."""

    entries: list[Entry]
    next: Place | None


class LogStore:
    """The logs of a region."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys
        self.lost_keys = 0
        """How often one of the two keys of a log was found gone as it was read."""

    def add(
        self,
        app_id: str,
        tier: Tier,
        message: NewMessage,
    ) -> asyncio.Future[Any]:
        """Keep a group's `message` in its log, unless one with its id is kept already.

        Nothing is kept for a group that was deleted. Messages of a direct conversation are kept by
        `InboxStore.deliver` itself.
        """
        conversation, expires_ms = message.conversation, message.expires_ms
        keys = self._keys.log(app_id, conversation)
        return self._link.run(
            _LOG,
            (
                self._keys.log_dedupe(app_id, conversation, message.id),
                keys.due,
                keys.ttl,
                keys.log,
                keys.meta,
                self._keys.group(app_id, conversation.removeprefix(GROUP)).state,
            ),
            message.time_ms,
            tier.retention_ms,
            DEDUPE_WINDOW_MS,
            message.record,
            keys.member,
            "" if expires_ms is None else expires_ms,
            durable=True,
        )

    async def page(
        self,
        app_id: str,
        tier: Tier,
        conversation: str,
        user: str,
        now_ms: int,
        count: int,
        *,
        before: Place | None = None,
        after: Place | None = None,
    ) -> Page:
        """Up to `count` entries that are within their time and that `user` has not deleted.

        Newest first and before `before`, or oldest first and after `after` where that is given.
        """
        keys = self._keys.log(app_id, conversation)
        place = before if after is None else after
        raw = await self._link.run(
            _HISTORY,
            (keys.log, keys.meta),
            now_ms,
            tier.retention_ms,
            user,
            "before" if after is None else "after",
            "" if place is None else f"{place.ms}-{place.seq}",
            count + 1,
        )
        if raw == -1:
            self.lost_keys += 1
            _log.error("redis_lost_keys", keys=1)
            raw = []
        entries = parse_entries(raw)
        more = len(entries) > count
        entries = entries[:count]
        last = Place(entries[-1].ms, entries[-1].seq) if more else None
        return Page([entry for entry in entries if not entry.expired(now_ms)], last)

    async def forget(self, app_id: str, conversation: str, user: str, upto: Place) -> None:
        """Hide everything up to `upto` from `user`; what is kept later is not hidden."""
        keys = self._keys.log(app_id, conversation)
        await self._link.run(_FORGET, (keys.log, keys.meta), user, upto.ms, upto.seq, durable=True)
