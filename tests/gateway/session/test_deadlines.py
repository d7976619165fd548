"""When a session is pinged, warned and ended, without a connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.session.deadlines import Deadlines, Due

WALL = 1_700_000_000.0


def deadlines(lifetime: int = 86_400) -> Deadlines:
    """A session that is connected at 100 s steady time, with heartbeats of 25 s."""
    return Deadlines(25.0, 100.0, int(WALL) + lifetime, WALL)


def test_a_ping_is_due_after_a_heartbeat_of_silence_and_not_before() -> None:
    """HP-5.3-1."""
    due = deadlines()
    assert due.visit(124.9, WALL, True) == []
    assert due.visit(125.0, WALL, True) == [Due.PING]


def test_any_frame_puts_the_ping_off() -> None:
    """HP-5.3-1: a heartbeat without any frame."""
    due = deadlines()
    due.heard(120.0)
    assert due.visit(144.9, WALL, True) == []
    assert due.visit(145.0, WALL, True) == [Due.PING]


def test_two_unanswered_pings_end_it_a_heartbeat_each() -> None:
    """HP-5.3-3."""
    due = deadlines()
    assert due.visit(125.0, WALL, True) == [Due.PING]
    assert due.visit(149.9, WALL, True) == []
    assert due.visit(150.0, WALL, True) == [Due.PING]
    assert due.visit(174.9, WALL, True) == []
    assert due.visit(175.0, WALL, True) == [Due.SILENT]


def test_one_frame_between_two_pings_starts_the_count_anew() -> None:
    """HP-5.3-3: two pings in a row."""
    due = deadlines()
    assert due.visit(125.0, WALL, True) == [Due.PING]
    due.heard(126.0)
    assert due.visit(151.0, WALL, True) == [Due.PING]
    assert due.visit(176.0, WALL, True) == [Due.PING]
    assert due.visit(201.0, WALL, True) == [Due.SILENT]


def test_a_client_that_is_not_read_is_not_silent() -> None:
    """HP-5.3-3: what the server does not read, the client can't be blamed for."""
    due = deadlines()
    assert due.visit(1000.0, WALL, False) == []
    assert due.next_visit(1000.0, WALL) == 1025.0


@pytest.mark.parametrize(
    ("lifetime", "warning"), [(86_400, 86_340), (121, 61), (120, 60), (119, 59.5), (10, 5)]
)
def test_the_warning_comes_a_minute_before_or_half_way(lifetime: int, warning: float) -> None:
    """HP-6.3-1."""
    due = deadlines(lifetime)
    assert due.visit(100.0, WALL + warning - 0.25, False) == []
    assert due.visit(100.0, WALL + warning, False) == [Due.EXPIRING]
    assert due.visit(100.0, WALL + warning, False) == []


def test_the_end_is_the_second_the_token_names() -> None:
    """HP-6.3-2: not one before, and from then on."""
    due = deadlines(100)
    assert Due.EXPIRED not in due.visit(100.0, WALL + 99.99, False)
    assert due.visit(100.0, WALL + 100, False) == [Due.EXPIRED]


def test_the_end_comes_before_everything_else() -> None:
    """HP-6.3-2: a session past its end is not pinged or warned any more."""
    assert deadlines(100).visit(1000.0, WALL + 1000, True) == [Due.EXPIRED]


def test_a_renewal_moves_the_end_and_warns_again() -> None:
    """HP-6.3-1 and HP-6.3-3."""
    due = deadlines(100)
    assert due.visit(100.0, WALL + 50, False) == [Due.EXPIRING]
    due.renewed(int(WALL) + 1000, WALL + 60)
    assert due.visit(100.0, WALL + 939, False) == []
    assert due.visit(100.0, WALL + 940, False) == [Due.EXPIRING]
    assert due.visit(100.0, WALL + 1000, False) == [Due.EXPIRED]


def test_a_jump_of_the_wall_clock_moves_no_heartbeat() -> None:
    """HP-5.3-1: heartbeats go by the steady clock."""
    due = deadlines()
    assert due.visit(124.9, WALL + 3600, True) == []
    assert due.visit(124.9, WALL - 3600, True) == []
    assert due.visit(125.0, WALL - 3600, True) == [Due.PING]


@given(st.floats(0, 1000), st.integers(1, 86_400), st.floats(-90_000, 90_000), st.floats(0.1, 1000))
def test_a_visit_is_never_later_than_a_heartbeat(
    ahead: float, lifetime: int, jump: float, heartbeat: float
) -> None:
    """G8: a wall clock that jumps forward ends a session within a heartbeat, not in hours."""
    due = Deadlines(heartbeat, 100.0, int(WALL) + lifetime, WALL)
    now = 100.0 + ahead
    assert now <= due.next_visit(now, WALL + jump) <= now + heartbeat
