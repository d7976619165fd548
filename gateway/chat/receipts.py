"""Receipts: who got and read a conversation up to where; and what is unread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from heapq import nlargest

from gateway.chat.addressing import conversation_of
from gateway.chat.groups import GroupChat
from gateway.chat.refused import Refused
from gateway.chat.relay import Relay
from gateway.chat.requests import Caller, Handlers
from gateway.store.receipts import Marks, ReceiptStore
from protocol import codes, frames
from protocol.ids import GROUP, peer_of
from protocol.limits import MAX_RECEIPT_ROWS, MAX_UNREAD_ROWS


class ReceiptChat:
    """Answers `Mark`, `Receipts` and `Unread`. `clock_ms` gives milliseconds since 1970."""

    def __init__(
        self, store: ReceiptStore, relay: Relay, groups: GroupChat, clock_ms: Callable[[], int]
    ) -> None:
        self._store = store
        self._relay = relay
        self._groups = groups
        self._clock_ms = clock_ms

    def handlers(self) -> Handlers:
        """The requests answered here."""
        return {
            frames.Mark: self._mark,
            frames.Receipts: self._receipts,
            frames.Unread: self._unread,
        }

    async def _mark(self, caller: Caller, frame: frames.Mark) -> None:
        app, user = caller.app, caller.user
        # To have read is to have got.
        claimed = Marks(max(frame.delivered, frame.read), frame.read)
        if claimed.delivered == 0:
            raise Refused(codes.INVALID_FIELD, "Neither `delivered` nor `read` is above 0.")
        conversation, others = await self._others(caller, frame.peer)
        raised = await self._store.mark(app.id, user, conversation, claimed)
        if raised is None:
            return
        told: list[tuple[str, str]] = []
        if raised.rose and len(others) <= MAX_RECEIPT_ROWS:
            # What each hearer calls the conversation: the group, or the other one's id.
            told += [(hearer, frame.peer if _is_group(frame.peer) else user) for hearer in others]
        if raised.read_rose:
            told.append((user, frame.peer))  # the unread counts of the user's other devices
        # Who misses it can ask, so the answer does not depend on it.
        await asyncio.gather(
            *(
                self._relay.to_user(
                    app,
                    hearer,
                    frames.Receipt(peer, user, raised.marks.delivered, raised.marks.read),
                )
                for hearer, peer in told
            ),
            return_exceptions=True,
        )

    async def _receipts(self, caller: Caller, frame: frames.Receipts) -> frames.Reach:
        conversation, others = await self._others(caller, frame.peer)
        marks = await self._store.marks(caller.app.id, conversation, others)
        furthest = nlargest(
            MAX_RECEIPT_ROWS, marks.items(), key=lambda row: (row[1].read, row[1].delivered)
        )
        return frames.Reach(
            [(user, each.delivered, each.read) for user, each in furthest],
            (
                len(others),
                sum(each.delivered >= frame.time for each in marks.values()),
                sum(each.read >= frame.time for each in marks.values()),
            ),
        )

    async def _unread(self, caller: Caller, _: frames.Unread) -> frames.UnreadCounts:
        counts, more = await self._store.unread(
            caller.app.id, caller.app.tier, caller.user, self._clock_ms(), MAX_UNREAD_ROWS
        )
        rows = [(peer_of(caller.user, talk), count) for talk, count in counts.items()]
        return frames.UnreadCounts(rows, more)

    async def _others(self, caller: Caller, peer: str) -> tuple[str, Sequence[str]]:
        """The conversation that the caller calls `peer`, and everyone else in it.

        Raises:
            Refused: unknown_recipient, unknown_group, not_a_member.
        """
        if _is_group(peer):
            members = await self._groups.members(caller, peer)
            return peer, [user for user in members if user != caller.user]
        return conversation_of(caller.user, peer), [peer] if peer != caller.user else []


def _is_group(peer: str) -> bool:
    return peer.startswith(GROUP)
