"""Rows: how each user stands to each of their conversations; lua/row.lua says what one holds.

Times are milliseconds since 1970 and are passed in. Every method may raise `Unavailable` or
`CommandFault`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from homeport.ids import GROUP, direct_conversation

from gateway.apps.tiers import Tier
from gateway.redis.link import Link
from gateway.store.keys import Keys
from gateway.store.scripts import script
from gateway.store.stored import Raised, Row, parse_row

_ROWS: Final = script("rows", "row")
_ROW_MARK: Final = script("row_mark", "row")
_FLOOR: Final = script("conversation_floor", "stored", "parts", "head")


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
        return max(0, await self._set_row(app_id, user, row.peer, row.epoch, n=n, time_ms=time_ms))

    async def read_up_to(self, app_id: str, user: str, peer: str, raised: Raised) -> int:
        """What `ConversationStore.mark` raised is unread no longer; returns how much still is.

        -1: the user has no row of the conversation.
        """
        return await self._set_row(
            app_id,
            user,
            peer,
            raised.epoch,
            read=raised.read,
            n=raised.n,
            time_ms=raised.time_ms,
        )

    async def forget(self, app_id: str, user: str, row: Row, floor: int) -> bool:
        """Hide messages up to number `floor` from the user; a lower one takes nothing back.

        Not above the row's last number. False where the row is another one meanwhile.
        """
        return await self._set_row(app_id, user, row.peer, row.epoch, floor=floor) >= 0

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
    ) -> int:
        rows = self._keys.inbox(app_id, user).rows
        return int(
            await self._link.run(
                _ROW_MARK, (rows,), peer, epoch, read, n, time_ms, floor, durable=True
            )
        )


def conversation_of(user: str, peer: str) -> str:
    """The conversation that `user` calls `peer`."""
    return peer if peer.startswith(GROUP) else direct_conversation(user, peer)
