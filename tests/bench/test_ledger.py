"""Counting by sender and number, against a plain model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.ledger import Received, Sent


@given(
    count=st.integers(0, 30),
    arrived=st.lists(st.integers(0, 29), max_size=60),
    left_open=st.frozensets(st.integers(0, 29), max_size=5),
)
def test_loss_and_doubles_are_those_of_a_plain_count(
    count: int, arrived: list[int], left_open: frozenset[int]
) -> None:
    """Lost: accepted and never here. Doubled: here before. In any order."""
    arrived = [number for number in arrived if number < count]
    left_open = frozenset(number for number in left_open if number < count)
    received = Received()
    for number in arrived:
        received.take(1, number)
    here = set(arrived)
    assert received.doubled == len(arrived) - len(here)
    expected = sum(1 for number in range(count) if number not in here and number not in left_open)
    assert received.lost({1: Sent(count, left_open)}, [1]) == expected
    late = sum(
        1
        for at, n in enumerate(arrived)
        if n not in arrived[:at] and n < max(arrived[:at], default=-1)
    )
    assert received.reordered == late


def test_senders_are_counted_apart() -> None:
    """A sender who was not to be heard is nobody's loss."""
    received = Received()
    received.take(1, 0)
    received.take(2, 0)
    sent = {one: Sent(2, frozenset()) for one in (1, 2, 3)}
    assert received.lost(sent, [1]) == 1
    assert received.lost(sent, [1, 2, 3]) == 4
    assert received.lost({}, [1]) == 0
