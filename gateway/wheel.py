"""A timing wheel: one timer for all the sessions of a process.

A timer of the event loop per session would cost an idle session a heap entry and wake-ups of the
loop; here a session costs an entry in a dict.
"""

from __future__ import annotations

from typing import Final, Protocol

RESOLUTION_S: Final = 0.25


class Visited(Protocol):
    """Something with deadlines."""

    def visit(self, now: float) -> float | None:
        """Do what is due at `now`; return when to visit again, or None (both in steady seconds)."""


class Wheel:
    """Calls `visit` on what was scheduled, at most `RESOLUTION_S` late."""

    def __init__(self, now: float) -> None:
        self._slots: dict[int, dict[Visited, None]] = {}
        self._slot_of: dict[Visited, int] = {}
        self._next = int(now / RESOLUTION_S)

    def __len__(self) -> int:
        return len(self._slot_of)

    def schedule(self, visited: Visited, due: float) -> None:
        """Visit `visited` at `due`, in steady seconds. This replaces an earlier time of it."""
        self.cancel(visited)
        slot = max(int(due / RESOLUTION_S) + 1, self._next)
        self._slot_of[visited] = slot
        self._slots.setdefault(slot, {})[visited] = None

    def cancel(self, visited: Visited) -> None:
        """Do not visit `visited` any more. One that is not scheduled is ignored."""
        slot = self._slot_of.pop(visited, None)
        if slot in self._slots:  # it is not while `advance` goes through it
            del self._slots[slot][visited]

    def advance(self, now: float) -> None:
        """Visit all that is due by `now`."""
        last = int(now / RESOLUTION_S)
        while self._next <= last:
            slot = self._slots.pop(self._next, None)
            if slot is None:
                # To the next one that holds something: a clock may go ahead by months at once.
                self._next = min(last + 1, min(self._slots, default=last + 1))
                continue
            self._next += 1
            for visited in tuple(slot):
                # An earlier visit of this slot may have cancelled or moved this one.
                if self._slot_of.get(visited) != self._next - 1:
                    continue
                del self._slot_of[visited]
                due = visited.visit(now)
                if due is not None and visited not in self._slot_of:
                    self.schedule(visited, due)
