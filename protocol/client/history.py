"""A conversation's history, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from protocol.client.message import Message
from protocol.frames import ClientFrame, Forget, History, Place, Result
from protocol.limits import MAX_HISTORY_PAGE

Request = Callable[[Callable[[int], ClientFrame]], Awaitable[Result]]
"""Asks the server what a function makes for a request id; raises as `Client.send`."""


async def read(
    request: Request,
    user: Callable[[], str],
    peer: str,
    limit: int | None,
    before: Place | None,
    after: Place | None,
) -> AsyncIterator[Message]:
    """See `Client.history`; `user` tells who is connected."""
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


async def delete(request: Request, peer: str) -> None:
    """See `Client.delete_conversation`."""
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
