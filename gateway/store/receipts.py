"""Watermarks and unread counts.

A user's own side lies with the inbox, in the user's bucket: for each conversation with unread
messages ``waiting``, a list of their times, and ``unread``, a sorted set of these conversations by
when they became unread. `InboxStore.deliver` adds to them; a list ends with the time of its newest
message.

Watermarks lie in the conversation's bucket, together: so one read tells them of a whole group.

Times are milliseconds since 1970. Every method may raise `Unavailable` or `CommandFault`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.apps.tiers import Tier
from gateway.redis.link import Link
from gateway.store.inbox import PROFILE_MS
from gateway.store.keys import Keys
from gateway.store.scripts import script

_REACH: Final = script("reach")
_READ: Final = script("read")
_MARK: Final = script("mark")
_UNREAD: Final = script("unread")


@dataclass(frozen=True, slots=True)
class Marks:
    """One person's watermarks; 0 for none."""

    delivered: int
    read: int


@dataclass(frozen=True, slots=True)
class Raised:
    """Watermarks as they are now, and whether this call raised them."""

    marks: Marks
    read_rose: bool
    rose: bool


class ReceiptStore:
    """The watermarks and unread counts of a region."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    async def mark(
        self, app_id: str, user: str, conversation: str, claimed: Marks
    ) -> Raised | None:
        """Raise `user`'s watermarks to the newest unread messages that `claimed` covers.

        What is read by it is unread no longer. None where `claimed` covers no unread message:
        then nothing changes. Each step can be repeated, and the unread is dropped last, so a
        gateway that dies between them leaves what the next try needs.
        """
        keys = self._keys.user(app_id, user)
        waiting = keys.waiting(conversation)
        reached = await self._link.run(_REACH, (waiting,), claimed.delivered, claimed.read)
        delivered, read = (int(time) for time in reached)
        if delivered == 0:
            return None
        raised = await self._link.run(
            _MARK,
            (self._keys.marks(app_id, conversation),),
            user,
            delivered,
            read,
            PROFILE_MS,
            durable=True,
        )
        if read:
            await self._link.run(_READ, (keys.unread, waiting), conversation, read, durable=True)
        delivered, read, read_rose, rose = (int(value) for value in raised)
        return Raised(Marks(delivered, read), bool(read_rose), bool(rose))

    async def marks(self, app_id: str, conversation: str, users: Sequence[str]) -> dict[str, Marks]:
        """The watermarks of `users`; users without one are left out."""
        if not users:
            return {}
        found = await self._link.call("HMGET", self._keys.marks(app_id, conversation), *users)
        marks = {}
        for user, value in zip(users, found, strict=True):
            if value is not None:
                delivered, _, read = value.partition(b" ")
                marks[user] = Marks(int(delivered), int(read))
        return marks

    async def unread(
        self, app_id: str, tier: Tier, user: str, now_ms: int, most: int
    ) -> tuple[dict[str, int], bool]:
        """Unread messages by conversation, those within the tier's time.

        At most `most` conversations, those that became unread last; and whether there are more.
        """
        keys = self._keys.user(app_id, user)
        found = await self._link.call("ZREVRANGE", keys.unread, 0, most)
        talks = [raw.decode() for raw in found[:most]]
        if not talks:
            return {}, False
        counts = await self._link.run(
            _UNREAD,
            (keys.unread, *(keys.waiting(talk) for talk in talks)),
            now_ms - tier.retention_ms + 1,
            *talks,
        )
        rows = {talk: count for talk, count in zip(talks, counts, strict=True) if count}
        return rows, len(found) > most
