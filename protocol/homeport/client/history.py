"""A conversation's history, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator

from homeport.client import checks
from homeport.client.consumer import Consumer
from homeport.client.message import Message
from homeport.client.outgoing import Outgoing
from homeport.frames import Forget, History, Place
from homeport.limits import MAX_HISTORY_PAGE


class HistoryRequests:
    """The methods of `Client` for earlier messages. They raise what `Client.send` raises."""

    _consumer: Consumer
    _outgoing: Outgoing

    def history(
        self,
        peer: str,
        *,
        limit: int | None = None,
        before: Place | None = None,
        after: Place | None = None,
        timeout: float | None = 30,
    ) -> AsyncIterator[Message]:
        """Iterate over the messages with `peer` that are still kept, read or unread.

        The newest message comes first, or, with ``after``, the oldest. Pages are fetched when the
        iteration reaches them, each within ``timeout`` seconds. Iterating raises what `send`
        raises.

        Args:
            peer: a user id, or a group's `Group.address`. Present members of a group see all of its
                history.
            limit: the largest number of messages; None: all.
            before, after: the `place` of a message: begin before it, or after it. Give at most one.

        Raises:
            TypeError, ValueError: an argument makes no sense.
        """
        checks.text("peer", peer)
        checks.instance("limit", limit, int, type(None))
        checks.instance("before", before, Place, type(None))
        checks.instance("after", after, Place, type(None))
        if before is not None and after is not None:
            raise ValueError("give either before or after")
        return self._read(peer, limit, before, after, timeout)

    async def _read(
        self,
        peer: str,
        left: int | None,
        before: Place | None,
        after: Place | None,
        timeout: float | None,
    ) -> AsyncIterator[Message]:
        while left is None or left > 0:
            size = MAX_HISTORY_PAGE if left is None else min(left, MAX_HISTORY_PAGE)
            page = await self._outgoing.request(History, peer, size, before, after, timeout=timeout)
            for entry in page.entries:
                place = entry.place
                yield Message.of(entry.message, self._consumer.user, place.seq, place.ms)
            if page.next is None:
                return
            if left is not None:
                left -= len(page.entries)
            if after is None:
                before = page.next
            else:
                after = page.next

    async def delete_conversation(self, peer: str, *, timeout: float | None = 30) -> None:
        """Delete the history with `peer`, a user or a group, for this user on all devices.

        Others keep theirs. What comes after the call began stays. Messages that wait in the inbox
        still come. Raises as `send` does; ``timeout`` is for each of its two requests.
        """
        checks.text("peer", peer)
        # Up to a place, so that a repetition can't take what came after the first try.
        newest = await self._outgoing.request(History, peer, 1, timeout=timeout)
        upto = newest.entries[0].place if newest.entries else newest.next
        if upto is not None:
            await self._outgoing.request(Forget, peer, upto, timeout=timeout)
