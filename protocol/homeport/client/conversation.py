"""Conversations, as a client takes part in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Final

from homeport import frames
from homeport.client import checks
from homeport.client.consumer import Consumer
from homeport.client.events import Receipt
from homeport.client.message import Message, MessageRef, Sent, wire_id
from homeport.client.outgoing import Outgoing
from homeport.frames import Options
from homeport.ids import new_client_id
from homeport.limits import MAX_HISTORY_PAGE

_NO_OPTIONS: Final = Options()


class Conversation:
    """The conversation with a user, or in a group: what `Client.conversation` returns.

    Making one asks the server nothing. Its methods wait for the answer, repeat the request after a
    reconnect, and raise errors, as `Client.send` does.

    Attributes:
        peer: the other user's id, or ``g:`` and the group's id. `Message.peer` is the same.
    """

    def __init__(self, peer: str, outgoing: Outgoing, consumer: Consumer) -> None:
        self.peer = peer
        self._outgoing = outgoing
        self._consumer = consumer

    def __repr__(self) -> str:
        # It ends up in logs; user ids must not.
        return f"<{type(self).__name__}>"

    async def send(
        self,
        body: str | bytes,
        *,
        kind: str | None = None,
        client_id: str | None = None,
        mentions: Iterable[str] = (),
        reply: MessageRef | str | None = None,
        history: bool = True,
        online_only: bool = False,
        ttl: int | None = None,
        timeout: float | None = 30,
    ) -> Sent:
        """Send a message here, and wait until it is stored for every recipient.

        Arguments and errors are those of `Client.send`.
        """
        kind, data = checks.content(body, kind)
        name = checks.text("client_id", client_id or new_client_id())
        answered = None if reply is None else wire_id(reply)
        checks.instance("ttl", ttl, int, type(None))
        people = tuple(checks.user_ids("mentions", mentions))
        asked = Options(people, answered, history, online_only, ttl)
        options = None if asked == _NO_OPTIONS else asked
        accepted = await self._outgoing.request(
            frames.Send, name, self.peer, kind, data, options, timeout=timeout, client_id=name
        )
        return Sent(accepted.id.hex(), accepted.time, self.peer)

    def signal(self, kind: str, body: str | bytes = b"") -> bool:
        """Send a signal, which matters only now (typing, a call).

        It arrives as a `Signal` event at all connected clients of the user, or of the group's
        members, which include this client. It is never stored nor repeated. A refusal of the server
        is only logged. Returns False if there is no connection, or if the server does not read as
        fast as this client writes; the signal is dropped then.

        Raises:
            TypeError: an argument is of a wrong type.
            ValueError: the body is over 4096 bytes, or a text cannot be encoded as UTF-8.
        """
        return self._outgoing.signal(self.peer, kind, body)

    def history(
        self,
        *,
        limit: int | None = None,
        before: int | None = None,
        after: int | None = None,
        timeout: float | None = 30,
    ) -> AsyncIterator[Message]:
        """Iterate over the messages that are still kept, read or unread.

        The newest message comes first, or, with ``after``, the oldest. Present members of a group
        see all of its history. Pages are fetched when the iteration reaches them, each within
        ``timeout`` seconds. Iterating raises what `Client.send` raises.

        Args:
            limit: the largest number of messages; None: all.
            before, after: the `seq` of a message: begin before it, or after it. Give at most one.

        Raises:
            TypeError, ValueError: an argument makes no sense.
        """
        checks.instance("limit", limit, int, type(None))
        checks.instance("before", before, int, type(None))
        checks.instance("after", after, int, type(None))
        if before is not None and after is not None:
            raise ValueError("give either before or after")
        return self._read(limit, before, after, timeout)

    async def _read(
        self,
        left: int | None,
        before: int | None,
        after: int | None,
        timeout: float | None,
    ) -> AsyncIterator[Message]:
        while left is None or left > 0:
            size = MAX_HISTORY_PAGE if left is None else min(left, MAX_HISTORY_PAGE)
            page = await self._outgoing.request(
                frames.History, self.peer, size, before, after, timeout=timeout
            )
            for entry in page.entries:
                yield Message.of(entry.message, self._consumer.user, entry.seq, entry.message.time)
            if page.next is None:
                return
            if left is not None:
                left -= len(page.entries)
            if after is None:
                before = page.next
            else:
                after = page.next

    async def delete_history(self, *, timeout: float | None = 30) -> None:
        """Delete the history for this user, on all devices.

        Others keep theirs. What comes after the call began stays. Messages that wait in the inbox
        still come. ``timeout`` is for each of its two requests.
        """
        # Up to a place, so that a repetition can't take what came after the first try.
        newest = await self._outgoing.request(frames.History, self.peer, 1, timeout=timeout)
        upto = newest.entries[0].seq if newest.entries else newest.next
        if upto is not None:
            await self._outgoing.request(frames.Forget, self.peer, upto, timeout=timeout)

    async def receipts(self, *, timeout: float | None = 30) -> list[Receipt]:
        """How far the others have got, as far as they have begun to receive.

        At most 100 are returned, those who have read furthest.
        """
        reach = await self._outgoing.request(frames.Receipts, self.peer, timeout=timeout)
        return [Receipt(self.peer, *row) for row in reach.receipts]
