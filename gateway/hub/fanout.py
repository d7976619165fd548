"""The fan-out of rooms: what was heard goes to every session of a room here, in slices.

What comes for a room within `PACE_S` leaves together: it is joined once for each kind of wire, and
each session gets one write. So a room in which hundreds speak at once costs no more writes than one
of a hundred messages a second, and a room that is read as it is written waits for nothing.

A room of thousands is written to in slices, so that others' latency holds; each room keeps its own
order.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple, Protocol

import structlog
from homeport.frames import Priority
from homeport.limits import MAX_LAST

from gateway.turns import Turns

PACE_S: Final = 0.016
"""A room's messages leave at most every so many seconds: a screen shows no more of them."""

MAX_JOINED: Final = 64 * 1024
"""Bytes of payloads that are joined at most; past it each is offered alone, so that a session that
does not keep up is seen in time."""

Bundle = tuple[bytes, ...]
"""Payloads, each one protocol frame as MessagePack, that leave together in their order."""

_log = structlog.get_logger()

SLICE: Final = 256
"""Sessions written to between two turns of the loop."""

BACKLOG: Final = {Priority.LOW: 256, Priority.NORMAL: 512, Priority.HIGH: 1024}
"""Messages of one room waiting for their fan-out past which those of a priority are dropped."""


class RoomSession(Protocol):
    """What a room asks of a session. None of it may block or raise."""

    @property
    def id(self) -> str: ...
    def on_room(self, payload: bytes | Bundle, priority: int) -> bool:
        """Send `payload`, or, where the client does not keep up, drop it and return False."""

    def on_relayed(self, payload: bytes) -> None:
        """Send `payload` if the client keeps up."""


class Said(NamedTuple):
    """One payload for a room. `seq` is 0 where it has no number: a signal."""

    seq: int
    priority: int
    payload: bytes


class Batch:
    """What leaves together: `joined` where a client that keeps up can get it in one write."""

    __slots__ = ("first", "items", "joined", "last", "lowest")

    def __init__(self, items: list[Said]) -> None:
        self.items = items
        numbers = [said.seq for said in items if said.seq]
        self.first = numbers[0] if numbers else 2**63
        self.last = numbers[-1] if numbers else 0
        self.lowest = min(said.priority for said in items)
        rising = all(a < b for a, b in pairwise(numbers))
        self.joined: bytes | Bundle | None = None
        if len(items) == 1:
            self.joined = items[0].payload
        elif rising and sum(len(said.payload) for said in items) <= MAX_JOINED:
            self.joined = tuple([said.payload for said in items])


UNTOLD: Final = 2**63
"""The `Seat.sent` of a session that does not know yet that a new numbering began: it must not get a
number of the new numbering before that."""


class Seat:
    """A session in a room. `sent` is the last number that it was given or knows to be past.

    Until the seat is open, `waiting` holds what comes, because the room's last messages go first.
    """

    __slots__ = ("_session", "name", "sent", "waiting")

    def __init__(self, session: RoomSession, name: str) -> None:
        self._session = session
        self.name = name
        self.sent = 0
        self.waiting: deque[Said] | None = deque(maxlen=MAX_LAST)

    def give(self, batch: Batch) -> None:
        """Send the session what is new to it; a slow client misses some by priority."""
        if (
            self.sent < batch.first
            and self.waiting is None
            and batch.joined is not None
            and self._session.on_room(batch.joined, batch.lowest)
        ):
            if batch.last:
                self.sent = batch.last
            return
        for said in batch.items:
            self.push(said)

    def push(self, said: Said) -> None:
        """Give the session one payload, unless its number is past."""
        if self.waiting is not None:
            if said.seq:
                self.waiting.append(said)
        elif not said.seq:
            self._session.on_relayed(said.payload)
        elif said.seq > self.sent and self._session.on_room(said.payload, said.priority):
            self.sent = said.seq

    def tell(self, seq: int, state: bytes) -> None:
        """Give the session the state of the room, in which numbers up to `seq` are past."""
        if self.waiting is None and self._session.on_room(state, Priority.HIGH):
            self.sent = seq if self.sent == UNTOLD else max(self.sent, seq)

    def renumber(self, seq: int, state: bytes) -> None:
        """Tell the session by `state` that a new numbering began, and goes on after `seq`."""
        if self.waiting is not None:
            self.waiting.clear()  # of the old one; the answer to the join tells the epoch
        else:
            self.sent = UNTOLD
            self.tell(seq, state)


class FanOut:
    """One room's messages on their way to `seats`, which are by session id."""

    __slots__ = ("_backlog", "_batch", "_planned", "_seats", "_started", "_takers", "_turns")

    def __init__(self, seats: dict[str, Seat], turns: Turns[int]) -> None:
        self._seats = seats
        self._turns = turns
        self._backlog: list[Said] = []
        self._batch: Batch | None = None
        self._takers: Iterator[tuple[str, Seat]] = iter(())
        self._started = float("-inf")
        self._planned = False

    def takes(self, priority: int) -> bool:
        """False where so much waits already that a message of `priority` is dropped."""
        return len(self._backlog) < BACKLOG[Priority(priority)]

    def add(self, said: Said) -> None:
        """Let a payload go to every seat, soon."""
        self._backlog.append(said)
        if not self._planned:
            self._plan()

    def flush(self) -> None:
        """Write now what waits, to every seat: what follows must come behind it."""
        while self._batch is not None or self._backlog:
            self._step(sys.maxsize)

    def stop(self) -> None:
        """Give up what waits."""
        self._backlog.clear()
        self._batch = None

    def _plan(self) -> None:
        self._planned = True
        loop = asyncio.get_running_loop()
        wait = self._started + PACE_S - loop.time()
        if wait > 0:
            loop.call_later(wait, self._turns.ask, self._step)
        else:
            self._turns.ask(self._step)

    def _step(self, most: int) -> int:
        if self._batch is None:
            self._planned = bool(self._backlog)
            if not self._planned:  # it was stopped meanwhile
                return 0
            self._started = asyncio.get_running_loop().time()
            self._batch, self._backlog = Batch(self._backlog), []
            self._takers = iter(tuple(self._seats.items()))
        batch, seats, written = self._batch, self._seats, 0
        for session_id, seat in self._takers:
            if session_id in seats:  # it may have left since
                try:
                    seat.give(batch)
                except Exception as error:  # noqa: BLE001 - the others' turn comes whatever it was
                    _log.error("fan_out_failed", exc_info=error)
                written += 1
                if written == most:
                    self._turns.ask(self._step)
                    return written
        self._batch = None
        if self._backlog:
            self._plan()
        else:
            self._planned = False
        return written
