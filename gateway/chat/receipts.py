"""Receipts: who got and read a conversation up to where; and what is unread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from heapq import nlargest
from typing import Protocol

from gateway.apps.app import App
from gateway.chat.addressing import conversation_of
from gateway.chat.refused import Refused
from gateway.chat.relay import Relay
from gateway.chat.requests import Caller, Handlers
from gateway.store.receipts import Marks, Outcome, ReceiptStore
from protocol import codes, frames
from protocol.frames import Result
from protocol.limits import MAX_RECEIPT_ROWS, MAX_UNREAD_ROWS


class Members(Protocol):
    """Who else is in a conversation."""

    async def others(self, app: App, user: str, peer: str) -> Sequence[tuple[str, str]]:
        """Everyone but `user` in the conversation that `user` calls `peer`.

        Each as (user id, what they call the conversation).

        Raises:
            Refused: `user` has no part in it.
        """


class DirectMembers:
    """`Members` of direct conversations: the peer, who calls it by the user's own id."""

    async def others(self, app: App, user: str, peer: str) -> Sequence[tuple[str, str]]:
        """See `Members`. Nobody else is in the conversation with oneself."""
        return [] if peer == user else [(peer, user)]


class Receipts:
    """Answers `Mark`, `Receipts` and `Unread`."""

    def __init__(self, store: ReceiptStore, relay: Relay, members: Members) -> None:
        self._store = store
        self._relay = relay
        self._members = members

    def handlers(self) -> Handlers:
        """The requests answered here."""
        return {
            frames.Mark: self._mark,
            frames.Receipts: self._receipts,
            frames.Unread: self._unread,
        }

    async def _mark(self, caller: Caller, frame: frames.Mark) -> Result:
        app, user = caller.app, caller.user
        conversation = conversation_of(user, frame.peer)
        # To have read is to have got.
        marks = Marks(max(frame.delivered, frame.read), frame.read)
        if marks.delivered == 0:
            raise Refused(codes.INVALID_FIELD, "Neither `delivered` nor `read` is above 0.")
        others = await self._members.others(app, user, frame.peer)
        outcome = await self._store.read(app.id, user, conversation, marks.delivered, marks.read)
        if outcome is Outcome.NONE:
            raise Refused(codes.NO_CONVERSATION)
        if outcome is Outcome.AHEAD:
            raise Refused(codes.MARK_AHEAD)
        raised = await self._store.mark(app.id, user, conversation, marks)
        told: list[tuple[str, str]] = []
        if raised.rose and len(others) <= MAX_RECEIPT_ROWS:
            told += others
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
        return Result()

    async def _receipts(self, caller: Caller, frame: frames.Receipts) -> Result:
        conversation = conversation_of(caller.user, frame.peer)
        others = await self._members.others(caller.app, caller.user, frame.peer)
        users = [user for user, _ in others]
        marks = await self._store.marks(caller.app.id, conversation, users)
        furthest = nlargest(
            MAX_RECEIPT_ROWS, marks.items(), key=lambda row: (row[1].read, row[1].delivered)
        )
        return Result(
            receipts=[(user, each.delivered, each.read) for user, each in furthest],
            reached=(
                len(users),
                sum(each.delivered >= frame.time for each in marks.values()),
                sum(each.read >= frame.time for each in marks.values()),
            ),
        )

    async def _unread(self, caller: Caller, _: frames.Unread) -> Result:
        counts, more = await self._store.unread(caller.app.id, caller.user, MAX_UNREAD_ROWS)
        rows = [(_peer(caller.user, talk), count) for talk, count in counts.items()]
        return Result(unread=rows, more=more)


def _peer(user: str, conversation: str) -> str:
    """What `user` calls a conversation: the reverse of `conversation_of`."""
    kind, _, members = conversation.partition(":")
    if kind != "d":
        return conversation
    lower, _, higher = members.partition(":")
    return higher if lower == user else lower
