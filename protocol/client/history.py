"""A conversation's history, page by page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable

from protocol.client import checks
from protocol.client.message import Message
from protocol.frames import ClientFrame, Forget, History, Place, Result
from protocol.limits import MAX_HISTORY_PAGE

Request = Callable[[Callable[[int], ClientFrame]], Awaitable[Result]]
"""Asks the server what a function makes for a request id; raises as `Client.send`."""


class HistoryRequests(ABC):
    """What `Client` can do about what was said before. Raises as `Client.send`."""

    @abstractmethod
    async def _request(
        self, make: Callable[[int], ClientFrame], timeout: float | None, client_id: str = ""
    ) -> Result:
        """Ask one request; see `Client`."""

    @abstractmethod
    def _user(self) -> str:
        """Who is connected."""

    def history(
        self,
        peer: str,
        *,
        limit: int | None = None,
        before: Place | None = None,
        after: Place | None = None,
        timeout: float | None = 30,
    ) -> AsyncIterator[Message]:
        """The messages with `peer`, a user or a group, that are still kept, read already or not.

        Newest first, from before ``before``; or oldest first, from after ``after``. Pages are
        fetched as the iteration gets there, each within ``timeout`` seconds. A message's `place` is
        what to give as ``before`` or ``after``. Iterating raises as `send` does.

        Args:
            peer: a user id, or a group's `Group.address`; all of a group's history is shown to
                whoever is a member now.
            limit: most messages; None: all.
            before, after: where to begin; one of them at most.

        Raises:
            TypeError, ValueError: an argument makes no sense.
        """
        checks.text("peer", peer)
        checks.instance("limit", limit, int, type(None))
        checks.instance("before", before, Place, type(None))
        checks.instance("after", after, Place, type(None))
        if before is not None and after is not None:
            raise ValueError("give either before or after")
        return _read(
            lambda make: self._request(make, timeout),
            self._user,
            peer,
            limit,
            before,
            after,
        )

    async def delete_conversation(self, peer: str, *, timeout: float | None = 30) -> None:
        """Delete the history with `peer`, a user or a group, for this user on all devices.

        Others keep theirs. What comes after the call began stays. Messages that wait in the inbox
        still come. Raises as `send` does; ``timeout`` is for each of its two requests.
        """
        checks.text("peer", peer)
        await _delete(lambda make: self._request(make, timeout), peer)


async def _read(
    request: Request,
    user: Callable[[], str],
    peer: str,
    limit: int | None,
    before: Place | None,
    after: Place | None,
) -> AsyncIterator[Message]:
    """See `HistoryRequests.history`; `user` tells who is connected."""
    left = limit
    while left is None or left > 0:
        size = MAX_HISTORY_PAGE if left is None else min(left, MAX_HISTORY_PAGE)
        page = await request(_page(peer, size, before, after))
        for entry in page.history or ():
            place = entry.place
            yield Message.of(entry.message, user(), place.seq, place.ms)
        if page.next is None:
            return
        if left is not None:
            left -= len(page.history or ())
        if after is None:
            before = page.next
        else:
            after = page.next


def _page(
    peer: str, size: int, before: Place | None, after: Place | None
) -> Callable[[int], ClientFrame]:
    return lambda id: History(id, peer, size, before, after)


async def _delete(request: Request, peer: str) -> None:
    """See `HistoryRequests.delete_conversation`."""
    # Up to a place, so that a repetition can't take what came after the first try.
    upto: Place | None = None
    newest = await request(_page(peer, 1, None, None))
    if newest.history:
        upto = newest.history[0].place
    elif newest.next is not None:
        upto = newest.next
    if upto is not None:
        last = upto
        await request(lambda id: Forget(id, peer, last))
