"""The list of a user's conversations, with the last message and the unread count of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Final

from homeport import codec
from homeport.frames import ConversationPage, ConversationRow, Message
from homeport.ids import GROUP
from homeport.limits import MAX_FRAME_BYTES, MAX_ID_CHARS, MAX_INTEGER

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
        rows, more = await self._rows.rows(
            app.id, user.id, limit, after=after, pay=prices.payer(user)
        )
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
            prices.payer(user),
        )
        names = [conversation_of(user.id, row.peer) for row in rows]
        page = Page[ConversationRow](_AROUND)
        last = await self._last(app, names, rows)
        for row, name, kept, unread in zip(rows, names, last, counts, strict=False):
            if not page.add(
                ConversationRow(
                    row.peer,
                    row.top,
                    row.time_ms,
                    unread,
                    row.read,
                    row.until,
                    self._shown(app, name, row, kept, youngest, now_ms),
                )
            ):
                break
        if len(page.items) < len(rows):
            following = (page.items[-1].time, page.items[-1].peer)
        return ConversationPage(tuple(page.items), following)

    async def _last(
        self, app: App, names: Sequence[str], rows: Sequence[Row]
    ) -> list[StoredMessage | None]:
        """The last message of each of the first of `rows`, in their order: of as many as can be in
        one frame, and at least of one. Of the others nothing is read but the size."""
        tops = [(name, row.top) for name, row in zip(names, rows, strict=True)]
        left, sizes = MAX_FRAME_BYTES, list[int]()
        for size in await self._store.sizes(app.id, tops):
            left -= size
            if left < 0 and sizes:
                break
            sizes.append(size)
        wanted = [(name, (top,)) for name, top in tops[: len(sizes)]]
        found = await self._store.read(app.id, wanted, sizes)
        # An edit may have made one larger meanwhile: then the answer ends before it.
        return [each for (each,) in takewhile(len, found)]

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
        if kept is None or kept.record is None or row.top <= row.floor or not row.means(kept):
            return None
        if kept.flags & HIDDEN or not kept.readable(youngest, now_ms):
            return None
        message = self._records.readable(app, name, kept.record)
        return None if message is None else codec.decode_message(message)
