"""Receipts: how far users got and read a conversation; and unread counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import nlargest

from homeport import codes
from homeport.frames import Reach, Receipt, UnreadCounts
from homeport.limits import MAX_RECEIPT_ROWS, MAX_UNREAD_ROWS

from gateway.chat import prices
from gateway.chat.addressing import Conversation, Conversations
from gateway.chat.principal import Principal, User, name_of
from gateway.chat.refused import Refused, refusal
from gateway.chat.relay import Relay
from gateway.chat.requests import request
from gateway.security.sealing import SealError
from gateway.store.conversations import ConversationStore
from gateway.store.rows import RowStore


class ReceiptChat:
    """Answers requests about receipts. `clock_ms` gives milliseconds since 1970.

    Each raises `Refused`: unavailable; what names a conversation also unknown_recipient,
    unknown_group and not_a_member.
    """

    def __init__(
        self,
        store: ConversationStore,
        rows: RowStore,
        relay: Relay,
        conversations: Conversations,
        clock_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._rows = rows
        self._relay = relay
        self._conversations = conversations
        self._clock_ms = clock_ms

    @request(prices.CHANGE)
    async def mark(self, user: User, peer: str, delivered: int, read: int) -> None:
        """The user got the conversation up to number `delivered`, and read it up to number `read`;
        0 says nothing. A number above the last message is that of the last.

        Raises:
            Refused: also invalid_field.
        """
        if max(delivered, read) == 0:
            raise Refused(codes.INVALID_FIELD, "Neither `delivered` nor `read` is above 0.")
        app, until = user.app, 0
        try:
            found = await self._conversations.find(user, peer)
        except Refused as refused:
            row = await self._rows.row(app.id, user.id, peer)
            if refused.code not in (codes.NOT_A_MEMBER, codes.UNKNOWN_GROUP) or not (
                row and row.until
            ):
                raise
            # Who went may still read what was for them; nobody else is told.
            found, until = Conversation(peer, (user.id,)), row.until
        others = _others(found, user.id)
        if telling := len(others) <= MAX_RECEIPT_ROWS:
            user.allowance.pay(app.tier, prices.told(len(others)))
        raised = await self._store.mark(app.id, found.name, user.id, delivered, read, until)
        if raised is None:
            return
        if read:
            await self._rows.read_up_to(app.id, user.id, peer, raised)
        told: list[tuple[str, str]] = []
        if raised.rose and telling:
            # What each hearer calls the conversation: the group, or the other one's id.
            told += [(hearer, peer if found.group is not None else user.id) for hearer in others]
        if raised.read_rose:
            told.append((user.id, peer))  # the unread counts of the user's other devices
        # Who misses it can ask, so the answer does not depend on it.
        answers = await asyncio.gather(
            *(
                self._relay.to_user(
                    app, hearer, Receipt(name, user.id, raised.delivered, raised.read)
                )
                for hearer, name in told
            ),
            return_exceptions=True,
        )
        for error in answers:
            if isinstance(error, SealError):
                refusal(error)  # for the log
                break

    @request(prices.LIST)
    async def reach(self, principal: Principal, peer: str, seq: int) -> Reach:
        """How far the others in a conversation are, and how many of them got and read its message
        `seq`. To the app itself all users are others."""
        found = await self._conversations.find(principal, peer)
        others = _others(found, name_of(principal))
        marks = await self._store.marks(principal.app_id, found.name, others)
        rows = [(other, delivered, read) for other, (delivered, read) in marks.items()]
        return Reach(
            nlargest(MAX_RECEIPT_ROWS, rows, key=lambda row: (row[2], row[1])),
            (
                len(others),
                sum(delivered >= seq for _, delivered, _ in rows),
                sum(read >= seq for _, _, read in rows),
            ),
        )

    @request(prices.LIST)
    async def unread(self, user: User) -> UnreadCounts:
        """How many messages of which conversations the user has not read."""
        tier = user.app.tier
        counts, more = await self._rows.unread(
            user.app_id,
            tier,
            user.id,
            self._clock_ms(),
            MAX_UNREAD_ROWS,
            prices.payer(user),
        )
        return UnreadCounts(list(counts.items()), more)


def _others(conversation: Conversation, user: str) -> list[str]:
    return [each for each in conversation.users if each != user]
