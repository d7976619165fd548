"""Rows: how each user stands to each of their conversations; lua/row.lua says what one holds.

Times are milliseconds since 1970 and are passed in. Every method may raise `Unavailable` or
`CommandFault`.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Final

from homeport.ids import GROUP, direct_conversation

from gateway.apps.tiers import Tier
from gateway.redis.link import Link
from gateway.store.keys import InboxKeys, Keys
from gateway.store.scripts import script
from gateway.store.stored import Raised, Row, author_of, parse_row

_ROWS: Final = script("rows", "row")
_ROW_MARK: Final = script("row_mark", "row")
_SWEEP: Final = script("rows_sweep", "row", "waiting")
_OWN: Final = script("conversation_own", "stored", "parts", "head")
_FLOOR: Final = script("conversation_floor", "stored", "parts", "head")

LOOKS: Final = 512
"""Messages that one call looks into to see who wrote them."""

LOOKED_BYTES: Final = 1024 * 1024
"""And their bytes, about: a script that reads them takes some 0.3 ms."""

_KNOWN: Final = struct.Struct(">IIII")

Pay = Callable[[int], None]
"""Is told how many messages, or rows beyond the first `SLICE`, are to be looked into; raises where
that is too much for now."""

SLICE: Final = 512
"""Rows that one call looks at, about: some 2 ms of Redis. A user with no more is read in one call,
as Redis keeps so small a hash in one piece."""


def unpaid(_looked_into: int) -> None:
    """For whoever pays nothing: the command line."""


class RowStore:
    """The rows of a region's users."""

    def __init__(self, link: Link, keys: Keys) -> None:
        self._link = link
        self._keys = keys

    async def rows(
        self,
        app_id: str,
        user: str,
        count: int,
        *,
        after: tuple[int, str] | None = None,
        unread: bool = False,
        pay: Pay = unpaid,
    ) -> tuple[list[Row], bool]:
        """Up to `count` of the user's rows, the newest first; and whether there are more.

        `after` is the time and the name of the last row of the page before. With `unread`, only
        conversations that may have unread messages. All rows are walked through, in slices; what
        changes meanwhile may be missing, or as it was.
        """
        key, following = self._keys.inbox(app_id, user).rows, after or ("", "")
        found: dict[str, Row] = {}
        page: list[Row] = []
        place = b"0"
        last: tuple[int | str, str] = ("", "")
        while True:
            first = place == b"0"
            place, fields, *raw = await self._link.run(
                _ROWS, (key,), place, SLICE, *following, *last, count + 1, "1" if unread else ""
            )
            if first and fields > SLICE:
                pay(fields - SLICE)
            for peer, value in zip(raw[::2], raw[1::2], strict=True):
                row = parse_row(peer.decode(), value)
                found[row.peer] = row
            page = sorted(found.values(), key=lambda row: (-row.time_ms, row.peer))[: count + 1]
            if place == b"0":
                return page[:count], len(page) > count
            found = {row.peer: row for row in page}
            if len(page) > count:
                last = page[-1].time_ms, page[-1].peer

    async def row(self, app_id: str, user: str, peer: str) -> Row | None:
        """The user's row of one conversation; None: there is none."""
        value = await self._link.call("HGET", self._keys.inbox(app_id, user).rows, peer)
        return None if value is None else parse_row(peer, value)

    async def unread(
        self, app_id: str, tier: Tier, user: str, now_ms: int, most: int, pay: Pay
    ) -> tuple[dict[str, int], bool]:
        """Unread messages by conversation, those within the tier's time, newest first.

        At most `most` conversations; and whether there are more. It is one read, but for what
        `unread_of` counts anew.
        """
        rows, more = await self.rows(app_id, user, most, unread=True, pay=pay)
        counts = await self.unread_of(app_id, tier, user, rows, now_ms, pay)
        found = {row.peer: count for row, count in zip(rows, counts, strict=True) if count > 0}
        return found, more

    async def unread_of(
        self, app_id: str, tier: Tier, user: str, rows: Sequence[Row], now_ms: int, pay: Pay
    ) -> list[int]:
        """Unread messages of each of these rows, those within the tier's time.

        Rows of which some unread message is past its time, or may be the user's own, are counted
        anew, and keep that. `pay` is told first how many messages are to be looked into, and may
        raise.
        """
        youngest = now_ms - tier.retention_ms + 1
        counts = [row.unread for row in rows]
        anew, messages = [], 0
        for at, row in enumerate(rows):
            if row.unread and row.unread_ms < youngest:
                anew.append(at)
                messages += row.unread + row.own if row.own or row.unsure[1] else 0
            elif row.unread and row.unsure[1]:
                anew.append(at)
                messages += min(row.unread, row.unsure[1] - row.unsure[0])
        pay(messages)
        counted = (self._count_anew(app_id, user, rows[at], youngest) for at in anew)
        for at, count in zip(anew, await asyncio.gather(*counted), strict=True):
            counts[at] = count
        return counts

    async def _count_anew(self, app_id: str, user: str, row: Row, youngest: int) -> int:
        """Take out of a row's unread messages what is past its time, and what the user wrote;
        returns how many are left."""
        head = self._keys.conversation(app_id, conversation_of(user, row.peer)).head
        now: Row | None = row
        if row.unread_ms < youngest:
            epoch, n, time_ms = await self._link.run(_FLOOR, (head,), youngest, row.top)
            if epoch != row.epoch:
                return 0 if row.time_ms < youngest else row.unread
            now = await self._set_row(app_id, user, row.peer, row.epoch, n=n, time_ms=time_ms)
        if now is None or not now.unsure[1]:
            return 0 if now is None else now.unread
        own, (above, at) = 0, now.unsure
        while at:
            found, at = await self._link.run(
                _OWN, (head,), at, above, now.base, author_of(user), LOOKS, LOOKED_BYTES
            )
            own += found
        known = _KNOWN.pack(now.base, *now.unsure, own)
        await self._set_row(app_id, user, row.peer, now.epoch, known=known)
        return max(0, now.unread - own)

    async def read_up_to(self, app_id: str, user: str, peer: str, raised: Raised) -> int:
        """What `ConversationStore.mark` raised is unread no longer; returns how much still is, or
        more, where `Row.unsure` says so.

        -1: the user has no row of the conversation.
        """
        row = await self._set_row(
            app_id,
            user,
            peer,
            raised.epoch,
            read=raised.read,
            n=raised.n,
            time_ms=raised.time_ms,
        )
        return -1 if row is None else row.unread

    async def forget(self, app_id: str, user: str, row: Row, floor: int) -> bool:
        """Hide messages up to number `floor` from the user; a lower one takes nothing back.

        Not above the row's last number. False where the row is another one meanwhile.
        """
        return await self._set_row(app_id, user, row.peer, row.epoch, floor=floor) is not None

    async def _set_row(
        self,
        app_id: str,
        user: str,
        peer: str,
        epoch: int,
        *,
        read: int = 0,
        n: int = 0,
        time_ms: int = 0,
        floor: int = 0,
        known: bytes = b"",
    ) -> Row | None:
        rows = self._keys.inbox(app_id, user).rows
        value = await self._link.run(
            _ROW_MARK, (rows,), peer, epoch, read, n, time_ms, floor, known, durable=True
        )
        return parse_row(peer, value) if value else None


def conversation_of(user: str, peer: str) -> str:
    """The conversation that `user` calls `peer`."""
    return peer if peer.startswith(GROUP) else direct_conversation(user, peer)


async def sweep_rows(
    link: Link, keys: InboxKeys, now_ms: int, retention_ms: int
) -> tuple[int, int, bool]:
    """Take out of an inbox the references that are past their time, and rows an hour later.

    Returns how many references went; when a row is to be looked at next, 0 where there is none; and
    whether the user is in a group.
    """
    removed, dues, inside, place = 0, [], False, b"0"
    while True:
        gone, place, due_ms, member = await link.run(
            _SWEEP, (keys.refs, keys.rows), now_ms, retention_ms, place, SLICE
        )
        removed, inside = removed + gone, inside or bool(member)
        if due_ms:
            dues.append(due_ms)
        if place == b"0":
            return removed, min(dues, default=0), inside
