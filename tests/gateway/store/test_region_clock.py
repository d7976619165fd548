"""The region's time: whatever a single clock does, what lasts goes by the right one.

The clocks are the test's own: a machine's two, and those of Redis servers, which tell theirs in
ms. With real ones: tests/system/test_clock.py.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.redis.errors import Unavailable
from gateway.store.region_clock import CONFIRM_S, LIMIT_S, SETTLE_S, STALE_S, RegionClock

DAY_S = 86_400.0


class Machines:
    """A gateway's machine and some Redis servers. `now` is the true time; `wall` is what the
    machine's clock adds to it, and `redis` what each server's does; None: it is away."""

    def __init__(self, servers: int = 1) -> None:
        self.now = 1_800_000_000.0
        self.wall = 0.0
        self.redis: list[float | None] = [0.0] * servers
        self.slow_s = 0.001
        self._booted = self.now - 1000
        self.clock = RegionClock(lambda: self.now + self.wall, lambda: self.now - self._booted)

    def everywhere(self) -> list[Awaitable[Any]]:
        """Ask all servers: each answers half of `slow_s` after it was asked."""
        asked = self.now

        async def told(off: float | None) -> bytes:
            self.now = asked + self.slow_s
            if off is None:
                raise Unavailable("not_connected")
            return b"%d" % round((asked + self.slow_s / 2 + off) * 1000)

        return [told(off) for off in self.redis]

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, while Redis' clock is read once a second."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + 1, until)
            await self.clock.measure(self.everywhere)

    @property
    def off(self) -> float:
        """By how much the region's time is ahead of the true one."""
        return self.clock.now() - self.now


@pytest.fixture
async def machines() -> Machines:
    """Clocks that agree."""
    machines = Machines()
    await machines.pass_time(2)
    assert machines.off == pytest.approx(0, abs=0.001)
    assert machines.clock.trusted
    return machines


async def test_until_redis_has_told_the_time_nothing_is_deleted() -> None:
    """There is nothing yet to compare the machine's clock with."""
    machines = Machines()
    machines.wall = 200 * DAY_S
    assert (machines.clock.known, machines.clock.trusted) == (False, False)
    assert machines.clock.now() == machines.now + 200 * DAY_S
    await machines.clock.measure(machines.everywhere)
    assert machines.clock.known
    assert machines.off == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("jump", [200 * DAY_S, -200 * DAY_S, LIMIT_S + 1, -LIMIT_S - 1])
async def test_a_wall_clock_that_jumps_moves_nothing(machines: Machines, jump: float) -> None:
    """A virtual machine is resumed, a time server is wrong: the region's time goes on, the gateway
    says that it should not serve, and deletes nothing until the clock is right again."""
    machines.wall = jump
    assert not machines.clock.trusted  # at once, and not with the next look at Redis
    with capture_logs() as said:
        await machines.pass_time(3600)
    assert machines.off == pytest.approx(0, abs=0.001)
    assert (machines.clock.right, machines.clock.trusted) == (False, False)
    assert [(entry["event"], entry["clock"]) for entry in said] == [("clock_wrong", "gateway")]
    machines.wall = 0
    with capture_logs() as said:
        await machines.pass_time(1)
    assert [(entry["event"], entry["clock"]) for entry in said] == [("clock_right", "gateway")]
    assert machines.clock.right
    assert machines.clock.trusted


async def test_a_little_difference_is_none(machines: Machines) -> None:
    """Clocks that a time server corrects are milliseconds apart, and step by a second at times."""
    machines.wall = LIMIT_S - 1
    machines.redis = [-0.8]
    with capture_logs() as said:
        await machines.pass_time(5)
    assert machines.off == pytest.approx(-0.8, abs=0.001)
    assert machines.clock.trusted
    assert not said


@pytest.mark.parametrize("jump", [200 * DAY_S, -200 * DAY_S, LIMIT_S + 1])
async def test_a_jump_of_redis_clock_alone_is_not_followed(machines: Machines, jump: float) -> None:
    """Its machine is the one that is wrong: times stay right, and nothing is deleted. The gateway
    goes on serving, or no gateway of the region would."""
    machines.redis = [jump]
    with capture_logs() as said:
        await machines.pass_time(CONFIRM_S * 3)
    assert machines.off == pytest.approx(0, abs=0.001)
    assert machines.clock.right
    assert not machines.clock.trusted
    assert [(entry["event"], entry["clock"]) for entry in said] == [("clock_wrong", "redis")]
    assert machines.clock.redis_off_s == pytest.approx(jump, abs=0.01)
    machines.redis = [0.0]
    await machines.pass_time(1)
    assert machines.clock.trusted


