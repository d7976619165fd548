"""Those that wait for a turn: who has one, and how much of it."""

from __future__ import annotations

import asyncio

from gateway.turns import Turns


class Flooding:
    """Has more, `times` times, and takes `seconds` each time."""

    def __init__(self, turns: Turns[float], seconds: float = 0.0, times: int = 9) -> None:
        self.turns = turns
        self.seconds = seconds
        self.times = times
        self.taken = 0

    def take_turn(self, _: float) -> float:
        """Do a share."""
        self.taken += 1
        if self.taken < self.times:
            self.turns.ask(self.take_turn)
        return self.seconds


async def test_in_a_turn_of_the_loop_each_has_one_share() -> None:
    """G9: one that has more waits until all others had theirs, and the loop was free meanwhile."""
    turns = Turns(0.002)
    waiting = [Flooding(turns) for _ in range(3)]
    for each in waiting:
        turns.ask(each.take_turn)
    for turn in range(1, 4):
        await asyncio.sleep(0)
        assert [each.taken for each in waiting] == [turn] * 3


async def test_all_of_them_together_leave_time_for_others() -> None:
    """G9: three that flood cost no more of a turn than one; the longest waiting is next."""
    turns = Turns(0.002)
    waiting = [Flooding(turns, 0.002) for _ in range(3)]
    for each in waiting:
        turns.ask(each.take_turn)
    for turn in range(1, 7):
        await asyncio.sleep(0)
        assert sum(each.taken for each in waiting) == turn
    assert [each.taken for each in waiting] == [2, 2, 2]


async def test_it_rests_when_nobody_waits() -> None:
    """An idle gateway takes no CPU; and one that comes later has its turn."""
    turns = Turns(0.002)
    for _ in range(2):
        one = Flooding(turns, times=2)
        turns.ask(one.take_turn)
        for _ in range(9):
            await asyncio.sleep(0)
        assert one.taken == 2


async def test_a_turn_of_the_loop_is_shared_in_order() -> None:
    """G9: a large room does as many writes as a turn has, and the others come before its rest."""
    turns, order = Turns(256), list[str]()
    ended = asyncio.Event()

    def large(most: int) -> int:
        order.append(f"large {most}")
        if len(order) == 1:
            turns.ask(large)
            return most
        ended.set()
        return 1

    def small(most: int) -> int:
        order.append(f"small {most}")
        return 10

    turns.ask(large)
    turns.ask(small)
    await asyncio.wait_for(ended.wait(), 5)
    assert order == ["large 256", "small 256", "large 246"]
