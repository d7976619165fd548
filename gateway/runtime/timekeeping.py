"""Redis' clock, read for the region's time: at each connect, and then every second."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from gateway.redis.errors import Unavailable
from gateway.redis.guard import Call
from gateway.redis.link import Link
from gateway.store.keys import Keys
from gateway.store.region_clock import TIME, RegionClock


class Timekeeping:
    """Has `clock` follow the servers behind `link`. `on_known` is called once, as soon as the time
    is known."""

    def __init__(
        self, clock: RegionClock, link: Link, keys: Keys, on_known: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._link = link
        self._keys = keys
        self._on_known = on_known
        link.on_greet = self._greet

    async def run(self) -> None:
        """Keep reading. Never returns."""
        await self._clock.run(self._ask)

    def _ask(self) -> Sequence[Awaitable[object]]:
        link, keys = self._link, self._keys
        return [link.run(TIME, (keys.clock(bucket),), "") for bucket in link.places()]

    async def _greet(self, ask: Call, bucket: int | None) -> None:
        """Read the clock of a server that was connected to: it may be another than before.

        Raises:
            Unavailable: it does not tell, and no other has told yet.
        """
        known = self._clock.known
        key = self._keys.stamp_clock if bucket is None else self._keys.clock(bucket)
        await self._clock.measure(lambda: [ask("EVALSHA", TIME.sha, 1, key, "leave nothing")])
        if not self._clock.known:
            raise Unavailable("time_unknown")
        if not known:
            self._on_known()