async def test_a_blip_of_a_machine_that_has_both_clocks_is_not_followed(
    machines: Machines,
) -> None:
    """Gateway and Redis on one machine clock time server is wrong for half a minute."""
    machines.wall, machines.redis = 200 * DAY_S, [200 * DAY_S]
    await machines.pass_time(CONFIRM_S / 2)
    assert machines.off == pytest.approx(0, abs=0.001)
    assert not machines.clock.trusted
    machines.wall, machines.redis = 0, [0.0]
    await machines.pass_time(1)
    assert machines.clock.trusted


@pytest.mark.parametrize("jump", [36_000.0, -36_000.0])
async def test_a_jump_that_lasts_and_that_both_clocks_made_is_followed(
    machines: Machines, jump: float
) -> None:
    """A machine with both stood still for a night, say: the time has to become right again. But
    people have ten minutes to see that it did not, before anything is deleted by it."""
    machines.wall, machines.redis = jump, [jump]
    with capture_logs() as said:
        await machines.pass_time(CONFIRM_S + 2)
    assert machines.off == pytest.approx(jump, abs=0.001)
    assert "clock_followed" in [entry["event"] for entry in said]
    assert machines.clock.right
    await machines.pass_time(SETTLE_S - 5)
    assert not machines.clock.trusted
    await machines.pass_time(10)
    assert machines.clock.trusted


async def test_two_jumps_are_not_one_that_lasts(machines: Machines) -> None:
    """What is confirmed must be one time."""
    machines.wall, machines.redis = 3600.0, [3600.0]
    await machines.pass_time(CONFIRM_S - 5)
    machines.wall, machines.redis = 7200.0, [7200.0]
    await machines.pass_time(CONFIRM_S - 5)
    assert machines.off == pytest.approx(0, abs=0.001)
    await machines.pass_time(10)
    assert machines.off == pytest.approx(7200, abs=0.001)


async def test_a_wrong_redis_that_is_corrected_is_followed() -> None:
    """A gateway that starts has nothing but Redis' time. Where that was wrong, the machine's clock
    confirms the correction."""
    machines = Machines()
    machines.redis = [3600.0]
    await machines.pass_time(2)
    assert machines.off == pytest.approx(3600, abs=0.001)
    assert not machines.clock.right
    assert not machines.clock.trusted
    machines.redis = [0.0]
    await machines.pass_time(CONFIRM_S + 2)
    assert machines.off == pytest.approx(0, abs=0.001)
    assert machines.clock.right


async def test_while_redis_is_away_time_goes_on_and_nothing_is_deleted(
    machines: Machines,
) -> None:
    """The machine's clock may jump meanwhile, and nobody could say."""
    machines.redis = [None]
    await machines.pass_time(STALE_S + 2)
    assert machines.off == pytest.approx(0, abs=0.001)
    assert not machines.clock.trusted
    machines.wall = DAY_S
    await machines.pass_time(600)
    assert machines.off == pytest.approx(0, abs=0.001)


async def test_a_slow_answer_moves_nothing(machines: Machines) -> None:
    """A Redis that is busy, or a link that is: the answer is as old as anything between the
    question and now."""
    machines.slow_s = 20.0
    with capture_logs() as said:
        await machines.pass_time(60)
    assert machines.off == pytest.approx(0, abs=0.001)
    assert not said


@pytest.mark.parametrize("odd", [0, 1, 2])
async def test_of_several_primaries_the_middle_one_is_believed(odd: int) -> None:
    """One primary of a cluster with a wrong clock, whichever is asked first, moves nothing. It is
    said, and nothing is deleted."""
    machines = Machines(servers=3)
    machines.redis[odd] = 3600.0
    await machines.pass_time(3)
    assert machines.off == pytest.approx(0, abs=0.001)
    assert machines.clock.right
    assert not machines.clock.trusted
    assert machines.clock.redis_off_s == pytest.approx(3600, abs=0.01)
    machines.redis[odd] = None  # it is away
    await machines.pass_time(1)
    assert machines.clock.trusted


async def test_a_fault_that_is_not_of_the_store_is_raised(machines: Machines) -> None:
    """It would be a fault of this program: it ends the worker, and is not passed over."""

    async def broken() -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await machines.clock.measure(lambda: [broken()])
