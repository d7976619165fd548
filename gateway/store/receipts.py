"""Watermarks and unread counts.

A user's own side lies with the inbox, in the user's bucket: ``talks``, a sorted set of
conversations by the time of their newest message; ``unread``, a hash of how many messages of a
conversation are unread; and for each of these ``waiting``, a list of their times. `Inboxes.deliver`
adds to them.

Watermarks lie in the conversation's bucket, together: so one read tells them of a whole group.

Times are milliseconds since 1970. Every method may raise `Unavailable` or `StoreFault`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.store.inbox import PROFILE_MS
from gateway.store.keys import Keys
from gateway.store.link import Link, script

_READ: Final = script("read")
_MARK: Final = script("mark")
_UNREAD: Final = script("unread")

MAX_LOOKED_AT: Final = 5000
"""Conversations looked at, newest first, for those that are told as unread."""


class Outcome(Enum):
    """What became of `ReceiptStore.read`."""

    OK = b"ok"
    AHEAD = b"ahead"
    NONE = b"none"


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

    async def read(
        self, app_id: str, user: str, conversation: str, claimed: int, read: int
    ) -> Outcome:
        """Take what `user` has read up to the time `read` out of the unread.

        Nothing is changed unless the conversation has a message as new as `claimed` for the user.
        """
        keys = self._keys.user(app_id, user)
        return Outcome(
            await self._link.run(
                _READ,
                (keys.talks, keys.unread, keys.waiting(conversation)),
                conversation,
                claimed,
                read,
                PROFILE_MS,
                durable=True,
            )
        )

    async def mark(self, app_id: str, user: str, conversation: str, marks: Marks) -> Raised:
        """Raise `user`'s watermarks to `marks`; none is lowered."""
        delivered, read, read_rose, rose = await self._link.run(
            _MARK,
            (self._keys.marks(app_id, conversation),),
            user,
            marks.delivered,
            marks.read,
            PROFILE_MS,
            durable=True,
        )
        return Raised(Marks(int(delivered), int(read)), bool(read_rose), bool(rose))

    async def marks(self, app_id: str, conversation: str, users: Sequence[str]) -> dict[str, Marks]:
        """The watermarks of those of `users` who have any."""
        if not users:
            return {}
        found = await self._link.call("HMGET", self._keys.marks(app_id, conversation), *users)
        marks = {}
        for user, value in zip(users, found, strict=True):
            if value is not None:
                delivered, _, read = value.partition(b" ")
                marks[user] = Marks(int(delivered), int(read))
        return marks

    async def unread(self, app_id: str, user: str, most: int) -> tuple[dict[str, int], bool]:
        """Unread messages by conversation, and whether there are more than the `most` told."""
        keys = self._keys.user(app_id, user)
        more, rows = await self._link.run(_UNREAD, (keys.talks, keys.unread), most, MAX_LOOKED_AT)
        counts = {rows[i].decode(): int(rows[i + 1]) for i in range(0, len(rows), 2)}
        return counts, bool(more)
