"""Waiting until a moment to the microsecond, inside an event loop.

An event loop's own timers count in milliseconds, which would be a part of what is measured. A
timerfd (timerfd_create(2)) wakes the loop like a socket does.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Self

_TFD_TIMER_ABSTIME: Final = 1
_NS: Final = 1_000_000_000
_BURST: Final = 64
"""Late calls after which others get a turn."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Pace:
    """One timer, as an asynchronous context manager. Times are those of ``time.monotonic_ns``."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = -1
        self._woken: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self._fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._wake)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _wake(self) -> None:
        os.read(self._fd, 8)
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def until(self, moment: int) -> None:
        """Return at `moment`; at once where it is past."""
        if moment <= time.monotonic_ns():
            return
        self._woken = self._loop.create_future()
        when = _Itimerspec(_Timespec(0, 0), _Timespec(*divmod(moment, _NS)))
        if self._libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(when), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        await self._woken

    async def keep(self, moments: Iterable[int], call: Callable[[int], None]) -> None:
        """Call `call` with each of `moments` when it has come, or as soon as can be."""
        late = 0
        for moment in moments:
            if moment > time.monotonic_ns():
                await self.until(moment)
                late = 0
            else:
                late += 1
                if late % _BURST == 0:
                    await asyncio.sleep(0)
            call(moment)


def moments(begin: int, until: int, rate: float) -> Iterator[int]:
    """When each message is due: evenly, from the open schedule and not from what was sent."""
    for number in itertools.count():
        moment = begin + int(number / rate * _NS)
        if moment >= until:
            return
        yield moment
