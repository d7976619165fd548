"""The list of a user's conversations, with the last message and the unread count of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from homeport import codec
from homeport.frames import ConversationPage, ConversationRow, Message
from homeport.ids import GROUP
from homeport.limits import MAX_ID_CHARS, MAX_INTEGER

from gateway.apps.app import App
from gateway.chat import prices
from gateway.chat.pages import Page, around, fresh
from gateway.chat.principal import User
from gateway.chat.records import Records
from gateway.chat.requests import request
from gateway.store.conversations import ConversationStore
from gateway.store.lateness import Lateness
from gateway.store.rows import RowStore, conversation_of
from gateway.store.stored import HIDDEN, Row, StoredMessage

AT_ONCE: Final = 25
"""Conversations whose last messages are read together. A message may fill a frame, and a page of
such ends after the first; but most pages are read in two or three rounds."""

_AROUND: Final = around(ConversationPage((), (MAX_INTEGER, "x" * MAX_ID_CHARS)))


class ConversationChat:
    """Answers requests about all of a user's conversations. `clock_ms` gives milliseconds since
    1970."""

    def __init__(
        self,
        store: ConversationStore,
        rows: RowStore,
        records: Records,
        lateness: Lateness,
        clock_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._rows = rows
        self._records = records
        self._lateness = lateness
        self._clock_ms = clock_ms

    @request(prices.conversations)
    async def page(
        self, user: User, limit: int, *, after: tuple[int, str] | None = None
    ) -> ConversationPage:
        """Up to `limit` of the user's conversations, those with the newest messages first, that
        follow `after`: the time of the last message, in milliseconds, and the user's name for it.

        Raises:
            Refused: unavailable, rate_limited, internal.
        """
        return await fresh(lambda: self._page(user, limit, after), self._lateness, self._clock_ms)

    async def _page(
        self, user: User, limit: int, after: tuple[int, str] | None
    ) -> ConversationPage:
        app, now_ms = user.app, self._clock_ms()
        youngest = now_ms - app.tier.retention_ms + 1
        rows, more = await self._rows.rows(app.id, user.id, limit, after=after)
        following = (rows[-1].time_ms, rows[-1].peer) if more else None
        # A group is there as long as the user is in it, everything else as long as its messages.
        rows = [
            row
            for row in rows
            if row.time_ms >= youngest or (row.peer.startswith(GROUP) and row.until == 0)
        ]
        counts = await self._rows.unread_of(
            app.id,
            app.tier,
            user.id,
            rows,
            now_ms,
            lambda messages: user.allowance.pay(app.tier, prices.looked_into(messages)),
        )
        page = Page[ConversationRow](_AROUND)
        for start in range(0, len(rows), AT_ONCE):
            part = rows[start : start + AT_ONCE]
            names = [conversation_of(user.id, row.peer) for row in part]
            wanted = [(name, (row.top,)) for name, row in zip(names, part, strict=True)]
            found = await self._store.read(app.id, wanted)
            for row, name, kept, unread in zip(part, names, found, counts[start:], strict=False):
                # A bucket whose answer is full leaves out the rest.
                if not kept or not page.add(
                    ConversationRow(
                        row.peer,
                        row.top,
                        row.time_ms,
                        unread,
                        row.read,
                        row.until,
                        self._shown(app, name, row, kept[0], youngest, now_ms),
                    )
                ):
                    last = page.items[-1]
                    return ConversationPage(tuple(page.items), (last.time, last.peer))
        return ConversationPage(tuple(page.items), following)

    def _shown(
        self,
        app: App,
        name: str,
        row: Row,
        kept: StoredMessage | None,
        youngest: int,
        now_ms: int,
    ) -> Message | None:
        """The last message of a conversation; None where its user is not to see it."""
        if kept is None or kept.record is None or row.top <= row.floor:
            return None
        if kept.flags & HIDDEN or not kept.readable(youngest, now_ms):
            return None
        message = self._records.readable(app, name, kept.record)
        return None if message is None else codec.decode_message(message)
