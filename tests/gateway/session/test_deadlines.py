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


def visit(due: Deadlines, now: float, wall: float) -> list[Due]:
    """What a visit finds beside the regular check."""
    return [each for each in due.visit(now, wall) if each is not Due.CHECK]


def test_a_ping_is_due_after_a_heartbeat_of_silence_and_not_before() -> None:
    """HP-5.3-1."""
    due = deadlines()
    assert visit(due, 124.9, WALL) == []
    assert visit(due, 125.0, WALL) == [Due.PING]


def test_any_frame_puts_the_ping_off() -> None:
    """HP-5.3-1: a heartbeat without any frame."""
    due = deadlines()
    due.heard(120.0)
    assert visit(due, 144.9, WALL) == []
    assert visit(due, 145.0, WALL) == [Due.PING]


def test_two_unanswered_pings_end_it_a_heartbeat_each() -> None:
    """HP-5.3-3."""
    due = deadlines()
    assert visit(due, 125.0, WALL) == [Due.PING]
    assert visit(due, 149.9, WALL) == []
    assert visit(due, 150.0, WALL) == [Due.PING]
    assert visit(due, 174.9, WALL) == []
    assert visit(due, 175.0, WALL) == [Due.SILENT]


def test_one_frame_between_two_pings_starts_the_count_anew() -> None:
    """HP-5.3-3: two pings in a row."""
    due = deadlines()
    assert visit(due, 125.0, WALL) == [Due.PING]
    due.heard(126.0)
    assert visit(due, 151.0, WALL) == [Due.PING]
    assert visit(due, 176.0, WALL) == [Due.PING]
    assert visit(due, 201.0, WALL) == [Due.SILENT]


def test_a_client_that_is_not_read_is_not_silent() -> None:
    """HP-5.3-3: what the server does not read, the client can't be blamed for."""
    due = deadlines()
    due.stalled(120.0)
    assert visit(due, 169.9, WALL) == []
    due.flowing()
    assert visit(due, 169.9, WALL) == [Due.PING]


def test_a_client_that_does_not_read_has_two_heartbeats() -> None:
    """HP-5.5-3: counted from when it fell behind; one that caught up begins anew."""
    due = deadlines()
    due.stalled(110.0)
    due.flowing()
    due.stalled(120.0)
    assert due.next_visit(150.0, WALL) == 170.0
    assert visit(due, 169.9, WALL) == []
    assert visit(due, 170.0, WALL) == [Due.STALLED]


def test_a_session_is_compared_with_the_store_now_and_then() -> None:
    """G3: what was published and not heard is found, whatever the heartbeat; a check for another
    reason puts the next one off."""
    due = Deadlines(600.0, 100.0, int(WALL) + 86_400, WALL)
    assert due.next_visit(100.0, WALL) == 130.0
    assert due.visit(129.9, WALL) == []
    assert due.visit(130.0, WALL) == [Due.CHECK]
    due.checked(140.0)
    assert due.visit(169.9, WALL) == []
    assert due.visit(170.0, WALL) == [Due.CHECK]


@pytest.mark.parametrize(
    ("lifetime", "warning"), [(86_400, 86_340), (121, 61), (120, 60), (119, 59.5), (10, 5)]
)
def test_the_warning_comes_a_minute_before_or_half_way(lifetime: int, warning: float) -> None:
    """HP-6.3-1."""
    due = deadlines(lifetime)
    assert visit(due, 100.0, WALL + warning - 0.25) == []
    assert visit(due, 100.0, WALL + warning) == [Due.EXPIRING]
    assert visit(due, 100.0, WALL + warning) == []


def test_the_end_is_the_second_the_token_names() -> None:
    """HP-6.3-2: not one before, and from then on."""
    due = deadlines(100)
    assert Due.EXPIRED not in visit(due, 100.0, WALL + 99.99)
    assert visit(due, 100.0, WALL + 100) == [Due.EXPIRED]


def test_the_end_comes_before_everything_else() -> None:
    """HP-6.3-2: a session past its end is not pinged or warned any more."""
    assert visit(deadlines(100), 1000.0, WALL + 1000) == [Due.EXPIRED]


def test_a_renewal_moves_the_end_and_warns_again() -> None:
    """HP-6.3-1 and HP-6.3-3."""
    due = deadlines(100)
    assert visit(due, 100.0, WALL + 50) == [Due.EXPIRING]
    due.renewed(int(WALL) + 1000, WALL + 60)
    assert visit(due, 100.0, WALL + 939) == []
    assert visit(due, 100.0, WALL + 940) == [Due.EXPIRING]
    assert visit(due, 100.0, WALL + 1000) == [Due.EXPIRED]


def test_a_jump_of_the_wall_clock_moves_no_heartbeat() -> None:
    """HP-5.3-1: heartbeats go by the steady clock."""
    due = deadlines()
    assert visit(due, 124.9, WALL + 3600) == []
    assert visit(due, 124.9, WALL - 3600) == []
    assert visit(due, 125.0, WALL - 3600) == [Due.PING]


@given(st.floats(0, 1000), st.integers(1, 86_400), st.floats(-90_000, 90_000), st.floats(0.1, 1000))
def test_a_visit_is_never_later_than_a_heartbeat(
    ahead: float, lifetime: int, jump: float, heartbeat: float
) -> None:
    """G8: a wall clock that jumps forward ends a session within a heartbeat, not in hours."""
    due = Deadlines(heartbeat, 100.0, int(WALL) + lifetime, WALL)
    now = 100.0 + ahead
    assert now <= due.next_visit(now, WALL + jump) <= now + heartbeat
