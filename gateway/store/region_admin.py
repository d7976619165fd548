"""A region's begin, and what its Redis knows of its past: notes, silent times."""

from __future__ import annotations

from gateway.store import audit
from gateway.store.admin_connection import AUDIT, AdminConnection
from gateway.store.keys import STAMP


class RegionAdmin(AdminConnection):
    """The part of `Admin` that is about the region as a whole."""

    async def begin_region(self, *, again: bool = False) -> bool:
        """Begin the region in this Redis; False where it has begun here already. See `Stamp.begin`.

        Raises:
            RegionMissing: it has begun elsewhere, and not `again`.
        """
        await self._choose_keys()
        begun = await self._stamp.begin(self._redis.execute_command, again=again)
        if begun:
            await self._note("region init")
        return begun

    async def notes(self) -> tuple[list[audit.Note], list[audit.Note]]:
        """What operators did: what Redis has, and what only the file beside the key file has, each
        the oldest first.

        Raises:
            OSError: the file can't be read.
        """
        await self._check_stamp()
        sealed = await self._redis.lrange(self._keys.audit, 0, -1)
        there = audit.opened(self._sealer, reversed(sealed))
        oldest = there[0].ms if len(there) == audit.KEPT else 0
        ids = {each.id for each in there}
        kept = [] if self._notes is None else audit.opened(self._sealer, audit.kept(self._notes))
        return there, [each for each in kept if each.id not in ids and each.ms >= oldest]

    async def life(self) -> tuple[int | None, list[tuple[int, int]]]:
        """When a gateway was at work last, and the times when none was: from, to. In ms since 1970,
        by Redis' clock. What a backup does not have is such a time, too.
        """
        await self._check_stamp()
        fields = await self._redis.hgetall(STAMP)
        gaps = sorted(
            (int(name[4:]), int(until)) for name, until in fields.items() if name[:4] == b"gap:"
        )
        return int(fields[b"seen"]) if b"seen" in fields else None, gaps

    async def settle(self) -> None:
        """What came back from the past has been dealt with: forget those times, and have in Redis
        what only the file has.

        Raises:
            OSError: the file can't be read.
        """
        _, gaps = await self.life()
        if gaps:
            await self._redis.hdel(STAMP, *(f"gap:{since}" for since, _ in gaps))
        now_ms = await self.now_ms()
        await self._redis.hset(STAMP, "seen", now_ms)
        for note in (await self.notes())[1]:
            sealed = audit.seal(self._sealer, note)
            await self._redis.eval(AUDIT.text, 1, self._keys.audit, sealed, audit.KEPT)
        await self._note("region check --done")
