"""A conversation's history: pages of it, and deleting it for oneself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
from homeport import codec, codes
from homeport.frames import Entry, HistoryPage
from homeport.limits import MAX_FRAME_BYTES

from gateway.chat.addressing import Conversations
from gateway.chat.principal import Principal, User, name_of
from gateway.chat.records import Records
from gateway.chat.refused import Refused
from gateway.chat.requests import request
from gateway.security.sealing import Tampered
from gateway.store.log import LogStore, Place

MAX_PAGE_BYTES: Final = MAX_FRAME_BYTES - 1024
"""Encoded messages of one page, so that the answer is no larger than any other frame."""

_PLACE_BYTES: Final = 20
"""Of an entry beside its message: two arrays, two integers, at their longest."""

_log = structlog.get_logger()


class HistoryChat:
    """Answers requests about history. `clock_ms` gives milliseconds since 1970.

    A conversation's name decides which users may read it: a user names the other end, so the name
    always contains the user; for a group, the present membership decides. The app itself may read
    every conversation, and hides none.
    """

    def __init__(
        self,
        logs: LogStore,
        conversations: Conversations,
        records: Records,
        clock_ms: Callable[[], int],
    ) -> None:
        self._logs = logs
        self._conversations = conversations
        self._records = records
        self._clock_ms = clock_ms

    @request
    async def page(
        self,
        principal: Principal,
        peer: str,
        limit: int,
        *,
        before: Place | None = None,
        after: Place | None = None,
    ) -> HistoryPage:
        """Up to `limit` entries of a conversation: newest first and before `before`, or oldest
        first and after `after`.

        Raises:
            Refused: invalid_field, unknown_recipient, unknown_group, not_a_member, unavailable,
                internal.
        """
        if before is not None and after is not None:
            raise Refused(codes.INVALID_FIELD, "`before` and `after` don't go together.")
        app = principal.app
        conversation = (await self._conversations.find(principal, peer)).name
        page = await self._logs.page(
            app.id,
            app.tier,
            conversation,
            name_of(principal),
            self._clock_ms(),
            limit,
            before=before,
            after=after,
        )
        entries: list[Entry] = []
        size = 0
        for entry in page.entries:
            try:
                message = self._records.kept(app, conversation, entry.record)
            except Tampered:
                _log.error("record_tampered", app=self._records.names.app(app.id))
                continue
            size += len(message) + _PLACE_BYTES
            if entries and size > MAX_PAGE_BYTES:
                return HistoryPage(tuple(entries), entries[-1].place)
            place = Place(entry.ms, entry.seq)
            entries.append(Entry(place, codec.decode_message(message)))
        return HistoryPage(tuple(entries), page.next)

    @request
    async def forget(self, user: User, peer: str, upto: Place) -> None:
        """Hide a conversation from the user, up to a place.

        Raises:
            Refused: unknown_recipient, unknown_group, not_a_member, unavailable.
        """
        conversation = (await self._conversations.find(user, peer)).name
        await self._logs.forget(user.app_id, conversation, user.id, upto)
