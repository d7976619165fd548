"""Receipts: how far users got and read a conversation; and unread counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import nlargest

from homeport import codes
from homeport.frames import Reach, Receipt, UnreadCounts
from homeport.ids import peer_of
from homeport.limits import MAX_RECEIPT_ROWS, MAX_UNREAD_ROWS

from gateway.chat.addressing import Conversation, Conversations
from gateway.chat.principal import Principal, User, name_of
from gateway.chat.refused import Refused, refusal
from gateway.chat.relay import Relay
from gateway.chat.requests import request
from gateway.security.sealing import SealError
from gateway.store.receipts import Marks, ReceiptStore


class ReceiptChat:
    """Answers requests about receipts. `clock_ms` gives milliseconds since 1970.

    Each raises `Refused`: unavailable; what names a conversation also unknown_recipient,
    unknown_group and not_a_member.
    """

    def __init__(
        self,
        store: ReceiptStore,
        relay: Relay,
        conversations: Conversations,
        clock_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._relay = relay
        self._conversations = conversations
        self._clock_ms = clock_ms

    @request
    async def mark(self, user: User, peer: str, delivered: int, read: int) -> None:
        """The user got the conversation up to the message of time `delivered`, and read it up to
        that of `read`, in milliseconds; 0 says nothing.

        Raises:
            Refused: also invalid_field.
        """
        # To have read is to have got.
        claimed = Marks(max(delivered, read), read)
        if claimed.delivered == 0:
            raise Refused(codes.INVALID_FIELD, "Neither `delivered` nor `read` is above 0.")
        found = await self._conversations.find(user, peer)
        raised = await self._store.mark(user.app_id, user.id, found.name, claimed)
        if raised is None:
            return
        told: list[tuple[str, str]] = []
        others = _others(found, user.id)
        if raised.rose and len(others) <= MAX_RECEIPT_ROWS:
            # What each hearer calls the conversation: the group, or the other one's id.
            told += [(hearer, peer if found.group is not None else user.id) for hearer in others]
        if raised.read_rose:
            told.append((user.id, peer))  # the unread counts of the user's other devices
        marks, app = raised.marks, user.app
        # Who misses it can ask, so the answer does not depend on it.
        answers = await asyncio.gather(
            *(
                self._relay.to_user(
                    app, hearer, Receipt(name, user.id, marks.delivered, marks.read)
                )
                for hearer, name in told
            ),
            return_exceptions=True,
        )
        for error in answers:
            if isinstance(error, SealError):
                refusal(error)  # for the log
                break

    @request
    async def reach(self, principal: Principal, peer: str, time: int) -> Reach:
        """How far the others in a conversation are, and how many of them got and read what has
        the `time`, in milliseconds. To the app itself all users are others."""
        found = await self._conversations.find(principal, peer)
        others = _others(found, name_of(principal))
        marks = await self._store.marks(principal.app_id, found.name, others)
        furthest = nlargest(
            MAX_RECEIPT_ROWS, marks.items(), key=lambda row: (row[1].read, row[1].delivered)
        )
        return Reach(
            [(other, each.delivered, each.read) for other, each in furthest],
            (
                len(others),
                sum(each.delivered >= time for each in marks.values()),
                sum(each.read >= time for each in marks.values()),
            ),
        )

    @request
    async def unread(self, user: User) -> UnreadCounts:
        """How many messages of which conversations the user has not read."""
        counts, more = await self._store.unread(
            user.app_id, user.app.tier, user.id, self._clock_ms(), MAX_UNREAD_ROWS
        )
        rows = [(peer_of(user.id, talk), count) for talk, count in counts.items()]
        return UnreadCounts(rows, more)


def _others(conversation: Conversation, user: str) -> list[str]:
    return [each for each in conversation.users if each != user]
