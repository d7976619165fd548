"""Mirrors gateway/hub/fanout.py: what leaves together, what a seat takes of it.

Rooms with their stores and channels are in test_rooms.py.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from homeport.frames import Priority
from homeport.limits import MAX_LAST

from gateway.hub.fanout import MAX_JOINED, UNTOLD, Batch, Bundle, Said, Seat


def said(seq: int, size: int = 1, priority: int = Priority.NORMAL) -> Said:
    """A payload that ends with its number."""
    return Said(seq, priority, b"%0*d" % (size, seq))


class Session:
    """Takes what is offered, but for what `takes` refuses."""

    def __init__(self, takes: Callable[[bytes | Bundle], bool] = lambda _: True) -> None:
        self.id = "1"
        self.took: list[bytes | Bundle] = []
        self.relayed: list[bytes] = []
        self._takes = takes

    def on_room(self, payload: bytes | Bundle, priority: int) -> bool:
        """See `RoomSession`."""
        if not self._takes(payload):
            return False
        self.took.append(payload)
        return True

    def on_relayed(self, payload: bytes) -> None:
        """See `RoomSession`."""
        self.relayed.append(payload)


def seat_of(session: Session, sent: int = 0) -> Seat:
    """A seat that is open, and has had everything up to `sent`."""
    seat = Seat(session, "1")
    seat.waiting, seat.sent = None, sent
    return seat


@pytest.mark.parametrize(
    ("items", "joined"),
    [
        ([said(3)], b"3"),
        ([said(3), said(4)], (b"3", b"4")),
        ([said(3), said(0), said(4)], (b"3", b"0", b"4")),  # a signal has no number
        ([said(4), said(3)], None),
        ([said(3), said(3)], None),
        ([said(1, MAX_JOINED // 2), said(2, MAX_JOINED // 2)], ...),
        ([said(1, MAX_JOINED), said(2)], None),
    ],
)
def test_what_rises_and_is_small_leaves_in_one_write(items: list[Said], joined: object) -> None:
    """G9: more than `MAX_JOINED` is offered one by one, so that a slow client is seen in time."""
    batch = Batch(items)
    assert (batch.joined is not None) if joined is ... else batch.joined == joined


def test_a_batch_is_as_important_as_the_least_of_it() -> None:
    """A client that does not keep up misses it, and is then offered the more important ones."""
    batch = Batch([said(1, priority=Priority.HIGH), said(2, priority=Priority.LOW)])
    assert batch.lowest == Priority.LOW
    session = Session(lambda payload: payload == b"1")
    seat = seat_of(session)
    seat.give(batch)
    assert (session.took, seat.sent) == ([b"1"], 1)


def test_a_seat_takes_what_is_new_to_it() -> None:
    """Section 15: each number once, and a signal without one every time."""
    session = Session()
    seat = seat_of(session, sent=4)
    seat.give(Batch([said(4), said(5), said(0)]))
    assert (session.took, session.relayed, seat.sent) == ([b"5"], [b"0"], 5)
    seat.give(Batch([said(5)]))
    assert session.took == [b"5"]


def test_a_seat_that_is_not_open_keeps_the_last_numbers() -> None:
    """G9: as many as the answer to a join can hold; signals are for those who are there."""
    session = Session()
    seat = Seat(session, "1")
    for seq in range(1, MAX_LAST + 2):
        seat.push(said(seq))
    seat.push(said(0))
    assert seat.waiting is not None
    assert [each.seq for each in seat.waiting] == list(range(2, MAX_LAST + 2))
    assert not session.took


def test_no_number_of_a_new_numbering_comes_before_the_client_knows_of_it() -> None:
    """Section 15: it would take the number for one of the old numbering."""
    session = Session(lambda payload: payload != b"new")
    seat = seat_of(session, sent=7)
    seat.renumber(0, b"new")  # the client does not keep up, and misses it
    assert seat.sent == UNTOLD
    seat.push(said(1))
    assert not session.took
    seat.tell(2, b"state")
    seat.push(said(3))
    assert session.took == [b"state", b"3"]
