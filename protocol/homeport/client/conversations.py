"""The list of a user's conversations: what `Client.conversations` yields."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from homeport import frames
from homeport.client.consumer import Consumer
from homeport.client.message import Message
from homeport.client.reading import Pages
from homeport.frames.conversations import RowPlace
from homeport.limits import MAX_CONVERSATION_PAGE


@dataclass(frozen=True, slots=True)
class ConversationInfo:
    """One of the user's conversations, as it was when the server was asked.

    Attributes:
        peer: the other user's id, or ``g:`` and a group's: what `Client.conversation` takes.
        seq: the number of its last message for this user.
        time: that message's time, in milliseconds since 1970.
        unread: how many messages of others the user has not read.
        read: how far the user has read, as the `seq` of a message; 0 for nowhere.
        until: 0; or, if the user went from the group, the last number that they may know.
        message: the last message; None if it has ended, or was deleted, or is not in the history.
    """

    peer: str
    seq: int
    time: int
    unread: int
    read: int
    until: int
    message: Message | None

    @classmethod
    def of(cls, row: frames.ConversationRow, user: str) -> ConversationInfo:
        """What `user` is shown of a row."""
        last = None if row.message is None else Message.of(row.message, user, row.seq)
        return cls(row.peer, row.seq, row.time, row.unread, row.read, row.until, last)

    def __repr__(self) -> str:
        # It ends up in logs; user ids must not.
        return f"<ConversationInfo seq={self.seq} unread={self.unread}>"


class ConversationList(Pages[ConversationInfo]):
    """The conversations, the one with the newest message first."""

    def __init__(
        self,
        ask: Callable[[int, RowPlace | None], Awaitable[frames.ConversationPage]],
        consumer: Consumer,
        limit: int | None,
    ) -> None:
        super().__init__(limit, MAX_CONVERSATION_PAGE)
        self._ask = ask
        self._consumer = consumer
        self._after: RowPlace | None = None

    async def read(self, size: int) -> tuple[Sequence[ConversationInfo], bool]:
        """See `Pages`."""
        page = await self._ask(size, self._after)
        self._after = page.next
        user = self._consumer.user
        rows = [ConversationInfo.of(row, user) for row in page.conversations]
        return rows, page.next is not None
