"""A conversation's history: pages of it, and deleting it for oneself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from homeport import codec, codes
from homeport.frames import Entry, HistoryPage

from gateway.chat import prices
from gateway.chat.addressing import Conversations
from gateway.chat.pages import Page, around, fresh
from gateway.chat.principal import Principal, User
from gateway.chat.records import Records
from gateway.chat.refused import Refused
from gateway.chat.requests import request
from gateway.redis.errors import Unavailable
from gateway.store.conversations import ConversationStore
from gateway.store.lateness import Lateness
from gateway.store.rows import RowStore

_AROUND: Final = around(HistoryPage((), 2**32 - 1, 2**32 - 1))


class HistoryChat:
    """Answers requests about history. `clock_ms` gives milliseconds since 1970.

    A conversation's name decides which users may read it: a user names the other end, so the name
    always contains the user; for a group, the present membership decides. The app itself may read
    every conversation, and hides none.
    """

    def __init__(
        self,
        store: ConversationStore,
        rows: RowStore,
        conversations: Conversations,
        records: Records,
        lateness: Lateness,
        clock_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._rows = rows
        self._conversations = conversations
        self._records = records
        self._lateness = lateness
        self._clock_ms = clock_ms

    @request(prices.history)
    async def page(
        self,
        principal: Principal,
        peer: str,
        limit: int,
        *,
        before: int | None = None,
        after: int | None = None,
    ) -> HistoryPage:
        """Up to `limit` messages of a conversation: newest first and before number `before`, or
        oldest first and after number `after`.

        Raises:
            Refused: invalid_field, unknown_recipient, unknown_group, not_a_member, unavailable,
                internal.
        """
        if before is not None and after is not None:
            raise Refused(codes.INVALID_FIELD, "`before` and `after` don't go together.")
        name = (await self._conversations.find(principal, peer)).name
        return await fresh(
            lambda: self._page(principal, peer, name, limit, before=before, after=after),
            self._lateness,
            self._clock_ms,
        )

    async def _page(
        self,
        principal: Principal,
        peer: str,
        name: str,
        limit: int,
        *,
        before: int | None,
        after: int | None,
    ) -> HistoryPage:
        app = principal.app
        floor = 0
        if isinstance(principal, User):
            row = await self._rows.row(app.id, principal.id, peer)
            floor = 0 if row is None else row.floor
        while True:
            found = await self._store.page(
                app.id,
                app.tier,
                name,
                self._clock_ms(),
                limit,
                before=before,
                after=after,
                floor=floor,
            )
            page, lost = Page[Entry](_AROUND), found.lost
            for kept in found.messages:
                message = kept.record and self._records.readable(app, name, kept.record)
                if not message:
                    lost += 1
                elif not page.add(Entry(kept.seq, codec.decode_message(message))):
                    break
            else:
                return HistoryPage(tuple(page.items), found.next or None, lost)
            if not lost:
                return HistoryPage(tuple(page.items), page.items[-1].seq)
            # The frame is full. Nobody knows yet how much of what is lost lies before its end.
            limit = len(page.items)

    @request(prices.CHANGE)
    async def forget(self, user: User, peer: str, upto: int) -> None:
        """Hide the messages of a conversation from the user, up to number `upto`, or to the last.

        Raises:
            Refused: unknown_recipient, unknown_group, not_a_member, unavailable.
        """
        app = user.app
        found = await self._conversations.find(user, peer)
        upto = min(upto, await self._store.top(app.id, found.name))
        row = await self._rows.row(app.id, user.id, peer)
        if row is None or row.top < upto:
            # The user has no reference yet to what is to be hidden.
            await self._store.heal(app.id, app.tier, self._conversations.recipients(app, found))
            row = await self._rows.row(app.id, user.id, peer)
        if row is not None and not await self._rows.forget(app.id, user.id, row, upto):
            raise Unavailable("conversation_contention")
