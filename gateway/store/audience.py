"""Whom a message is stored for: the names that its scripts need, bucket by bucket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from homeport.ids import GROUP

from gateway.redis.connection import Words, words_of
from gateway.store.keys import Keys, UserKeys


class Part(NamedTuple):
    """The part of an `Audience` that lies in one bucket, for one call of a script.

    `names` are keys and channels, in the order of deliver.lua; `members` the inboxes' members of
    the due list.
    `begin` and `end` are the words for deliver.lua that are the same for every message: its keys
    but the first, and its arguments from the log's member of the due list on ("" where there is
    no log, or it lies elsewhere).
    """

    bucket: int
    names: tuple[str, ...]
    members: tuple[str, ...]
    begin: Words
    end: Words

    @property
    def inboxes(self) -> tuple[str, ...]:
        """The users' inboxes."""
        return self.names[2 : 2 + 3 * len(self.members) : 3]

    @property
    def metas(self) -> tuple[str, ...]:
        """The hashes next to them."""
        return self.names[3 : 2 + 3 * len(self.members) : 3]

    @property
    def channels(self) -> tuple[str, ...]:
        """The users' channels."""
        return self.names[4 : 2 + 3 * len(self.members) : 3]

    @property
    def fences(self) -> tuple[str, ...]:
        """The users' fences, where the conversation is a group's."""
        start = 2 + 3 * len(self.members)
        return self.names[start : start + len(self.members)]


Audience = tuple[Part, ...]


def audience_of(
    keys: Keys,
    app_id: str,
    users: Iterable[str],
    conversation: str = "",
    history: bool = False,
) -> Audience:
    """What is needed to store a message for `users`, in a conversation if it is of one.

    With `history` the log of a direct conversation between them gets it too.
    """
    group_id = conversation.removeprefix(GROUP) if conversation.startswith(GROUP) else ""
    log = keys.log(app_id, conversation) if history else None
    buckets: dict[int, list[UserKeys]] = {}
    for user in users:
        named = keys.user(app_id, user)
        buckets.setdefault(named.bucket, []).append(named)
    parts = []
    for bucket, members in buckets.items():
        names = [members[0].due, keys.ttl(bucket)]
        for m in members:
            names += (m.inbox, m.meta, m.channel)
        if group_id:
            names += [keys.fence(app_id, m.user, group_id) for m in members]
        if conversation:
            for m in members:
                names += (m.unread, m.waiting(conversation))
        kept = ""
        if log is not None and log.bucket == bucket:
            names += (log.log, log.meta)
            kept = log.member
        inboxes = tuple(m.member for m in members)
        parts.append(
            Part(bucket, tuple(names), inboxes, words_of(*names), words_of(kept, *inboxes))
        )
    return tuple(parts)


class AllStored:
    """Takes the answers of `calls` calls; its future holds the earliest time, or the first error.

    `lost` is called with the number of messages that full inboxes dropped, and with the number of
    inboxes and logs of which one of the two keys was gone.

    The link calls this object directly: a future per call was the largest cost of a send here.
    """

    __slots__ = ("_earliest", "_left", "_lost", "future")

    def __init__(self, calls: int, lost: Callable[[int, int], None]) -> None:
        self.future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._left = calls
        self._lost = lost
        self._earliest: int | None = None

    def __call__(self, reply: Any) -> None:
        self._left -= 1
        if self.future.done():
            return
        if isinstance(reply, Exception):
            self.future.set_exception(reply)
            return
        if type(reply) is list:
            reply, evicted, keys = reply
            self._lost(evicted, keys)
        time = int(reply)
        if self._earliest is None or time < self._earliest:
            self._earliest = time
        if self._left == 0:
            self.future.set_result(self._earliest)

    def also(self, call: asyncio.Future[Any]) -> None:
        """Take the answer of a call that has a future of its own."""
        error = call.exception()
        self(call.result() if error is None else error)
