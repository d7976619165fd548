"""A conversation's history: pages of it, and deleting it for oneself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from gateway.chat.addressing import conversation_of
from gateway.chat.groups import GroupChat
from gateway.chat.records import Records
from gateway.chat.refused import Refused
from gateway.chat.requests import Caller, Handlers
from gateway.security.sealing import Tampered
from gateway.store.log import LogStore
from protocol import codec, codes
from protocol.frames import Entry, Forget, History, HistoryPage, Place
from protocol.ids import GROUP
from protocol.limits import MAX_FRAME_BYTES

MAX_PAGE_BYTES: Final = MAX_FRAME_BYTES - 1024
"""Encoded messages of one page, so that the answer is no larger than any other frame."""

_PLACE_BYTES: Final = 20
"""Of an entry beside its message: two arrays, two integers, at their longest."""

_log = structlog.get_logger("chat")


class HistoryChat:
    """Answers `History` and `Forget`. `clock_ms` gives milliseconds since 1970.

    Who may read a conversation is decided by its name: a caller names it by its other end, and
    `conversation_of` makes a name that the caller is in. For a group it is the membership now.
    """

    def __init__(
        self, logs: LogStore, groups: GroupChat, records: Records, clock_ms: Callable[[], int]
    ) -> None:
        self._logs = logs
        self._groups = groups
        self._records = records
        self._clock_ms = clock_ms

    def handlers(self) -> Handlers:
        """For the worker's table."""
        return {History: self.page, Forget: self.forget}

    async def page(self, caller: Caller, frame: History) -> HistoryPage:
        """A page of a conversation.

        Raises:
            Refused: invalid_field, and as `_conversation`. Unavailable, CommandFault,
                UnknownKeyVersion.
        """
        if frame.before is not None and frame.after is not None:
            raise Refused(codes.INVALID_FIELD, "`before` and `after` don't go together.")
        conversation = await self._conversation(caller, frame.peer)
        page = await self._logs.page(
            caller.app.id,
            caller.app.tier,
            conversation,
            caller.user,
            self._clock_ms(),
            frame.limit,
            before=frame.before,
            after=frame.after,
        )
        entries: list[Entry] = []
        size = 0
        for entry in page.entries:
            try:
                message = self._records.kept(caller.app, conversation, entry.record)
            except Tampered:
                _log.error("record_tampered", app=self._records.names.app(caller.app.id))
                continue
            size += len(message) + _PLACE_BYTES
            if entries and size > MAX_PAGE_BYTES:
                return HistoryPage(tuple(entries), entries[-1].place)
            place = Place(entry.ms, entry.seq)
            entries.append(Entry(place, codec.decode_message(message)))
        return HistoryPage(tuple(entries), page.next)

    async def forget(self, caller: Caller, frame: Forget) -> None:
        """Hide a conversation from the caller, up to a place.

        Raises:
            Refused: as `_conversation`. Unavailable, CommandFault.
        """
        conversation = await self._conversation(caller, frame.peer)
        await self._logs.forget(caller.app.id, conversation, caller.user, frame.upto)

    async def _conversation(self, caller: Caller, peer: str) -> str:
        """Raises `Refused`: unknown_recipient; of a group also unknown_group, not_a_member."""
        if peer.startswith(GROUP):
            return await self._groups.conversation(caller, peer)
        return conversation_of(caller.user, peer)
