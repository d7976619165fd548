"""The timing wheel, without a loop."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from gateway.wheel import RESOLUTION_S, Wheel


class Visits:
    """Notes when it is visited; `then` says when to come back."""

    def __init__(self, then: Callable[[float], float | None] = lambda _: None) -> None:
        self.at: list[float] = []
        self._then = then

    def visit(self, now: float) -> float | None:
        """See `Visited`."""
        self.at.append(now)
        return self._then(now)


@given(st.floats(0, 100), st.floats(0, 100))
def test_a_visit_comes_when_due_and_a_resolution_later_at_most(start: float, wait: float) -> None:
    """G8: a deadline is never early, and late by no more than the wheel's resolution."""
    wheel = Wheel(start)
    visits = Visits()
    due = start + wait
    wheel.schedule(visits, due)
    wheel.advance(max(start, due - RESOLUTION_S))
    if due > start + RESOLUTION_S:
        assert visits.at == []
    wheel.advance(due + RESOLUTION_S)
    assert len(visits.at) == 1
    assert len(wheel) == 0


def test_what_was_visited_comes_back_when_it_said() -> None:
    """HP-5.3-1: heartbeats go on."""
    wheel = Wheel(0.0)
    visits = Visits(lambda now: now + 10)
    wheel.schedule(visits, 10.0)
    for quarter in range(200):
        wheel.advance(quarter / 4)
    assert visits.at == [10.25, 20.5, 30.75, 41.0]


def test_what_is_scheduled_again_is_visited_once_at_the_later_time() -> None:
    """HP-6.3-3: a renewal moves the end."""
    wheel = Wheel(0.0)
    visits = Visits()
    wheel.schedule(visits, 5.0)
    wheel.schedule(visits, 50.0)
    wheel.advance(49.0)
    assert visits.at == []
    wheel.advance(51.0)
    assert visits.at == [51.0]


def test_what_is_cancelled_is_not_visited() -> None:
    """A closed session is let go of."""
    wheel = Wheel(0.0)
    visits = Visits()
    wheel.schedule(visits, 5.0)
    wheel.cancel(visits)
    wheel.cancel(visits)
    wheel.advance(10.0)
    assert visits.at == []
    assert len(wheel) == 0


def test_a_visit_may_cancel_or_move_the_next_of_its_slot() -> None:
    """Closing one session may end another of the same moment."""
    wheel = Wheel(0.0)
    cancelled, moved = Visits(), Visits()

    def first(_: float) -> None:
        wheel.cancel(cancelled)
        wheel.schedule(moved, 100.0)

    wheel.schedule(Visits(first), 5.0)
    wheel.schedule(cancelled, 5.0)
    wheel.schedule(moved, 5.0)
    wheel.advance(10.0)
    assert (cancelled.at, moved.at) == ([], [])
    assert len(wheel) == 1


def test_what_is_overdue_is_visited_at_the_next_turn() -> None:
    """A process that was stopped for an hour catches up, each session once."""
    wheel = Wheel(0.0)
    visits = Visits(lambda now: now)
    wheel.schedule(visits, 1.0)
    wheel.advance(3600.0)
    assert visits.at == [3600.0]
    wheel.advance(3600.0 + RESOLUTION_S)
    assert len(visits.at) == 2


def test_a_clock_that_jumps_costs_no_time() -> None:
    """G8: whatever is due by then is visited, in the order in which it was due.

    The wheel used to turn through each quarter of a second in between. A machine that had slept, or
    a clock that a test set ahead by months, held the process up for many seconds.
    """
    wheel, order = Wheel(0.0), list[str]()
    for name, due in (("last", 9e14), ("first", 5.0), ("middle", 1e9)):
        wheel.schedule(Visits(lambda _, name=name: order.append(name)), due)  # type: ignore[misc]
    wheel.advance(1e15)
    assert order == ["first", "middle", "last"]
    visits = Visits()
    wheel.schedule(visits, 1e15 + 1)
    wheel.advance(1e15 + 2)
    assert len(visits.at) == 1
