"""The region's time: Redis' clock, which a gateway carries on by its monotonic clock.

A gateway's own wall clock may be set wrong, by hand or by a time server, or stand still with its
machine. Nothing that lasts depends on it. Redis' clock is asked once per second; in between, and
while Redis is away, a clock that nobody can set counts the time since then. The wall clock is a
witness: if it and Redis disagree, nothing is deleted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median_low
from typing import Any, Final

import structlog

from gateway.redis.errors import OperationFailed
from gateway.redis.link import Link
from gateway.store.keys import Keys
from gateway.store.scripts import script

LIMIT_S: Final = 5.0
"""By how much two clocks may differ before one of them counts as wrong."""

EVERY_S: Final = 1.0
STALE_S: Final = 10.0
"""Nothing is deleted when Redis' clock was read longer ago than this."""

CONFIRM_S: Final = 60.0
"""For how long the wall clock must confirm a jump of Redis' clock before the jump is followed."""

SETTLE_S: Final = 600.0
"""For how long nothing is deleted after that: people have this long to mend a machine's clock."""

Ask = Callable[[], Sequence[Awaitable[Any]]]
"""Asks servers for their time: each answers as `TIME`, or with an `OperationFailed`."""

TIME: Final = script("time", "now")
"""Tells the clock of the server that has its key, in ms since 1970."""

_log = structlog.get_logger()


async def time_of(link: Link, keys: Keys) -> int:
    """Redis' clock, in milliseconds since 1970. Leaves nothing in a Redis that may be another's."""
    return int(await link.run(TIME, (keys.clock(0),), "leave nothing"))


def _uninterrupted() -> float:
    """Seconds of a clock that nobody sets, and that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class RegionClock:
    """Tells the region's time. All times are in seconds.

    `wall` is the machine's clock, since 1970; `steady` is one that never jumps.

    A jump of Redis' clock by more than `LIMIT_S` is followed once the wall clock has confirmed it
    for `CONFIRM_S`. Until then the old time is carried on.
    """

    def __init__(
        self,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = _uninterrupted,
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._offset: float | None = None  # what `steady` lacks to the region's time
        self._heard_at = float("-inf")
        self._settled_at = float("-inf")
        self._confirmed: tuple[float, float] | None = None  # an offset after a jump, since when
        self._said = {"gateway": False, "redis": False}
        self.redis_off_s = 0.0
        """By how much Redis' clock, or one primary's, was ahead of the region's time."""

    def now(self) -> float:
        """The region's time, since 1970; this machine's until Redis was asked once."""
        return self._wall() if self._offset is None else self._steady() + self._offset

    @property
    def known(self) -> bool:
        """True once Redis has been asked for the time."""
        return self._offset is not None

    @property
    def wall_off_s(self) -> float:
        """By how much the machine's clock is ahead of the region's time."""
        return self._wall() - self.now()

    @property
    def right(self) -> bool:
        """True while the machine's clock may be believed, so while this gateway should serve."""
        return abs(self.wall_off_s) <= LIMIT_S

    @property
    def trusted(self) -> bool:
        """True while what is past its time may be deleted: all clocks agree, and did so before."""
        steady = self._steady()
        return (
            self.right
            and abs(self.redis_off_s) <= LIMIT_S
            and steady - self._heard_at <= STALE_S
            and steady >= self._settled_at
        )

    async def run(self, ask: Ask) -> None:
        """Ask every primary each `EVERY_S`. Never returns."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.measure(ask)

    async def measure(self, ask: Ask) -> None:
        """Ask once, compare the clocks, and log which is wrong, or right again."""
        await self.compare(ask)
        self._say("gateway", self.wall_off_s)
        self._say("redis", self.redis_off_s)

    async def compare(self, ask: Ask) -> None:
        """Ask once, and compare the clocks. A server that is away tells nothing."""
        asked = self._steady()
        replies = await asyncio.gather(*ask(), return_exceptions=True)
        heard, told = self._steady(), []
        for reply in replies:
            if isinstance(reply, OperationFailed):
                continue
            if isinstance(reply, BaseException):
                raise reply
            told.append(int(reply) / 1000)
        if told:
            self._take(told, asked, heard)

    def _take(self, told: list[float], asked: float, heard: float) -> None:
        # Of several primaries the middle one is believed. Each read its clock at some time between
        # `asked` and `heard`, and the offset moves no further than that demands: a slow answer says
        # little, and moves nothing.
        self._heard_at = heard
        middle = median_low(told)
        if self._offset is None:
            self._offset = middle - (asked + heard) / 2
        off = _outside(self._offset, middle - heard, middle - asked)
        if abs(off) <= LIMIT_S:
            self._offset += off
            self._confirmed = None
        else:
            self._consider(middle - (asked + heard) / 2, heard)
        self.redis_off_s = max(
            (_outside(self._offset, each - heard, each - asked) for each in told), key=abs
        )

    def _consider(self, offset: float, heard: float) -> None:
        """Redis' clock jumped, to `offset`. Does the wall clock say the same, and for how long?"""
        if abs(self._wall() - heard - offset) > LIMIT_S:
            self._confirmed = None
        elif self._confirmed is None or abs(self._confirmed[0] - offset) > LIMIT_S:
            self._confirmed = offset, heard
        elif heard - self._confirmed[1] >= CONFIRM_S:
            assert self._offset is not None
            _log.warning("clock_followed", seconds=round(offset - self._offset, 3))
            self._offset, self._confirmed = offset, None
            self._settled_at = heard + SETTLE_S

    def _say(self, clock: str, off_s: float) -> None:
        wrong = abs(off_s) > LIMIT_S
        if wrong == self._said[clock]:
            return
        self._said[clock] = wrong
        if wrong:
            _log.error("clock_wrong", clock=clock, seconds=round(off_s, 3))
        else:
            _log.info("clock_right", clock=clock)


def _outside(value: float, low: float, high: float) -> float:
    """How far it is from `value` to the nearest point from `low` to `high`; 0 if it is inside."""
    return min(max(value, low), high) - value
