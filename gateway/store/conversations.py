"""Conversations: the one home of their messages. Inboxes only refer to them.

A conversation numbers its messages 1, 2, 3… and holds the sealed records. A message is stored in
two steps: the conversation's script numbers and keeps it (and serves those of two users whose
inboxes share its bucket), then one script for each other bucket adds references
(`gateway.store.fanout`).

docs/design/conversations.md describes the keys. Times are milliseconds since 1970 and are passed
in. Every method may raise, or put into its future, `Unavailable` or `CommandFault`.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, Final

from homeport.ids import GROUP

from gateway.apps.tiers import Tier
from gateway.clock import Clock
from gateway.redis.link import Link
from gateway.store import recipients
from gateway.store.entries import NewEntry, StaleMembers, Stored
from gateway.store.fanout import PLACE_SIZE, TAKEOVER_MS, Fanout, Placed, done, fail, two_fields
from gateway.store.hook_queue import argument
from gateway.store.keys import CACHED, Keys
from gateway.store.recipients import Recipients
from gateway.store.scripts import script
from gateway.store.storage import Storage
from gateway.store.stored import (
    HistoryPage,
    Raised,
    StoredMessage,
    Swept,
    author_of,
    birth_of,
    head_size,
    last_number,
    parse_marks,
    parse_message,
)

_SEND: Final = script(
    "conversation_send", "stored", "append", "mended", "shed", "happened", "number", "refer"
)
_PAGE: Final = script("conversation_page", "stored", "parts", "head")
_READ: Final = script("conversation_read", "stored", "head")
_SIZES: Final = script("conversation_sizes", "stored", "head")
_REPLACE: Final = ("stored", "parts", "append", "spell", "happened", "conversation_replace")
_EDIT: Final = script("conversation_edit", *_REPLACE)
_RECALL: Final = script("conversation_recall", *_REPLACE)
_ERASE: Final = script("conversation_erase", "stored", "parts", "head", "spell")
_LAST: Final = script("conversation_last", "stored", "head")
_MARK: Final = script("conversation_mark", "stored", "parts", "head")
_SWEEP: Final = script("conversation_sweep", "stored", "parts", "head")

READ_BYTES: Final = 128 * 1024
"""Stored bytes that one script call returns at most, unless the first message alone is larger."""

LOOKS: Final = 512
"""Numbers that one call for a page of history looks at: messages may have ended in between."""

SWEPT: Final = 128
"""Messages that one call removes."""

# How scripts are asked and answer, as conversation_send.lua says. Lua's I6 is two fields here.
_ASK: Final = struct.Struct(">4s4sHIHIIBHIHIII")
_SAID: Final = struct.Struct(">BHHIIBHII")
_SENT: Final = struct.Struct(">IHI4s")
_PLACE_AT: Final = 20
_PLACE_END: Final = _PLACE_AT + PLACE_SIZE


class ConversationStore:
    """The conversations of a region."""

    def __init__(self, link: Link, keys: Keys, storage: Storage | None = None) -> None:
        self._link = link
        self._keys = keys
        self.storage = storage or Storage(link, keys, Clock().wall_ms)
        """What it counts into how much is stored."""
        self.direct = lru_cache(CACHED)(partial(recipients.direct, keys))
        """The recipients of a message from one user to another: ``direct(app_id, sender, to)``."""
        self.fanout = Fanout(link, keys, self.storage)

    # -- sending -----------------------------------------------------------------------------------

    def send(
        self, app_id: str, tier: Tier, to: Recipients, message: NewEntry
    ) -> asyncio.Future[Stored]:
        """Number and keep `message`, unless one with its id already was, and refer all to it.

        Messages to one conversation get their numbers in the order of these calls. The future is
        done when everyone has their reference. It raises `StaleMembers` where `to` is not the
        group as it is.
        """
        future: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        keys = to.keys
        epoch, run = self.fanout.numbering(message.id, keys.bucket)

        def numbered(reply: Any) -> None:
            if isinstance(reply, Exception | int):
                error = StaleMembers(reply) if isinstance(reply, int) else reply
                self.storage.failed(app_id, tier, message, error)
                fail(future, error)
            else:
                new, dropped, gone, *grown, high, low, seq = _SAID.unpack_from(reply)
                self.fanout.numbered(app_id, tier, to, message, (new, seq, dropped, gone, grown))
                stored, value = Stored(seq, high << 32 | low, not new), reply[_PLACE_END:]
                if new:
                    value = value[: head_size(value)] + message.record
                elif not value:  # past its time: nobody gets it any more
                    done(future, stored)
                    return
                said = (reply[_PLACE_AT:_PLACE_END], value, message.sender, epoch, message.event)
                self.fanout.refer(app_id, tier, to, Placed(*said), future, stored)

        self.storage.stored(app_id, tier, message)
        sent = self._keys.sent(keys.bucket, message.id)
        self._link.run_then(
            numbered,
            _SEND,
            (keys.head, sent, keys.due, keys.ttl, *(to.here or to.version_keys)),
            _ASK.pack(
                epoch,
                run,
                *two_fields(message.time_ms),
                *two_fields(tier.retention_ms),
                message.remembered_ms,
                message.flags,
                *two_fields(message.expires_ms or 0),
                *two_fields(message.time_ms + TAKEOVER_MS),
                tier.inbox_cap,
                author_of(message.sender),
            ),
            message.record,
            keys.member,
            to.version,
            f"{app_id}:{message.sender}",
            argument(message.event, message.id, run.hex()) if message.event else b"",
            *to.here_arguments,
            durable=True,
        )
        return future

    async def sent(self, app_id: str, conversation: str, message_id: bytes) -> Stored | None:
        """What became of the message with this id, if it was sent within the dedupe window."""
        keys = self._keys.conversation(app_id, conversation)
        found, head = await asyncio.gather(
            self._link.call("GET", self._keys.sent(keys.bucket, message_id)),
            self._link.call("HGET", keys.head, "h"),
        )
        if found is None:
            return None
        seq, high, low, birth = _SENT.unpack(found)
        return Stored(seq, high << 32 | low, repeated=True) if birth == birth_of(head) else None

    # -- reading -----------------------------------------------------------------------------------

    async def page(
        self,
        app_id: str,
        tier: Tier,
        conversation: str,
        now_ms: int,
        count: int,
        *,
        before: int | None = None,
        after: int | None = None,
        floor: int = 0,
        until: int = 0,
    ) -> HistoryPage:
        """Up to `count` messages, and up to `READ_BYTES`, that are within their time.

        Newest first and before number `before`, or oldest first and after number `after` where that
        is given; above `floor` and, where it is not 0, up to `until`.
        """
        place = before if after is None else after
        reply = await self._link.run(
            _PAGE,
            (self._keys.conversation(app_id, conversation).head,),
            now_ms - tier.retention_ms + 1,
            now_ms,
            "before" if after is None else "after",
            "" if place is None else place,
            floor,
            until,
            count,
            READ_BYTES,
            LOOKS,
        )
        following, lost, *raw = reply
        if lost:
            self.fanout.note(0, 1)
        messages = [parse_message(*pair) for pair in zip(raw[::2], raw[1::2], strict=True)]
        return HistoryPage(messages, following, lost)

    async def read(
        self,
        app_id: str,
        wanted: Sequence[tuple[str, Sequence[int]]],
        sizes: Sequence[int] | None = None,
    ) -> list[list[StoredMessage | None]]:
        """The messages with these numbers of these conversations; None for those that are gone.

        In the order of `wanted`, whatever their age. At most `READ_BYTES` of each bucket, but for
        the first message of each: the lists of a bucket end where these are used up, and those
        after that are empty. With `sizes`, the bytes that each conversation's messages should
        have together, it is as much of all buckets together, but for the very first message.
        """
        buckets = self._by_bucket(app_id, wanted)
        calls: list[asyncio.Future[Any]] = []
        most, first = READ_BYTES, "1"
        # What nobody should need is for what an edit has made larger.
        spare = 0 if sizes is None else max(0, READ_BYTES - sum(sizes)) // max(1, len(buckets))
        for places in buckets.values():
            heads = (self._keys.conversation(app_id, wanted[at][0]).head for at in places)
            numbers = [n for at in places for n in (len(wanted[at][1]), *wanted[at][1])]
            if sizes is not None:
                most, first = spare + sum(sizes[at] for at in places), "" if calls else "1"
            calls.append(self._link.run(_READ, tuple(heads), most, first, *numbers))
        found: list[list[StoredMessage | None]] = [[] for _ in wanted]
        for places, reply in zip(buckets.values(), await asyncio.gather(*calls), strict=True):
            values = iter(reply)
            for at in places:
                found[at] = [
                    parse_message(seq, value) if value else None
                    for seq, value in zip(wanted[at][1], values, strict=False)
                ]
        return found

    async def sizes(self, app_id: str, wanted: Sequence[tuple[str, int]]) -> list[int]:
        """How many bytes the message with this number of each conversation takes; 0: it is gone."""
        buckets, calls = self._by_bucket(app_id, wanted), []
        for places in buckets.values():
            heads = (self._keys.conversation(app_id, wanted[at][0]).head for at in places)
            calls.append(self._link.run(_SIZES, tuple(heads), *(wanted[at][1] for at in places)))
        found = [0] * len(wanted)
        for places, reply in zip(buckets.values(), await asyncio.gather(*calls), strict=True):
            for at, size in zip(places, reply, strict=True):
                found[at] = size
        return found

    def _by_bucket(self, app_id: str, wanted: Sequence[tuple[str, Any]]) -> dict[int, list[int]]:
        """The places in `wanted` of what lies in each bucket."""
        buckets: dict[int, list[int]] = {}
        for at, (conversation, _) in enumerate(wanted):
            bucket = self._keys.conversation(app_id, conversation).bucket
            buckets.setdefault(bucket, []).append(at)
        return buckets

    async def top(self, app_id: str, conversation: str) -> int:
        """The number of the last message, whether or not it is kept still; 0: there is none."""
        head = self._keys.conversation(app_id, conversation).head
        return last_number(await self._link.call("HGET", head, "h"))

    # -- changing ----------------------------------------------------------------------------------

    async def replace(
        self,
        app_id: str,
        tier: Tier,
        to: Recipients,
        seq: int,
        notice: NewEntry,
        *,
        expected: int,
        change: int,
        record: bytes,
        recall: bool,
        author: str = "",
    ) -> bool:
        """Put `record` in the place of message `seq`, as change number `change`, and add `notice`.

        The notice of an earlier edit ends. False where the message is not at change `expected`, or
        is gone: nothing changes then. A `recall` works on a full Redis. What is stored more or less
        counts for `author`.

        Raises:
            StaleMembers: `to` is not the group as it is.
        """
        keys = to.keys
        epoch, run = self.fanout.numbering(notice.id, keys.bucket)
        reply = await self._link.run(
            _RECALL if recall else _EDIT,
            (keys.head, keys.due, *to.version_keys),
            notice.time_ms,
            epoch + run,
            to.version,
            keys.member,
            notice.time_ms + TAKEOVER_MS,
            seq,
            expected,
            change,
            record,
            notice.flags,
            notice.record,
            notice.expires_ms or 0,
            argument(notice.event, notice.id, run.hex()) if notice.event else b"",
            durable=True,
        )
        if isinstance(reply, int):
            raise StaleMembers(reply)
        if not reply:
            return False
        less, place = int.from_bytes(reply[:4], "big", signed=True), reply[4:]
        self.storage.changed(app_id, tier, author, notice, less)
        await self.fanout.tell(app_id, tier, to, place, notice.sender, epoch, full=recall)
        return True

    async def erase(self, app_id: str, conversation: str, numbers: Sequence[int]) -> int:
        """The records of these messages go at once, without a notice; returns how many went."""
        keys = self._keys.conversation(app_id, conversation)
        return int(
            await self._link.run(
                _ERASE, (keys.head, keys.ttl), keys.member, "", *numbers, durable=True
            )
        )

    async def mark(
        self, app_id: str, conversation: str, user: str, delivered: int, read: int, until: int = 0
    ) -> Raised | None:
        """Raise `user`'s watermarks, to the last message at most; None: there is no conversation.

        `RowStore.read_up_to` takes what was read out of the unread; repeating both does no
        harm. Where `until` is not 0, it is the last number that the user may know of.
        """
        head = self._keys.conversation(app_id, conversation).head
        reply = await self._link.run(_MARK, (head,), user, delivered, read, until, durable=True)
        if not reply:
            return None
        epoch, now_delivered, now_read, read_rose, rose, n, time_ms = reply
        return Raised(epoch, now_delivered, now_read, bool(read_rose), bool(rose), n, time_ms)

    async def marks(
        self, app_id: str, conversation: str, users: Sequence[str]
    ) -> dict[str, tuple[int, int]]:
        """The (delivered, read) watermarks of `users`; users without any are left out."""
        if not users:
            return {}
        head = self._keys.conversation(app_id, conversation).head
        found = await self._link.call("HMGET", head, *(f"m:{user}" for user in users))
        return parse_marks(users, found)

    # -- the sweeper's -----------------------------------------------------------------------------

    async def sweep(
        self, app_id: str, conversation: str, now_ms: int, retention_ms: int, profile_ms: int
    ) -> Swept:
        """Remove up to `SWEPT` messages that are past their time, and note when to look again.

        With `profile_ms` 0, a group goes too once it has no message.
        """
        keys = self._keys.conversation(app_id, conversation)
        names: tuple[str, ...] = (keys.head, keys.due)
        if conversation.startswith(GROUP):
            names += (self._keys.group(app_id, conversation.removeprefix(GROUP)).state,)
        numbering = b"".join(self.fanout.numbering(secrets.token_bytes(4), keys.bucket))
        removed, more, owed, lost = await self._link.run(
            _SWEEP, names, now_ms, retention_ms, profile_ms, keys.member, SWEPT, numbering
        )
        self.fanout.note(0, lost)
        return Swept(removed, bool(more), bool(owed))

    async def end(self, app_id: str, conversation: str, numbers: Sequence[int], now_ms: int) -> int:
        """Take the records of messages whose own time to live is over by `now_ms`."""
        keys = self._keys.conversation(app_id, conversation)
        return int(
            await self._link.run(_ERASE, (keys.head, keys.ttl), keys.member, now_ms, *numbers)
        )

    async def heal(self, app_id: str, tier: Tier, to: Recipients, *, full: bool = False) -> None:
        """Refer everyone to the last message, and to what is missing below it, if somebody may lack
        a reference; with `full`, on a full Redis too.

        Raises:
            StaleMembers: `to` is not the group as it is.
        """
        reply = await self._link.run(_LAST, (to.keys.head, *to.version_keys), to.version)
        if isinstance(reply, int):
            raise StaleMembers(reply)
        if reply:
            epoch = reply[4:8]
            await self.fanout.tell(app_id, tier, to, reply, None, epoch, full=full)
