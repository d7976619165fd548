"""Inboxes: what waits for a user, as references to messages of conversations; and the user's rows.

An inbox is a list of references with dense numbers, 1, 2, 3…; beside it lies a hash with the
numbering and one row for each conversation (lua/refer.lua), and another one for each device with
its
cursor: ``d:<device>``, which holds ``<acknowledged number> <seen ms> <session> <connected ms>
<platform>``, as `gateway.store.inbox` says. A cursor's ``ms`` is the time of the message that has
the
number, so that another message under the same number is noticed.

Times are milliseconds since 1970 and are passed in. Every method may raise, or put into its future,
`Unavailable` or `CommandFault`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from zlib import crc32

import structlog
from homeport.frames import Cursor
from homeport.ids import GROUP, direct_conversation

from gateway.apps.tiers import Tier
from gateway.redis.link import Link, Then
from gateway.store.blocks import NOBODY, BlockedBy
from gateway.store.conversations import READ_BYTES, ConversationStore
from gateway.store.endings import ENDS_KEPT, ENDS_MS
from gateway.store.inbox import EPOCH_CHARS, MAX_DEVICES, PAGE, SEEN_MS, STALE_MS
from gateway.store.keys import Keys
from gateway.store.readers import (
    Arrival,
    Checked,
    Progress,
    Reader,
    TokenRevoked,
    TooManyDevices,
)
from gateway.store.scripts import script
from gateway.store.stored import Raised, Reference, Row, StoredMessage, parse_references, parse_row

_log = structlog.get_logger("store")

_ATTACH: Final = script("inbox_attach", "row", "waiting")
_ACK: Final = script("inbox_ack", "row", "waiting")
_CHECK: Final = script("inbox_check", "row", "waiting")
_PAGE: Final = script("inbox_page", "row", "waiting")
_SWEEP: Final = script("inbox_sweep", "row", "waiting")
_ROWS: Final = script("rows", "row")
_ROW_MARK: Final = script("row_mark", "row")
_FLOOR: Final = script("conversation_floor", "stored", "parts", "head")


UNKNOWN_BYTES: Final = 1024
"""What a message is taken to have whose reference does not say. It is asked for again if it has
more and does not fit."""


class Waiting(NamedTuple):
    """What a reference of an inbox refers to. `message` is None where nothing can be shown: it has
    ended or was erased, or the reference is a hole."""

    reference: Reference
    message: StoredMessage | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a device stands as it connects.

    What it has not acknowledged begins after `start`; `top` is the last number. The numbers from
    there to `here` are gone: the device is told that they are lost. `resumed` is true when it goes
    on at the client's own cursor. `references` are the first that wait. `seen_ms` is when an
    earlier session of the device was seen last, 0 where there was none. `since_ms` is since when
    this one is connected; it is later than that of each earlier session of the device.
    """

    start: Cursor
    here: int
    top: int
    resumed: bool
    references: list[Reference]
    blocked_by: BlockedBy = NOBODY
    seen_ms: int = 0
    since_ms: int = 0


class ReferencePage(NamedTuple):
    """References that follow a number, the first of them `here` + 1; `top` is the inbox' last
    number.

    `epoch` is empty where the numbering is gone."""

    epoch: str
    top: int
    here: int
    references: list[Reference]


