"""The client's receipts: what it tells about the messages it got, and what it is told.

A message's watermark is its `time`; see SPEC.md section 14.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from protocol import frames
from protocol.client import checks
from protocol.client.errors import ClientClosed, RequestRefused, SendTimeout
from protocol.client.events import Receipt
from protocol.client.message import Message, Sent
from protocol.client.outgoing import Outgoing

MARK_EVERY_S: Final = 1.0
"""Seconds over which what is to be told of a conversation is told at once."""

_log = logging.getLogger("homeport.client")


@dataclass(frozen=True, slots=True)
class Reached:
    """How far one message has got: numbers of the conversation's other `people`."""

    people: int
    delivered: int
    read: int


class Unread(dict[str, int]):
    """Unread messages by peer; 1000 stands for 1000 or more.

    `more` is true where not every conversation is in it: it holds 200, those that
    became unread last.
    """

    more: bool = False


class ReceiptRequests:
    """What `Client` can tell and ask about receipts."""

    _marks: Marks
    _outgoing: Outgoing

    def mark_read(self, message: Message) -> None:
        """Tell that the user has read `message` and all before it in its conversation.

        It leaves by itself within a second, together with what else is to be told of that
        conversation, and is repeated after a reconnect; at the latest it leaves with `close`. To
        say it again, or of an earlier message, changes nothing. (That messages were delivered is
        told without being asked, as `messages` hands them out.)

        Raises:
            ClientClosed: the client has ended, so nothing can be told any more.
            TypeError: `message` is none.
        """
        checks.instance("message", message, Message)
        self._marks.read(message)

    async def unread(self, timeout: float | None = 30) -> Unread:
        """Count the unread messages of others, by peer; conversations without any are left out.

        Raises as `Client.send` does.
        """
        counts = await self._outgoing.request(frames.Unread, timeout=timeout)
        unread = Unread(counts.rows)
        unread.more = counts.more
        return unread

    async def receipts(self, peer: str, timeout: float | None = 30) -> list[Receipt]:
        """How far everyone else has got in the conversation with `peer`; who has not is left out.

        At most 100, those who have read furthest. Raises as `Client.send` does.
        """
        checks.text("peer", peer)
        reach = await self._outgoing.request(frames.Receipts, peer, timeout=timeout)
        return [Receipt(peer, *row) for row in reach.receipts]

    async def reached(self, message: Message | Sent, timeout: float | None = 30) -> Reached:
        """How many others of its conversation got and read `message`; in a group, of its members.

        Raises as `Client.send` does.
        """
        checks.instance("message", message, Message, Sent)
        reach = await self._outgoing.request(
            frames.Receipts, message.peer, message.time, timeout=timeout
        )
        return Reached(*reach.reached)


class Marks:
    """Collects watermarks, and tells them once a second and conversation at most."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._loop = asyncio.get_running_loop()
        self._outgoing = outgoing
        self._pending: dict[str, tuple[int, int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._telling: set[asyncio.Task[None]] = set()

    def delivered(self, message: Message) -> None:
        """The program was handed `message`."""
        if not message.own:
            self._mark(message.peer, message.time, 0)

    def read(self, message: Message) -> None:
        """The user has read `message`, and all before it in its conversation.

        Raises:
            ClientClosed: the client has ended.
            RuntimeError: this is another event loop.
        """
        checks.loop(self._loop)
        self._outgoing.check_open()
        self._mark(message.peer, message.time, message.time)

    def flush(self) -> bool:
        """Tell what is pending; it is written in the next turn of the loop. False: nothing was."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, {}
        for peer, (delivered, read) in pending.items():
            task = self._loop.create_task(self._tell(peer, delivered, read))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
        return bool(pending)

    def _mark(self, peer: str, delivered: int, read: int) -> None:
        if not peer:  # of a notice, which is in no conversation
            return
        before = self._pending.get(peer, (0, 0))
        self._pending[peer] = (max(before[0], delivered), max(before[1], read))
        if self._timer is None:
            self._timer = self._loop.call_later(MARK_EVERY_S, self.flush)

    async def _tell(self, peer: str, delivered: int, read: int) -> None:
        try:
            await self._outgoing.request(frames.Mark, peer, delivered, read, timeout=None)
        except SendTimeout:
            self._mark(peer, delivered, read)  # it may be told at any later time
        except RequestRefused as refused:
            # Nobody waits for it, and the next message of the conversation says it again.
            _log.warning("a receipt was refused with error %s", refused.code)
        except ClientClosed:
            return
