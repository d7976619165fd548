"""Who got what: lost, doubled and reordered messages, counted by sender and number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct


class Sent(Struct, frozen=True):
    """One sender's half: it sent numbers 0 to `count` - 1, of which `open` were not accepted.

    A number is in `open` where the server refused it or did not answer: it may have been delivered
    or not, and is nobody's loss.
    """

    count: int
    open: frozenset[int]


class Received:
    """One receiver's half: from each sender, the number due next and the holes before it.

    The hot path compares with `due` itself; only what does not fit comes to `odd`.
    """

    __slots__ = ("doubled", "due", "holes", "reordered")

    def __init__(self) -> None:
        self.due: dict[int, int] = {}
        self.holes: dict[int, set[int]] = {}
        self.doubled = 0
        self.reordered = 0

    def take(self, sender: int, seq: int) -> None:
        """Count one message."""
        if self.due.get(sender, 0) == seq:
            self.due[sender] = seq + 1
        else:
            self.odd(sender, seq)

    def odd(self, sender: int, seq: int) -> None:
        """Count a message whose number is not the one due."""
        due = self.due.get(sender, 0)
        holes = self.holes.setdefault(sender, set())
        if seq > due:
            holes.update(range(due, seq))
            self.due[sender] = seq + 1
        elif seq in holes:
            holes.discard(seq)
            self.reordered += 1
        else:
            self.doubled += 1

    def lost(self, sent: Mapping[int, Sent], senders: Iterable[int]) -> int:
        """How many accepted messages of `senders` have not come."""
        total = 0
        for sender in senders:
            if (told := sent.get(sender)) is None:
                continue
            due = self.due.get(sender, 0)
            holes = self.holes.get(sender, set())
            total += len(holes - told.open)
            total += max(0, told.count - due) - sum(1 for seq in told.open if seq >= due)
        return total
