"""What `Conversation.history` returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from homeport.client.consumer import Consumer
from homeport.client.message import Message
from homeport.client.reading import Pages
from homeport.frames import HistoryPage
from homeport.limits import MAX_HISTORY_PAGE


class History(Pages[Message]):
    """The messages of a conversation, one after the other.

    Attributes:
        lost: how many messages the store has lost in the part that was read so far.
    """

    def __init__(
        self,
        ask: Callable[[int, int | None, int | None], Awaitable[HistoryPage]],
        consumer: Consumer,
        limit: int | None,
        before: int | None,
        after: int | None,
    ) -> None:
        super().__init__(limit, MAX_HISTORY_PAGE)
        self.lost = 0
        self._ask = ask
        self._consumer = consumer
        self._before = before
        self._after = after

    async def read(self, size: int) -> tuple[Sequence[Message], bool]:
        """See `Pages`."""
        page = await self._ask(size, self._before, self._after)
        if self._after is None:
            self._before = page.next
        else:
            self._after = page.next
        self.lost += page.lost
        user = self._consumer.user
        messages = [Message.of(entry.message, user, entry.seq) for entry in page.entries]
        return messages, page.next is not None
