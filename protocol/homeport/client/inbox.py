"""Which messages have come, which were handed out, and how far the caller has dealt with them.

Does no I/O. Four positions only move forward within an epoch::

    acked on this connection <= cursor <= handed out <= received

All are numbers of the inbox. A program does not see them: it acknowledges messages, each of which
holds the cursor that it leads to.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from homeport import frames
from homeport.client.events import ConversationReset, Lost, Reset
from homeport.client.message import Message
from homeport.frames import Cursor


class OutOfOrder(Exception):
    """The server pushed another number than the one that had to come."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(f"number {got} came where {expected} was due")
        self.expected = expected
        self.got = got


@dataclass(frozen=True, slots=True)
class _Passing:
    """A reset among the messages. The cursor moves to it when the caller has acknowledged the
    message before it, whose number is `after`."""

    event: ConversationReset
    cursor: Cursor
    after: int


class Inbox:
    """The client's end of the inbox, across all its connections.

    Its memory is bounded by the server's window: the server pushes no more than that many
    unacknowledged numbers, and what is pushed again after a reconnect is dropped here.

    Attributes:
        cursor: what the caller has acknowledged, or None before the first connection.
        user: the connected user's id; "" before the first connection.
    """

    def __init__(self, cursor: Cursor | None) -> None:
        self.cursor = cursor
        self.user = ""
        self._queue: deque[Message | _Passing] = deque()
        self._told: deque[_Passing] = deque()  # resets that wait for acks of messages before them
        self._received = self._handed = cursor.number if cursor else 0
        self._last = self._received  # the last one received that was not told as lost
        self._taken: Message | None = None
        # Of the present connection: the number due next, and the highest one acknowledged on it.
        self._due = 0
        self._acked = 0

    def connected(self, frame: frames.Connected) -> list[Reset | Lost]:
        """Begin a connection; returns the events to report to the caller."""
        events: list[Reset | Lost] = []
        start = frame.cursor
        first, last = frame.lost or (start.number + 1, start.number)
        if self.cursor is None or self.cursor.epoch != start.epoch:
            if self.cursor is not None:
                events.append(Reset(self.cursor.epoch, start.epoch))
            # What waits in the queue stays: those messages are real, and may not come again.
            self.cursor = start
            self._told.clear()
            self._received = self._handed = self._last = min(start.number, first - 1)
        self.user = frame.user
        self._acked = start.number
        self._due = max(start.number, last) + 1
        events += self._skip_to(self._due)
        return events

    def push(self, frame: frames.Push) -> bool:
        """Take in a push; false when it had been received on an earlier connection.

        Raises:
            OutOfOrder: it is not the number that is due.
        """
        cursor = self._receive(frame.number, frame.ms)
        if cursor is None:
            return False
        self._queue.append(Message.of(frame.message, self.user, frame.seq, cursor))
        return True

    def reset(self, frame: frames.Reset) -> bool:
        """Take in a reset, for `pass_resets`; else as `push`."""
        after = self._last
        cursor = self._receive(frame.number, frame.ms)
        if cursor is None:
            return False
        self._queue.append(_Passing(ConversationReset(frame.peer, frame.seq), cursor, after))
        return True

    def lost(self, frame: frames.Lost) -> list[Lost]:
        """Skip messages that the server no longer has; returns the event to report to the caller.

        Raises:
            OutOfOrder: the range does not begin with the number that is due.
        """
        if frame.first != self._due or frame.last < frame.first:
            raise OutOfOrder(self._due, frame.first)
        self._due = frame.last + 1
        return self._skip_to(self._due)

    def pass_resets(self) -> list[ConversationReset]:
        """The resets before the next message, each once; the cursor moves over them if it may."""
        events = []
        while self._queue and isinstance(passing := self._queue[0], _Passing):
            self._queue.popleft()
            if self._is_present(passing.cursor):
                self._told.append(passing)
            events.append(passing.event)
        self._move_over_told()
        return events

    def take(self) -> Message | None:
        """Hand out the next message, or None when none is here; `pass_resets` goes before it."""
        if not self._queue:
            return None
        message = self._queue.popleft()
        assert isinstance(message, Message), "the caller passes resets first"
        self._taken = message
        if message.cursor is not None and self._is_present(message.cursor):
            self._handed = message.cursor.number
        return message

    def ack_taken(self) -> bool:
        """Acknowledge what was handed out last; true if the cursor moved."""
        message, self._taken = self._taken, None
        return message is not None and self.ack(message)

    def ack(self, message: Message) -> bool:
        """Acknowledge `message` and all before it; true if the cursor moved.

        A message of an older epoch moves nothing: its number means another message now.

        Raises:
            ValueError: this client never handed that message out.
        """
        to = message.cursor
        if to is None or not self._is_present(to) or to.number <= self._position:
            return False
        if to.number > self._handed:
            raise ValueError("this client has not handed out this message yet")
        self.cursor = to
        self._move_over_told()
        return True

    @property
    def ack_size(self) -> int:
        """How many numbers the next `ack_due` would acknowledge."""
        # After a reconnect the cursor may be ahead of what this connection has pushed again.
        return min(self._position, self._due - 1) - self._acked

    def ack_due(self) -> int | None:
        """The number to send in an ack now, or None; counts it as sent."""
        size = self.ack_size
        if size <= 0:
            return None
        self._acked += size
        return self._acked

    @property
    def _position(self) -> int:
        return self.cursor.number if self.cursor is not None else 0

    def _is_present(self, cursor: Cursor) -> bool:
        """The cursor is of the present numbering."""
        return self.cursor is not None and self.cursor.epoch == cursor.epoch

    def _receive(self, number: int, ms: int) -> Cursor | None:
        """The cursor at a number that came; None if it was received on an earlier connection."""
        if number != self._due:
            raise OutOfOrder(self._due, number)
        self._due = number + 1
        if number <= self._received:
            return None
        self._received = self._last = number
        assert self.cursor is not None, "the connection's owner calls connected() first"
        return Cursor(self.cursor.epoch, ms, number)

    def _move_over_told(self) -> None:
        while self._told and self._told[0].after <= self._position:
            passing = self._told.popleft()
            if passing.cursor.number > self._position:
                self.cursor = passing.cursor

    def _skip_to(self, due: int) -> list[Lost]:
        """What this client had already received is not lost to it."""
        first, self._received = self._received + 1, max(self._received, due - 1)
        return [Lost(first, due - 1)] if first < due else []
