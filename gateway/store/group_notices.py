"""The notices of a group's changes, on their way to all members.

A notice waits in a list beside the group until every member has it. Before it goes into an inbox,
the user's own bucket learns that they are in, or out: docs/design/groups.md says why nothing
reaches a user who was removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from homeport.ids import GROUP
from msgspec import Struct, msgpack

from gateway.apps.app import App
from gateway.redis.link import Link
from gateway.store.entries import NewMessage
from gateway.store.group_state import Change, Group, Notice
from gateway.store.inbox import InboxStore
from gateway.store.keys import Keys
from gateway.store.scripts import script

_TOLD: Final = script("group_told")
_MEMBER: Final = script("group_member")

FENCE_MS: Final = 24 * 60 * 60 * 1000
"""How long an inbox refuses messages that were sent under a member list from before a removal. No
gateway that was stopped for longer than that is still in the middle of a send."""

QUIET_MS: Final = 180 * 24 * 60 * 60 * 1000
"""How far ahead a group that owes nothing stands in the due list, where a deleted app finds it."""


class News(Struct, array_like=True):
    """A notice that waits to be delivered, with its recipients and those added or removed."""

    version: int
    message_id: bytes
    record: bytes
    users: list[str]
    joined: list[str]
    left: list[str]

    @classmethod
    def of(cls, before: Group | None, change: Change, notice: Notice) -> News:
        """Of what `change` makes of `before`. All members get it, also those whom it removes."""
        old = before.members if before is not None else {}
        left = [user for user, member in change.members.items() if member is None]
        joined = [u for u, m in change.members.items() if m is not None and u not in old]
        return cls(*notice, [*old, *joined], joined, left)

    def packed(self) -> bytes:
        """As it stands in the list, where the version can be read without the rest."""
        return b"%d:%b" % (self.version, msgpack.encode(self))

    @classmethod
    def unpack(cls, packed: bytes) -> News:
        """What `packed` made."""
        return msgpack.decode(packed.partition(b":")[2], type=cls)


class NoticeStore:
    """Delivers notices. Futures and methods raise `OperationFailed`s."""

    def __init__(
        self, link: Link, keys: Keys, inboxes: InboxStore, clock_ms: Callable[[], int]
    ) -> None:
        self._link = link
        self._keys = keys
        self._inboxes = inboxes
        self._clock_ms = clock_ms

    def deliver(self, app: App, group_id: str, news: News) -> list[asyncio.Future[Any]]:
        """Write into users' buckets that they are in, or out, and then the notice into their
        inboxes; a future for each call."""
        audience = self._inboxes.audience(app.id, news.users, GROUP + group_id)
        message = NewMessage(news.message_id, news.record, self._clock_ms())
        return [
            *self._place(app.id, group_id, news),
            self._inboxes.deliver_to(app.id, app.tier, audience, message, news.version),
        ]

    def _place(self, app_id: str, group_id: str, news: News) -> list[asyncio.Future[Any]]:
        buckets: dict[int, tuple[list[str], list[str]]] = {}
        for users, place in ((news.joined, "in"), (news.left, "out")):
            for user in users:
                bucket, groups = self._keys.groups_of(app_id, user)
                names, places = buckets.setdefault(bucket, ([], []))
                names += (groups, self._keys.fence(app_id, user, group_id))
                places.append(place)
        return [
            self._link.run(
                _MEMBER,
                tuple(names),
                group_id,
                news.version,
                FENCE_MS,
                *places,
                durable=True,
            )
            for names, places in buckets.values()
        ]

    async def done(self, app_id: str, group_id: str, version: int) -> None:
        """Take the notices up to `version` off the list: all members have them. A group with an
        empty list is looked at again after `QUIET_MS`."""
        keys = self._keys.group(app_id, group_id)
        await self._link.run(
            _TOLD,
            (keys.state, keys.pending, keys.due),
            version,
            self._clock_ms() + QUIET_MS,
            keys.member,
        )
