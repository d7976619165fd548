"""How old may what is pushed be? It may have been recalled since it was published, or read.

`ok` to a recall means that no device is sent the text any more. So what is older than `FRESH_MS` is
not pushed but read again, and a recall waits for longer than that. But a gateway that is behind by
more, because its machine or Redis is, would then read everything again, and fall behind further. It
notes in Redis that it is late, and as soon as that is confirmed it pushes what is not much older
than the note, too. A recall waits as long as anybody is late.

Why that is safe: what a gateway pushes by its note was published, or read, at most `FRESH_MS`
before the note was there. If it was recalled, then after that; so the recall, which looks for notes
a second later, saw the note, and waits until it is over, or what was recalled is older than
`LATE_MS`, which nobody pushes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from gateway.redis.errors import OperationFailed
from gateway.redis.link import Link
from gateway.store.keys import Keys
from gateway.store.scripts import script

_LATE: Final = script("late")

FRESH_MS: Final = 500
"""What is not older than this is pushed by every gateway."""

LATE_MS: Final = 10_000
"""What is older than this is pushed by none."""

CLOCKS_MS: Final = 500
"""By how much the region's time on two gateways may differ, and be late to notice that time is up.
Each goes by Redis' clock, and is wrong by half the time that Redis takes to answer, at most."""

UNSEEN_S: Final = (FRESH_MS + CLOCKS_MS) / 1000
"""Seconds after which no gateway that is not late pushes what it read before."""

NOTE_MS: Final = 5_000
"""How long a note lasts."""

AGAIN_MS: Final = 2_000
"""A gateway that is still late renews its note after this."""


class Lateness:
    """One gateway's, which is called `gateway`; `clock_ms` gives milliseconds since 1970."""

    def __init__(self, link: Link, keys: Keys, gateway: str, clock_ms: Callable[[], int]) -> None:
        self._link = link
        self._keys = keys
        self._gateway = gateway
        self._clock_ms = clock_ms
        self._noting = False
        self._noted_ms = 0
        self._since_ms = 0
        self._until_ms = 0

    def fresh(self, as_of_ms: float) -> bool:
        """Whether what was published, or read, at `as_of_ms` may be pushed now."""
        now_ms = self._clock_ms()
        if now_ms - as_of_ms <= FRESH_MS:
            return True
        if now_ms - as_of_ms > LATE_MS:  # as what is told again may be
            return False
        if not self._noting and now_ms - self._noted_ms >= AGAIN_MS:
            self._note(now_ms)
        return self._since_ms <= as_of_ms and now_ms < self._until_ms

    def _note(self, now_ms: int) -> None:
        self._noting = True

        def noted(answer: Any) -> None:
            self._noting = False
            if isinstance(answer, OperationFailed):
                return  # what is late is read again, meanwhile
            confirmed_ms = self._clock_ms()
            if confirmed_ms >= self._until_ms:
                self._since_ms = confirmed_ms - FRESH_MS
            self._noted_ms = now_ms
            self._until_ms = now_ms + NOTE_MS - 2 * CLOCKS_MS

        until_ms = now_ms + NOTE_MS
        self._link.run_then(noted, _LATE, (self._keys.late,), self._gateway, now_ms, until_ms)

    async def unseen(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Return once no gateway pushes what was published, or read, before this call.

        `sleep` waits for some seconds. It takes `UNSEEN_S`, and ten seconds more where somebody is
        late, or Redis can't tell.
        """
        began_ms = self._clock_ms()
        await sleep(UNSEEN_S)
        while self._clock_ms() - began_ms <= LATE_MS + CLOCKS_MS and await self._anybody():
            await sleep(UNSEEN_S)

    async def _anybody(self) -> bool:
        try:
            after, late = f"({self._clock_ms()}", self._keys.late
            one = await self._link.call("ZRANGE", late, after, "+inf", "BYSCORE", "LIMIT", 0, 1)
            return bool(one)
        except OperationFailed:
            return True
