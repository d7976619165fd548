"""Connections that wait for a turn: who has one, and how many in one turn of the loop."""

from __future__ import annotations

import asyncio

from gateway.net.turns import BUDGET_S, Turns
from tests.harness import FakeClock


class Flooding:
    """A connection that always has more, and takes `seconds` for a share."""

    def __init__(
        self, turns: Turns, clock: FakeClock, seconds: float = 0.0, times: int = 9
    ) -> None:
        self.turns = turns
        self.clock = clock
        self.seconds = seconds
        self.times = times
        self.taken = 0

    def take_turn(self) -> None:
        """Work off a share."""
        self.taken += 1
        self.clock.advance(self.seconds)
        if self.taken < self.times:
            self.turns.add(self)


async def test_in_a_turn_of_the_loop_each_has_one_share(clock: FakeClock) -> None:
    """G9: one that has more waits until all others had theirs, and the loop was free meanwhile."""
    turns = Turns(clock.clock().steady)
    waiting = [Flooding(turns, clock) for _ in range(3)]
    for each in waiting:
        turns.add(each)
    for turn in range(1, 4):
        await asyncio.sleep(0)
        assert [each.taken for each in waiting] == [turn] * 3


async def test_all_of_them_together_leave_time_for_others(clock: FakeClock) -> None:
    """G9: three that flood cost no more of a turn than one; the longest waiting is next."""
    turns = Turns(clock.clock().steady)
    waiting = [Flooding(turns, clock, BUDGET_S) for _ in range(3)]
    for each in waiting:
        turns.add(each)
    for turn in range(1, 7):
        await asyncio.sleep(0)
        assert sum(each.taken for each in waiting) == turn
    assert [each.taken for each in waiting] == [2, 2, 2]


async def test_it_rests_when_nobody_waits(clock: FakeClock) -> None:
    """An idle gateway takes no CPU; and one that comes later has its turn."""
    turns = Turns(clock.clock().steady)
    for _ in range(2):
        one = Flooding(turns, clock, times=2)
        turns.add(one)
        for _ in range(9):
            await asyncio.sleep(0)
        assert one.taken == 2
