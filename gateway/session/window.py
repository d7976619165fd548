"""The in-flight window: what a session was pushed, what it acknowledged, and what comes next.

Numbers of an inbox are dense, so one comparison tells a message that is next from a repeat and from
a hole. The window bounds how far a session can run ahead of its acknowledgements; what does not fit
stays in the inbox (G9).
"""

from __future__ import annotations

from homeport.frames import Cursor
from homeport.limits import WINDOW


class AckAhead(Exception):
    """`number` was never sent on this connection; the last that was is `sent`."""

    def __init__(self, number: int, sent: int) -> None:
        super().__init__(f"{number} was never sent here; the last was {sent}")
        self.number = number
        self.sent = sent


class Window:
    """Starts at `cursor`: everything up to it counts as sent and acknowledged here."""

    __slots__ = ("_acked", "_in_flight", "epoch", "sent", "sent_ms", "top")

    def __init__(self, cursor: Cursor, top: int) -> None:
        self.epoch = cursor.epoch
        self.sent = cursor.number
        self.sent_ms = cursor.ms
        self._acked = (cursor.number, cursor.ms)
        self.top = max(top, cursor.number)
        self._in_flight: list[tuple[int, int]] = []  # a deque's 700 bytes, in every idle session

    @property
    def acked(self) -> Cursor:
        """How far it was acknowledged."""
        number, ms = self._acked
        return Cursor(self.epoch, ms, number)

    @property
    def room(self) -> int:
        """How many more may be pushed before an acknowledgement."""
        return WINDOW - len(self._in_flight)

    @property
    def behind(self) -> bool:
        """True while the inbox holds something that was not pushed."""
        return self.sent < self.top

    @property
    def cursor(self) -> Cursor:
        """The last number that was pushed, where reading goes on."""
        return Cursor(self.epoch, self.sent_ms, self.sent)

    def pushed(self, number: int, ms: int) -> None:
        """Number `number` goes out now: a message, or the news that all up to it is lost. `ms` is
        the time of its reference."""
        self.sent = number
        self.sent_ms = ms
        if number > self.top:
            self.top = number
        self._in_flight.append((number, ms))

    def ack(self, number: int) -> int:
        """Everything up to `number` is dealt with. Returns how many pushes of it had not been.

        Raises:
            AckAhead: `number` was not pushed yet.
        """
        if number > self.sent:
            raise AckAhead(number, self.sent)
        flight, count = self._in_flight, 0
        while count < len(flight) and flight[count][0] <= number:
            count += 1
        if count == 0:
            return 0
        self._acked = flight[count - 1]
        del flight[:count]
        return count
