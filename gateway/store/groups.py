"""Groups: their members, and how these change.

A change of a group and the notice of it are one script in the bucket of its conversation, so the
notice has a number there: those who come are in from it on, those who go are out after it. Every
script that adds to the conversation is told the version of the member list that its caller goes by,
and refuses another one (`StaleMembers`). So a gateway may go by the list that it has in memory.

Times and versions are integers; a version is the time of the change, in ms, or more, so that they
grow even if a group is made again after it was deleted, or Redis came back older.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from homeport.ids import GROUP

from gateway.apps.app import App
from gateway.redis.connection import pack
from gateway.redis.link import Link, settle
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry, StaleMembers
from gateway.store.fanout import TAKEOVER_MS, Step
from gateway.store.group_state import (
    Change,
    Group,
    Summary,
    growth,
    member_of,
    parse_group,
    words_of,
)
from gateway.store.hook_queue import argument
from gateway.store.keys import Keys
from gateway.store.rows import SLICE, Pay, unpaid
from gateway.store.scripts import script
from gateway.store.storage import message_bytes

_READ: Final = script("group_read")
_CHANGE: Final = script("membership", "stored", "append", "happened")
_SIGNAL: Final = script("group_signal")
_GROUPS_OF: Final = script("groups_of")

CACHED_MEMBERS: Final = 100_000
"""Members of all groups kept in memory, about 1 KiB each."""

HEALS: Final = 5
"""How often a group is read to tell its members, while others change it."""


class _Known:
    """One group as this process knows it, and who waits for it to be read."""

    __slots__ = ("group", "reading", "waiting")

    def __init__(self) -> None:
        self.group: Group | None = None
        self.reading = False
        self.waiting: list[asyncio.Future[Group | None]] = []


class GroupStore:
    """The groups of a region. Methods raise, or put into their future, `OperationFailed`s."""

    def __init__(
        self,
        link: Link,
        keys: Keys,
        conversations: ConversationStore,
        clock_ms: Callable[[], int],
    ) -> None:
        self._link = link
        self._keys = keys
        self._conversations = conversations
        self._clock_ms = clock_ms
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._members = 0

    # -- reading ---------------------------------------------------------------------------------

    def known(self, app: App, group_id: str) -> Group | None:
        """The group as it was when this process read it last; None where it is not in memory."""
        known = self._known.get((app.id, group_id))
        if known is None:
            return None
        self._known.move_to_end((app.id, group_id))
        return known.group

    def current(self, app: App, group_id: str) -> asyncio.Future[Group | None]:
        """The group as it is at some time after this call; None if there is none.

        Redis is asked for the version each time; the rest comes from memory if the version is
        unchanged. Per group, one question is in flight; calls that come meanwhile share the next
        one. Futures are done in the order of the calls.
        """
        future: asyncio.Future[Group | None] = asyncio.get_running_loop().create_future()
        known = self._known.get((app.id, group_id))
        if known is None:
            known = self._known[app.id, group_id] = _Known()
        self._known.move_to_end((app.id, group_id))
        known.waiting.append(future)
        if not known.reading:
            self._read(app.id, group_id, known)
        return future

    def _read(self, app_id: str, group_id: str, known: _Known) -> None:
        known.reading = True
        waiting, known.waiting = known.waiting, []
        keys = self._keys.conversation(app_id, GROUP + group_id)
        self._link.run_then(
            partial(self._was_read, app_id, group_id, known, waiting),
            _READ,
            (self._keys.group(app_id, group_id).state, keys.head, keys.due),
            known.group.version if known.group is not None else 0,
            b"".join(self._conversations.fanout.numbering(secrets.token_bytes(4), keys.bucket)),
            self._clock_ms(),
            keys.member,
        )

    def _was_read(
        self,
        app_id: str,
        group_id: str,
        known: _Known,
        waiting: list[asyncio.Future[Group | None]],
        reply: Any,
    ) -> None:
        known.reading = False
        error = reply if isinstance(reply, Exception) else None
        if error is None:
            try:
                version, state, lost = reply
                self._conversations.fanout.note(0, lost)
                if state:
                    self._keep(known, parse_group(self._keys, app_id, group_id, state))
                elif version == b"0":
                    self._keep(known, None)
            except Exception as reason:  # noqa: BLE001 - whoever waits for the group gets it
                error = reason
        for future in waiting:
            if future.done():  # its caller was cancelled
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(known.group)
        if known.waiting:
            self._read(app_id, group_id, known)
        elif known.group is None:
            self._known.pop((app_id, group_id), None)

    def _keep(self, known: _Known, group: Group | None) -> None:
        self._members += _size(group) - _size(known.group)
        known.group = group
        if self._members <= CACHED_MEMBERS:
            return
        for key, other in list(self._known.items()):  # the longest unused first
            if self._members <= CACHED_MEMBERS:
                return
            if not other.reading and other is not known:
                self._members -= _size(other.group)
                del self._known[key]

    # -- changing --------------------------------------------------------------------------------

    def next_version(self, before: Group | None) -> int:
        """The version that a change of `before` has, if it is made now."""
        return max(self._clock_ms(), before.version + 1 if before is not None else 0)

    async def change(
        self,
        app: App,
        group_id: str,
        before: Group | None,
        change: Change,
        version: int,
        notice: NewEntry,
        *,
        maker: str = "",
    ) -> bool:
        """Make `before` into `version` by `change`, as the user `maker` asked, and tell the members
        with `notice`.

        False if the group is no longer as `before` was. Those whom the change adds or removes get
        the notice too. Deleting a group deletes its messages. Where this raises, the change may
        have been made; then the next message, `heal` or the sweeper tells of it.
        """
        keys = self._keys.conversation(app.id, GROUP + group_id)
        went = await self._link.run(
            _CHANGE,
            (self._keys.group(app.id, group_id).state, keys.head, keys.due),
            before.version if before is not None else 0,
            version,
            notice.time_ms,
            notice.time_ms + TAKEOVER_MS,
            keys.member,
            b"".join(self._conversations.fanout.numbering(notice.id, keys.bucket)),
            notice.flags,
            notice.record,
            "" if change.deleted_by is None else 1,
            argument(notice.event, notice.id, self._link.run_of(keys.bucket)),
            *words_of(before, change),
            durable=True,
        )
        if went < 0:
            return False
        storage = self._conversations.storage
        storage.written(app.id, app.tier, maker, message_bytes(len(notice.record)))
        storage.made(app.id, app.tier, "", growth(before, change))
        storage.went(app.id, app.tier, went)
        await self.heal(app, group_id)
        return True

    async def heal(self, app: App, group_id: str) -> None:
        """Make sure that all members have a reference to the last message, if somebody may lack
        it: its gateway may have died before it told them.

        Raises:
            Unavailable: Redis is away, or the group changes all the time.
        """
        for attempt in range(HEALS):
            group = await self.current(app, group_id)
            if group is None:
                return
            try:
                await self._conversations.heal(app.id, app.tier, group.recipients)
            except StaleMembers:
                if attempt == HEALS - 1:
                    raise
            else:
                return

    # -- telling without storing -----------------------------------------------------------------

    async def signal(self, app: App, group: Group, event: bytes) -> None:
        """Tell the event to whichever members are connected now; one call a bucket."""
        buckets: dict[int, list[str]] = {}
        for user in group.members:
            inbox = self._keys.inbox(app.id, user)
            buckets.setdefault(inbox.bucket, []).extend((inbox.rows, inbox.channel))
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Any]] = [loop.create_future() for _ in buckets]

        def steps() -> Iterator[Step]:
            for answer, (bucket, names) in zip(answers, buckets.items(), strict=True):
                words: tuple[str | bytes | int, ...]
                words = ("EVALSHA", _SIGNAL.sha, len(names), *names, event, GROUP + group.id)
                yield partial(settle, answer), pack(words), bucket, False

        self._conversations.fanout.go(app.id, steps(), len(buckets))
        await asyncio.gather(*answers)

    # -- a user's groups -------------------------------------------------------------------------

    async def of_user(
        self, app_id: str, user: str, after: str, count: int, pay: Pay = unpaid
    ) -> tuple[list[Summary], str | None]:
        """Up to `count` of the user's groups that follow the id `after`, and where more begin.

        The user's rows are walked through, as `RowStore.rows` does it, and `pay` is told the same.
        """
        rows, place, all_ids = self._keys.inbox(app_id, user).rows, b"0", set[bytes]()
        while True:
            first = place == b"0"
            place, fields, *raw = await self._link.run(_GROUPS_OF, (rows,), place, SLICE, after)
            if first and fields > SLICE:
                pay(fields - SLICE)
            all_ids.update(raw)
            if place == b"0":
                break
        ids = [each.decode() for each in sorted(all_ids)[: count + 1]]
        more, ids = len(ids) > count, ids[:count]
        found = await asyncio.gather(*(self._summary(app_id, user, each) for each in ids))
        return [each for each in found if each is not None], ids[-1] if more else None

    async def _summary(self, app_id: str, user: str, group_id: str) -> Summary | None:
        """The group as its list has it; None where a change that takes the user out is on its
        way."""
        state = self._keys.group(app_id, group_id).state
        version, name, muted, size, me = await self._link.call(
            "HMGET", state, "v", "n", "q", "c", f"u:{user}"
        )
        if me is None:
            return None
        return Summary(group_id, int(version), name, muted == b"1", member_of(me).role, int(size))


def _size(group: Group | None) -> int:
    return len(group.members) if group is not None else 0
