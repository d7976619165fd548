"""Receipts: the client reports how far its user has read, and learns how far others have.

A message's watermark is its `seq`; see SPEC.md section 14.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from homeport import frames
from homeport.client.errors import ClientClosed, RequestRefused, SendTimeout
from homeport.client.events import ConversationReset
from homeport.client.message import Message, MessageRef, named
from homeport.client.outgoing import Outgoing, Requests

MARK_EVERY_S: Final = 1.0
"""A conversation's watermarks are collected for this many seconds and sent at once."""

_log = logging.getLogger("homeport.client")


@dataclass(frozen=True, slots=True)
class Reached:
    """How many of the conversation's other `people` have received and read one message."""

    people: int
    delivered: int
    read: int


class Unread(dict[str, int]):
    """Unread messages by peer.

    `more` is true if some conversations are missing: only the 200 that became unread last are
    here.
    """

    more: bool = False


class ReceiptRequests(Requests):
    """The methods of `Client` for receipts."""

    _marks: Marks

    def mark_read(self, message: Message | MessageRef) -> None:
        """Report that the user has read `message` and all earlier messages of its conversation.

        The report is sent within a second, at the latest by `close`, and repeated after a
        reconnect. Marking the same or an earlier message again changes nothing. (`messages` reports
        by itself that messages were delivered.)

        Raises:
            ClientClosed: the client has ended.
            TypeError: `message` is no message.
            ValueError: it has no number in a conversation.
        """
        self._marks.read(*named(message))

    async def unread(self, *, timeout: float | None = 30) -> Unread:
        """Count the unread messages of others, by peer; conversations without any are left out.

        Raises what `Client.send` raises.
        """
        counts = await self._outgoing.request(frames.Unread, timeout=timeout)
        unread = Unread(counts.rows)
        unread.more = counts.more
        return unread

    async def reached(
        self, message: Message | MessageRef, *, timeout: float | None = 30
    ) -> Reached:
        """How many others in the conversation (in a group, of its members) got and read `message`.

        Raises what `Client.send` raises.
        """
        reach = await self._outgoing.request(frames.Receipts, *named(message), timeout=timeout)
        return Reached(*reach.reached)


class Marks:
    """Collects watermarks, and sends them at most once per second and conversation."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self._pending: dict[str, tuple[int, int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._telling: set[asyncio.Task[None]] = set()

    def delivered(self, message: Message) -> None:
        """The program was handed `message`."""
        if not message.own and message.peer:
            self._mark(message.peer, message.seq, 0)

    def read(self, peer: str, seq: int) -> None:
        """The user has read the conversation with `peer` up to the number `seq`.

        Raises:
            ClientClosed: the client has ended.
            RuntimeError: the client was not entered, or this is another event loop.
        """
        self._outgoing.check_open()
        self._mark(peer, seq, seq)

    def reset(self, event: ConversationReset) -> None:
        """What was to be told above `event.seq` is about messages that count no more."""
        delivered, read = self._pending.pop(event.peer, (0, 0))
        if min(delivered, event.seq):
            self._pending[event.peer] = (min(delivered, event.seq), min(read, event.seq))

    def flush(self) -> bool:
        """Tell what is pending; it is written in the next turn of the loop. False: nothing was."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, {}
        for peer, (delivered, read) in pending.items():
            task = asyncio.create_task(self._tell(peer, delivered, read))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
        return bool(pending)

    def _mark(self, peer: str, delivered: int, read: int) -> None:
        before = self._pending.get(peer, (0, 0))
        self._pending[peer] = (max(before[0], delivered), max(before[1], read))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(MARK_EVERY_S, self.flush)

    async def _tell(self, peer: str, delivered: int, read: int) -> None:
        try:
            await self._outgoing.request(frames.Mark, peer, delivered, read, timeout=None)
        except SendTimeout:
            self._mark(peer, delivered, read)  # it may be told at any later time
        except RequestRefused as refused:
            # Nobody waits for it, and the next message of the conversation says it again.
            _log.warning("a receipt was refused with error %s", refused.name)
        except ClientClosed:
            return
