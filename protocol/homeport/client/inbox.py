"""Which messages have come, which were handed out, and how far the caller has dealt with them.

Does no I/O. Four positions only move forward within an epoch::

    acked on this connection <= cursor <= handed out <= received
"""

from __future__ import annotations

from collections import deque

from homeport import frames
from homeport.client.events import Lost, Reset
from homeport.client.message import Message
from homeport.frames import Cursor


class OutOfOrder(Exception):
    """The server pushed another number than the one that had to come."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(f"message {got} came where {expected} was due")
        self.expected = expected
        self.got = got


class Inbox:
    """The client's end of the inbox, across all its connections.

    Its memory is bounded by the server's window: the server pushes no more than that many
    unacknowledged messages, and what is pushed again after a reconnect is dropped here.

    Attributes:
        cursor: what the caller has acknowledged, or None before the first connection.
        user: the connected user's id; "" before the first connection.
    """

    def __init__(self, cursor: Cursor | None) -> None:
        self.cursor = cursor
        self.user = ""
        self._queue: deque[Message] = deque()
        self._received = self._handed = cursor.seq if cursor else 0
        self._taken: Message | None = None
        # Of the present connection: the number due next, and the highest one acknowledged on it.
        self._due = 0
        self._acked = 0

    def connected(self, frame: frames.Connected) -> list[Reset | Lost]:
        """Begin a connection; returns the events to report to the caller."""
        events: list[Reset | Lost] = []
        start = frame.cursor
        first, last = frame.lost or (start.seq + 1, start.seq)
        if self.cursor is None or self.cursor.epoch != start.epoch:
            if self.cursor is not None:
                events.append(Reset(self.cursor.epoch, start.epoch))
            # What waits in the queue stays: those messages are real, and may not come again.
            self.cursor = start
            self._received = self._handed = min(start.seq, first - 1)
        self.user = frame.user
        self._acked = start.seq
        self._due = max(start.seq, last) + 1
        events += self._skip_to(self._due)
        return events

    def push(self, frame: frames.Push) -> bool:
        """Take in a push; false when it had been received on an earlier connection.

        Raises:
            OutOfOrder: it is not the number that is due.
        """
        seq = frame.seq
        if seq != self._due:
            raise OutOfOrder(self._due, seq)
        self._due = seq + 1
        if seq <= self._received:
            return False
        self._received = seq
        assert self.cursor is not None, "the connection's owner calls connected() first"
        self._queue.append(Message.of(frame.message, self.user, seq, frame.ms, self.cursor.epoch))
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

    def take(self) -> Message | None:
        """Hand out the next message, or None when none is here."""
        if not self._queue:
            return None
        message = self._taken = self._queue.popleft()
        if self.cursor is not None and message.epoch == self.cursor.epoch:
            self._handed = message.seq
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
        cursor = self.cursor
        if cursor is None or message.epoch != cursor.epoch or message.seq <= cursor.seq:
            return False
        if message.seq > self._handed:
            raise ValueError("this client has not handed out a message with this number yet")
        self.cursor = Cursor(cursor.epoch, message.stored, message.seq)
        return True

    @property
    def ack_size(self) -> int:
        """How many numbers the next `ack_due` would acknowledge."""
        if self.cursor is None:
            return 0
        # After a reconnect the cursor may be ahead of what this connection has pushed again.
        return min(self.cursor.seq, self._due - 1) - self._acked

    def ack_due(self) -> int | None:
        """The number to send in an ack now, or None; counts it as sent."""
        size = self.ack_size
        if size <= 0:
            return None
        self._acked += size
        return self._acked

    def _skip_to(self, due: int) -> list[Lost]:
        """What this client had already received is not lost to it."""
        first, self._received = self._received + 1, max(self._received, due - 1)
        return [Lost(first, due - 1)] if first < due else []
