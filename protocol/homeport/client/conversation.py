"""Conversations, as a client takes part in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from homeport import frames
from homeport.client import checks
from homeport.client.consumer import Consumer
from homeport.client.events import Receipt
from homeport.client.history import History
from homeport.client.message import Message, MessageRef, Sent, numbered
from homeport.client.outgoing import Outgoing
from homeport.frames import HistoryPage, Options
from homeport.ids import new_client_id

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
        reply: Message | MessageRef | int | None = None,
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
        answered = None if reply is None else numbered("reply", reply, self.peer)
        checks.instance("ttl", ttl, int, type(None))
        people = tuple(checks.user_ids("mentions", mentions))
        asked = Options(people, answered, history, online_only, ttl)
        options = None if asked == _NO_OPTIONS else asked
        accepted = await self._outgoing.request(
            frames.Send, name, self.peer, kind, data, options, timeout=timeout, client_id=name
        )
        return Sent(self.peer, accepted.seq, accepted.id.hex(), accepted.time)

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
        before: Message | MessageRef | int | None = None,
        after: Message | MessageRef | int | None = None,
        timeout: float | None = 30,
    ) -> History:
        """Iterate over the messages that are still kept, read or unread.

        The newest message comes first, or, with ``after``, the oldest. Present members of a group
        see all of its history. Pages are fetched when the iteration reaches them, each within
        ``timeout`` seconds. Iterating raises what `Client.send` raises.

        Args:
            limit: the largest number of messages; None: all.
            before, after: a message of this conversation, or a `seq`: begin before it, or after it.
                ``after=0`` begins with the oldest message. Give at most one.

        Raises:
            TypeError, ValueError: an argument makes no sense.
        """
        checks.instance("limit", limit, int, type(None))
        if before is not None and after is not None:
            raise ValueError("give either before or after")
        start, stop = (
            None if message is None else numbered(name, message, self.peer)
            for name, message in (("after", after), ("before", before))
        )

        async def ask(size: int, before: int | None, after: int | None) -> HistoryPage:
            return await self._outgoing.request(
                frames.History, self.peer, size, before, after, timeout=timeout
            )

        return History(ask, self._consumer, limit, stop, start)

    async def delete_history(
        self,
        *,
        upto: Message | MessageRef | int | None = None,
        timeout: float | None = 30,
    ) -> None:
        """Delete the history for this user, on all devices, up to a message and with it.

        Others keep theirs. Messages that wait in the inbox still come.

        Args:
            upto: a message of this conversation, or a `seq`. None: all of it; what comes after the
                call began stays.
            timeout: seconds for each request; without ``upto`` there are two.

        Raises:
            TypeError, ValueError: ``upto`` makes no sense.
        """
        if upto is not None:
            last: int | None = numbered("upto", upto, self.peer)
        else:
            # Up to a number, so that a repetition can't take what came after the first try.
            newest = await self._outgoing.request(frames.History, self.peer, 1, timeout=timeout)
            last = newest.entries[0].seq if newest.entries else newest.next
        if last is not None:
            await self._outgoing.request(frames.Forget, self.peer, last, timeout=timeout)

    async def receipts(self, *, timeout: float | None = 30) -> list[Receipt]:
        """How far the others have got, as far as they have begun to receive.

        At most 100 are returned, those who have read furthest.
        """
        reach = await self._outgoing.request(frames.Receipts, self.peer, timeout=timeout)
        return [Receipt(self.peer, *row) for row in reach.receipts]