class ReferenceStore:
    """The inboxes and rows of a region."""

    def __init__(self, link: Link, keys: Keys, conversations: ConversationStore) -> None:
        self._link = link
        self._keys = keys
        self._conversations = conversations
        self.lost_keys = 0
        """How often one of the two keys of an inbox was found gone as a device came."""

    # -- reading -----------------------------------------------------------------------------------

    async def attach(
        self,
        reader: Reader,
        tier: Tier,
        arrival: Arrival,
        now_ms: int,
        device_policy: str = "replace",
    ) -> Standing:
        """Make the session the one of its device, and find the number where it continues.

        `device_policy` is `App.device_policy`; if a device of the same platform is replaced, its
        session gets an event. Ephemeral sessions are counted separately, and none is replaced.

        Raises:
            TokenRevoked: tokens issued at `arrival.issued_ms` are void.
            TooManyDevices: the limit is reached, and no device is replaced.
        """
        user = self._keys.user(reader.app_id, reader.user)
        keys = self._keys.inbox(reader.app_id, reader.user)
        given = arrival.cursor or Cursor("", 0, 0)
        reply = await self._link.run(
            _ATTACH,
            (
                keys.refs,
                keys.meta,
                user.revoked,
                keys.due,
                keys.channel,
                user.blocked_by,
                self._keys.presence_channel(reader.app_id, reader.user),
                keys.rows,
            ),
            now_ms,
            tier.retention_ms,
            reader.device,
            reader.session,
            arrival.issued_ms,
            number_of(given.epoch),
            given.ms,
            given.number,
            PAGE,
            crc32(reader.session.encode()),
            keys.member,
            MAX_DEVICES,
            tier.devices,
            "refuse" if reader.ephemeral else device_policy,
            arrival.platform,
            STALE_MS,
            "ephemeral" if reader.ephemeral else "",
            READ_BYTES,
        )
        if reply[0] == b"revoked":
            raise TokenRevoked("the token was revoked")
        if reply[0] == b"too many":
            raise TooManyDevices("too many devices")
        _, epoch, top, ms, start, here, resumed, raw, blocked_by, seen_ms, lost, since_ms = reply
        if lost:
            self.lost_keys += 1
            _log.error("redis_lost_keys", keys=1)
        return Standing(
            Cursor(epoch_of(epoch), ms, start),
            here,
            top,
            bool(resumed),
            parse_references(here + 1, raw),
            BlockedBy.parse(blocked_by),
            seen_ms,
            since_ms,
        )

    async def page(self, app_id: str, user: str, after: int, count: int = PAGE) -> ReferencePage:
        """Up to `count` references that follow number `after`, of up to `READ_BYTES` together."""
        keys = self._keys.inbox(app_id, user)
        epoch, top, here, raw = await self._link.run(
            _PAGE, (keys.refs, keys.rows), after, count, READ_BYTES
        )
        return ReferencePage(epoch_of(epoch), top, here, parse_references(here + 1, raw))

    async def messages(
        self, app_id: str, tier: Tier, user: str, references: list[Reference], now_ms: int
    ) -> list[Waiting]:
        """What `references` of `user`'s inbox refer to: up to `READ_BYTES`, but for the first.

        In their order, and up to the first that was left out: those after it are to be asked for
        again. At least the first is there.
        """
        wanted: dict[str, list[int]] = {}
        sizes: dict[str, int] = {}
        left_bytes = READ_BYTES
        for ref in references:
            if not ref.hole:
                size = ref.size or UNKNOWN_BYTES
                left_bytes -= size
                if left_bytes < 0 and wanted:
                    break
                wanted.setdefault(ref.peer, []).append(ref.seq)
                sizes[ref.peer] = sizes.get(ref.peer, 0) + size
        found = await self._conversations.read(
            app_id,
            [(conversation_of(user, peer), seqs) for peer, seqs in wanted.items()],
            list(sizes.values()),
        )
        left = {peer: iter(messages) for peer, messages in zip(wanted, found, strict=True)}
        youngest = now_ms - tier.retention_ms + 1
        waiting = []
        for ref in references:
            message = None
            if not ref.hole:
                try:
                    message = next(left[ref.peer])
                except (KeyError, StopIteration):
                    break
                if message is not None and not message.readable(youngest, now_ms):
                    message = None
            waiting.append(Waiting(ref, message))
        return waiting

    def ack(self, then: Then, reader: Reader, tier: Tier, progress: Progress, now_ms: int) -> None:
        """Save the device's `progress`; its `end` gives the device free. See `InboxStore.ack`."""
        user = self._keys.user(reader.app_id, reader.user)
        keys = self._keys.inbox(reader.app_id, reader.user)
        cursor, end, loss = progress
        ended: tuple[str, ...] = ()
        if end is not None:
            ended = (self._keys.presence_channel(reader.app_id, reader.user), user.closes)
        self._link.run_then(
            then,
            _ACK,
            (keys.refs, keys.meta, keys.rows, *ended),
            now_ms,
            tier.retention_ms,
            reader.row,
            reader.session,
            number_of(cursor.epoch),
            cursor.ms,
            cursor.number,
            "" if end is None else end.pack(reader.session, reader.device),
            "" if loss is None else loss.pack(reader.device),
            ENDS_KEPT,
            ENDS_MS,
        )

    async def check(self, reader: Reader, given: Cursor, since_ms: int, now_ms: int) -> Checked:
        """Compare a live session, last given `given`, with what Redis holds. `since_ms` is that of
        `Standing`."""
        user = self._keys.user(reader.app_id, reader.user)
        keys = self._keys.inbox(reader.app_id, reader.user)
        epoch, top, holder, revoked, block_change = await self._link.run(
            _CHECK,
            (keys.refs, keys.meta, user.revoked, user.blocked_by, keys.rows),
            now_ms,
            reader.row,
            given.ms,
            given.number,
            SEEN_MS,
            since_ms,
        )
        return Checked(epoch_of(epoch), top, holder.decode(), int(revoked), int(block_change))

    # -- rows --------------------------------------------------------------------------------------

    async def rows(
        self,
        app_id: str,
        user: str,
        count: int,
        *,
        after: tuple[int, str] | None = None,
        unread: bool = False,
    ) -> tuple[list[Row], bool]:
        """Up to `count` of the user's rows, the newest first; and whether there are more.

        `after` is the time and the name of the last row of the page before. With `unread`, only
        conversations with unread messages.
        """
        time_ms, name = ("", "") if after is None else after
        rows = self._keys.inbox(app_id, user).rows
        more, *raw = await self._link.run(
            _ROWS, (rows,), time_ms, name, count, "1" if unread else ""
        )
        pairs = zip(raw[::2], raw[1::2], strict=True)
        return [parse_row(peer.decode(), value) for peer, value in pairs], bool(more)

    async def row(self, app_id: str, user: str, peer: str) -> Row | None:
        """The user's row of one conversation; None: there is none."""
        value = await self._link.call("HGET", self._keys.inbox(app_id, user).rows, peer)
        return None if value is None else parse_row(peer, value)

    async def unread(
        self, app_id: str, tier: Tier, user: str, now_ms: int, most: int
    ) -> tuple[dict[str, int], bool]:
        """Unread messages by conversation, those within the tier's time, newest first.

        At most `most` conversations; and whether there are more. It is one read, but for what
        `unread_of` counts anew.
        """
        rows, more = await self.rows(app_id, user, most, unread=True)
        counts = await self.unread_of(app_id, tier, user, rows, now_ms)
        found = {row.peer: count for row, count in zip(rows, counts, strict=True) if count > 0}
        return found, more

    async def unread_of(
        self, app_id: str, tier: Tier, user: str, rows: Sequence[Row], now_ms: int
    ) -> list[int]:
        """Unread messages of each of these rows, those within the tier's time.

        Rows of which some unread message is past its time are counted anew, and keep it.
        """
        youngest = now_ms - tier.retention_ms + 1
        counts = [row.unread for row in rows]
        old = [at for at, row in enumerate(rows) if row.unread and row.unread_ms < youngest]
        anew = (self._count_anew(app_id, user, rows[at], youngest) for at in old)
        for at, count in zip(old, await asyncio.gather(*anew), strict=True):
            counts[at] = count
        return counts

    async def _count_anew(self, app_id: str, user: str, row: Row, youngest: int) -> int:
        """Take what is past its time out of a row's unread messages; returns how many are left."""
        head = self._keys.conversation(app_id, conversation_of(user, row.peer)).head
        epoch, n, time_ms = await self._link.run(_FLOOR, (head,), youngest, row.top)
        if epoch != row.epoch:
            return 0 if row.time_ms < youngest else row.unread
        return max(0, await self._set_row(app_id, user, row.peer, row.epoch, 0, n, time_ms, 0))

    async def read_up_to(self, app_id: str, user: str, peer: str, raised: Raised) -> int:
        """What `ConversationStore.mark` raised is unread no longer; returns how much still is.

        -1: the user has no row of the conversation.
        """
        return await self._set_row(
            app_id, user, peer, raised.epoch, raised.read, raised.n, raised.time_ms, 0
        )

    async def forget(self, app_id: str, user: str, row: Row, floor: int) -> bool:
        """Hide messages up to number `floor` from the user; a lower one takes nothing back.

        Not above the row's last number. False where the row is another one meanwhile.
        """
        return await self._set_row(app_id, user, row.peer, row.epoch, 0, 0, 0, floor) >= 0

    async def _set_row(
        self,
        app_id: str,
        user: str,
        peer: str,
        epoch: int,
        read: int,
        n: int,
        time_ms: int,
        floor: int,
    ) -> int:
        rows = self._keys.inbox(app_id, user).rows
        return int(
            await self._link.run(
                _ROW_MARK, (rows,), peer, epoch, read, n, time_ms, floor, durable=True
            )
        )

    # -- the sweeper's -----------------------------------------------------------------------------

    async def sweep(
        self, app_id: str, user: str, now_ms: int, retention_ms: int, profile_ms: int
    ) -> int:
        """Remove references, devices and rows that are past their time; how many references
        went."""
        named = self._keys.user(app_id, user)
        keys = self._keys.inbox(app_id, user)
        return int(
            await self._link.run(
                _SWEEP,
                (
                    keys.refs,
                    keys.rows,
                    keys.due,
                    named.blocks,
                    named.blocked_by,
                    keys.meta,
                    named.closes,
                    named.revoked,
                ),
                now_ms,
                retention_ms,
                profile_ms,
                keys.member,
                STALE_MS,
            )
        )


def conversation_of(user: str, peer: str) -> str:
    """The conversation that `user` calls `peer`."""
    return peer if peer.startswith(GROUP) else direct_conversation(user, peer)


def epoch_of(number: int) -> str:
    """An inbox' epoch as cursors hold it: 8 hex digits; "" where there is none."""
    return "" if number < 0 else f"{number:08x}"


def number_of(epoch: str) -> int:
    """The number that scripts know an epoch by; -1 for what is no epoch of ours."""
    try:
        return int.from_bytes(bytes.fromhex(epoch), "big") if len(epoch) == EPOCH_CHARS else -1
    except ValueError:
        return -1
