"""A region's begin, and what its Redis knows of its past: notes, silent times."""

from __future__ import annotations

import asyncio

from gateway.redis.link import Link
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store.audit import AuditStore, Note
from gateway.store.keys import STAMP, Keys
from gateway.store.region_clock import TIME, RegionClock, time_of
from gateway.store.stamp import Stamp


class RegionStore:
    """The region as a whole, for one command; `sealer` seals by `keyring`.

    `clock` is compared with the machine's each time the region's time is asked for.
    """

    def __init__(
        self,
        link: Link,
        keys: Keys,
        keyring: Keyring,
        sealer: Sealer,
        audit: AuditStore,
        clock: RegionClock,
    ) -> None:
        self.clock = clock
        self._link = link
        self._keys = keys
        self._keyring = keyring
        self.stamp = Stamp.of(keyring)
        self._sealer = sealer
        self._audit = audit
        self.begun = keyring.begun is not None
        """Whether the key file says that the region has begun."""
        self._checked = False

    async def now_ms(self) -> int:
        """The region's time: Redis' clock, in milliseconds since 1970."""
        asked = asyncio.ensure_future(time_of(self._link, self._keys))
        await self.clock.compare(lambda: [asked])
        return await asked

    async def compare_clocks(self) -> None:
        """Compare the clocks of all primaries with the machine's, of those that tell the time."""
        link, keys = self._link, self._keys
        await self.clock.compare(
            lambda: [link.run(TIME, (keys.clock(at),), "leave nothing") for at in link.places()]
        )

    async def check(self, *, may_begin: bool = False) -> None:
        """Compare the Redis' stamp with the key file; only the first call does.

        Raises:
            StampError: it is not this region's.
        """
        if not self._checked:
            await self._choose_keys()
            await self.stamp.check(self._link.call, may_begin=may_begin)
            self._checked = True

    async def begin(self, *, again: bool = False) -> bool:
        """Begin the region in this Redis: mark the key file, set the stamp.

        Returns False if the region has begun in this Redis already.

        Raises:
            RegionMissing: the region has begun in another Redis, and `again` is False.
        """
        await self._choose_keys()
        begun = await self.stamp.begin(self._link.call, again=again)
        if begun:
            await self._audit.note("region init")
        return begun

    async def notes(self) -> tuple[list[Note], list[Note]]:
        """What operators did: the notes in Redis, and those that only the file has.

        Raises:
            StampError: as `check`.
            OSError: the file can't be read.
        """
        await self.check()
        return await self._audit.notes()

    async def life(self) -> tuple[int | None, list[tuple[int, int]]]:
        """When a gateway was last at work, and the intervals (from, to) in which none was.

        In milliseconds since 1970, by Redis' clock. The time after a backup was made is such an
        interval, too.

        Raises:
            StampError: as `check`.
        """
        await self.check()
        told = await self._link.call("HGETALL", STAMP)
        fields = dict(zip(told[::2], told[1::2], strict=True))
        gaps = sorted(
            (int(name[4:]), int(until)) for name, until in fields.items() if name[:4] == b"gap:"
        )
        return int(fields[b"seen"]) if b"seen" in fields else None, gaps

    async def settle(self) -> None:
        """After a restore has been dealt with: forget the intervals, and copy into Redis the notes
        that only the file has.

        Raises:
            StampError: as `check`.
            OSError: the file can't be read.
        """
        _, gaps = await self.life()
        if gaps:
            await self._link.call("HDEL", STAMP, *(f"gap:{since}" for since, _ in gaps))
        await self._link.call("HSET", STAMP, "seen", await self.now_ms())
        for note in (await self._audit.notes())[1]:
            await self._audit.put(note)
        await self._audit.note("region check --done")

    async def _choose_keys(self) -> None:
        """By the region's time: which key seals, and which are still to come."""
        now_ms = await self.now_ms()
        self._sealer.active = self._keyring.active_at(now_ms)
        self.stamp.adopt(self._keyring, self._keyring.coming_at(now_ms))
