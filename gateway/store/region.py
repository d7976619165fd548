"""A region's begin, and what its Redis knows of its past: notes, silent times."""

from __future__ import annotations

from gateway.redis.link import Link
from gateway.security.keyring import Keyring
from gateway.security.sealing import Sealer
from gateway.store.audit import AuditStore, Note
from gateway.store.keys import STAMP, Keys
from gateway.store.region_clock import time_of
from gateway.store.stamp import Stamp


class RegionStore:
    """The region as a whole, for one command; `sealer` seals by `keyring`."""

    def __init__(
        self,
        link: Link,
        keys: Keys,
        keyring: Keyring,
        sealer: Sealer,
        audit: AuditStore,
    ) -> None:
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
        return await time_of(self._link, self._keys)

    async def check(self, *, may_begin: bool = False) -> None:
        """Hold the Redis against the key file, once. See `Stamp.check`.

        Raises:
            StampError: it is not this region's.
        """
        if not self._checked:
            await self._choose_keys()
            await self.stamp.check(self._link.call, may_begin=may_begin)
            self._checked = True

    async def begin(self, *, again: bool = False) -> bool:
        """Begin the region in this Redis; False where it has begun here already. See `Stamp.begin`.

        Raises:
            RegionMissing: it has begun elsewhere, and not `again`.
        """
        await self._choose_keys()
        begun = await self.stamp.begin(self._link.call, again=again)
        if begun:
            await self._audit.note("region init")
        return begun

    async def notes(self) -> tuple[list[Note], list[Note]]:
        """See `AuditStore.notes`.

        Raises:
            StampError: as `check`.
            OSError: the file can't be read.
        """
        await self.check()
        return await self._audit.notes()

    async def life(self) -> tuple[int | None, list[tuple[int, int]]]:
        """When a gateway was at work last, and the times when none was: from, to. In ms since 1970,
        by Redis' clock. What a backup does not have is such a time, too.

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
        """What came back from the past has been dealt with: forget those times, and have in Redis
        what only the file has.

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
