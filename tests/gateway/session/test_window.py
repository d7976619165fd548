"""The in-flight window, without a connection."""

from __future__ import annotations

import pytest
from homeport.frames import Cursor
from homeport.limits import WINDOW
from hypothesis import given
from hypothesis import strategies as st

from gateway.session.window import AckAhead, Window


def test_what_is_up_to_the_cursor_counts_as_sent_and_acknowledged() -> None:
    """HP-7.2-2: pushes go on after `connected.cursor`."""
    window = Window(Cursor("e", 50, 5), top=7)
    assert (window.sent, window.acked.number, window.behind, window.room) == (5, 5, True, WINDOW)
    assert window.cursor == Cursor("e", 50, 5)


def test_a_top_below_the_cursor_is_not_ahead_of_it() -> None:
    """HP-7.2-2: nothing is pushed a second time, whatever top was heard of."""
    assert not Window(Cursor("e", 50, 5), top=3).behind


def test_each_push_takes_room_and_each_ack_gives_it_back() -> None:
    """HP-7.3-5: no more than the window is in flight; HP-7.3-1: an ack is cumulative."""
    window = Window(Cursor("e", 0, 0), top=0)
    for seq in range(1, WINDOW + 1):
        window.pushed(seq, seq * 10)
    assert window.room == 0
    assert window.ack(200)
    assert window.room == 200
    assert window.acked == Cursor("e", 2000, 200)


def test_an_ack_at_or_below_an_earlier_one_changes_nothing() -> None:
    """HP-7.3-1."""
    window = Window(Cursor("e", 0, 0), top=0)
    window.pushed(1, 10)
    window.pushed(2, 20)
    assert window.ack(2)
    assert not window.ack(2)
    assert not window.ack(1)
    assert window.acked == Cursor("e", 20, 2)


def test_an_ack_of_what_was_never_sent_is_refused() -> None:
    """HP-7.3-4: and it changes nothing."""
    window = Window(Cursor("e", 0, 0), top=9)
    window.pushed(1, 10)
    with pytest.raises(AckAhead) as caught:
        window.ack(2)
    assert (caught.value.number, caught.value.sent) == (2, 1)
    assert window.acked.number == 0
    assert window.room == WINDOW - 1


def test_a_lost_range_takes_one_place_and_is_acknowledged_as_a_whole() -> None:
    """G5: to acknowledge a part of a loss acknowledges nothing of it yet."""
    window = Window(Cursor("e", 0, 0), top=0)
    window.pushed(100, 1000)  # 1 to 100 were said to be lost
    assert window.room == WINDOW - 1
    assert not window.ack(99)
    assert window.ack(100)
    assert window.acked == Cursor("e", 1000, 100)


@given(st.lists(st.integers(0, 600), max_size=60))
def test_the_window_never_holds_more_and_never_forgets(acks: list[int]) -> None:
    """HP-7.3-5 and G3, for any acknowledgements: all is pushed once, in order, within the room."""
    window = Window(Cursor("e", 0, 0), top=600)
    pushed = []
    acked = 0
    for ack in [*acks, *range(0, 601, 100)]:
        while window.behind and window.room:
            seq = window.sent + 1
            window.pushed(seq, seq)
            pushed.append(seq)
        assert window.sent - acked <= WINDOW
        if ack > window.sent:
            with pytest.raises(AckAhead):
                window.ack(ack)
        else:
            assert window.ack(ack) == max(ack - acked, 0)
            acked = max(acked, ack)
        assert window.acked.number == acked
    assert pushed == list(range(1, len(pushed) + 1))
