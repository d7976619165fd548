"""The region stamp: it binds a Redis to one region and one key file.

``hp:region`` is a hash: ``region`` and ``schema`` are set once, as the region begins; ``schema`` is
the number of the layout of all keys (`SCHEMA`); ``key:<version>`` identifies each key that sealed
something here (`Keyring.check_value`, which does not tell the key), and ``next:<version>`` one that
some gateway has got and does not seal under yet. A gateway may lack the second kind, but not the
first.

A Redis without the stamp is empty, or another program's. Only once in a region's life is that
right. A region therefore *begins* once: the key file is marked, and the stamp is set. A process
that later finds a Redis without a stamp, with a marked key file or after it has seen the stamp, has
the wrong Redis, or one that has lost everything, and refuses it (`RegionMissing`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self

import structlog

from gateway.redis.guard import Call
from gateway.redis.rights import Needed
from gateway.security.keyring import Keyring, KeyringError
from gateway.store.errors import RegionMissing, WrongKeys, WrongRegionStamp, WrongSchema
from gateway.store.keys import STAMP
from gateway.store.rights import rights_of

SCHEMA: Final = 1
"""The layout of keys and values that this version reads and writes; each change of it that an older
version would misread takes the next number."""

ANOTHER_S: Final = 0.3
"""How long another process may take from marking the key file to setting the stamp."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RegionIdentity:
    """What a gateway brings: its region, the check value of each key it holds, and the versions of
    those that it must not be first to seal under."""

    region: str
    keys: dict[int, str]
    coming: frozenset[int] = frozenset()

    @classmethod
    def of(cls, keyring: Keyring, coming: frozenset[int] = frozenset()) -> RegionIdentity:
        """The identity that a key file gives."""
        keys = {version: keyring.check_value(version) for version in keyring.keys}
        return cls(keyring.region, keys, coming)


class Stamp:
    """Compares the stamp of each Redis that a process connects to; the `Guard` of its links.

    `identity` is what it is compared with. `mark` notes in the key file that the region has begun:
    see `Keyring.mark_begun`. `begun` is whether the file said so as it was read.
    """

    key = STAMP
    question = ("HGET", STAMP, "region")

    def __init__(
        self, identity: RegionIdentity, mark: Callable[[], bool], *, begun: bool = False
    ) -> None:
        self.identity = identity
        self._mark = mark
        self._begun = begun
        self._marked = False
        self._met = False
        self._beginning = False

    @classmethod
    def of(cls, keyring: Keyring, coming: frozenset[int] = frozenset()) -> Self:
        """What a key file gives."""
        begun = keyring.begun is not None
        return cls(RegionIdentity.of(keyring, coming), keyring.mark_begun, begun=begun)

    def adopt(self, keyring: Keyring, coming: frozenset[int]) -> None:
        """Go by `keyring` from now on."""
        self.identity = RegionIdentity.of(keyring, coming)
        self._mark = keyring.mark_begun

    def needed(self, *, replicas: bool, cluster: bool) -> list[Needed]:
        """The rights that a gateway of this region needs."""
        return rights_of(self.identity.region).needed(replicas=replicas, cluster=cluster)

    def holds(self, answer: Any) -> bool:
        """True if `answer` is the region of this process; an emptied Redis (FLUSHALL) has none."""
        return bool(answer == self.identity.region.encode())

    async def admit(self, call: Call) -> None:
        """Check the stamp of a server that was just connected to; begin the region if that may be.

        Raises:
            StampError: the server has no stamp, another region's, or was sealed with other keys.
        """
        if await self.check(call):
            _log.info("region_begun", region=self.identity.region)

    async def check(self, call: Call, *, may_begin: bool = True) -> bool:
        """Compare a Redis' stamp with `identity`. If there is none, begin the region in this Redis,
        provided that the key file says that the region has not begun yet, and can be marked.

        Returns True where the region has begun by this.

        Raises:
            RegionMissing: it has no stamp.
            WrongRegionStamp: it is another region's.
            WrongSchema: its data was written by another version of Homeport.
            WrongKeys: its data was sealed with a key that `identity` lacks, or has another of.
        """
        first = False
        try:
            await check(call, self.identity)
        except RegionMissing:
            if self._met:
                raise
            if not may_begin:
                raise RegionMissing(self.identity.region, begun=self._begun) from None
            first = await self._begin_or_wait(call)
        self._met = True
        await self._note()
        return first

    async def begin(self, call: Call, *, again: bool = False) -> bool:
        """Begin the region because a person says so. False where it has begun in this Redis.

        `again`: also where the key file says that it has begun, and what it had is lost.

        Raises:
            RegionMissing: it has begun elsewhere, and not `again`.
            WrongRegionStamp, WrongSchema, WrongKeys: as for `check`.
        """
        try:
            await check(call, self.identity)
        except RegionMissing:
            try:
                first = await asyncio.to_thread(self._mark)
            except OSError:
                first = True  # a copy that can't be marked does not tell, and a person does
            if not (first or again):
                raise
            await self._set(call)
            self._met = True
            return True
        self._met = True
        await self._note()
        return False

    async def _begin_or_wait(self, call: Call) -> bool:
        # The mark comes first. One that can't be made must keep the stamp from being set: the
        # next empty Redis would be taken for a new region again.
        if not self._beginning:
            try:
                self._beginning = await asyncio.to_thread(self._mark)
            except (OSError, KeyringError) as error:
                raise RegionMissing(self.identity.region, unmarkable=_why(error)) from error
        if self._beginning:
            await self._set(call)
            return True
        # Several gateways are started at once, and another one marked the file just now?
        await asyncio.sleep(ANOTHER_S)
        await check(call, self.identity)
        return False

    async def _set(self, call: Call) -> None:
        # The number first: nobody may see a region without it.
        await _claim(call, "schema", str(SCHEMA))
        await _claim(call, "region", self.identity.region)
        await check(call, self.identity)
        self._beginning, self._marked = False, True

    async def _note(self) -> None:
        """Mark the key file of a region that had begun before files were marked, or elsewhere."""
        if not self._marked:
            try:
                await asyncio.to_thread(self._mark)
            except (OSError, KeyringError):
                return  # a copy that can't be written: nobody begins a region with it
            self._marked = True


async def check(call: Call, identity: RegionIdentity) -> None:
    """Hold a Redis' stamp against `identity`.

    Raises:
        RegionMissing: there is none.
        WrongRegionStamp: it is another region's.
        WrongSchema: its data was written by another version of Homeport.
        WrongKeys: its data was sealed with a key that `identity` lacks, or has another of.
    """
    stamped, schema = await call("HMGET", STAMP, "region", "schema")
    if stamped is None:
        raise RegionMissing(identity.region)
    region = stamped.decode()
    if region != identity.region:
        raise WrongRegionStamp(found=region, expected=identity.region)
    if schema != str(SCHEMA).encode():
        raise WrongSchema("" if schema is None else schema.decode(), SCHEMA)
    # Before adding ours: a foreign key file must not leave its mark here.
    fields = [f for f in await call("HKEYS", STAMP) if f.startswith(b"key:")]
    values = await call("HMGET", STAMP, *fields) if fields else []
    known = {int(f[4:]): v.decode() for f, v in zip(fields, values, strict=True)}
    for version, value in known.items():
        if version not in identity.keys:
            raise WrongKeys(version, missing=True)
        if identity.keys[version] != value:
            raise WrongKeys(version, missing=False)
    for version, value in identity.keys.items():
        if version in known or version in identity.coming:
            continue
        if await _claim(call, f"key:{version}", value) != value.encode():
            raise WrongKeys(version, missing=False)


async def _claim(call: Call, field: str, value: str) -> bytes:
    """Set a field of the stamp unless it is set; returns what is there now.

    It is read first, so that a full Redis, which refuses to write, lets in whom it knows.
    """
    found: bytes | None = await call("HGET", STAMP, field)
    if found is None:
        # Two gateways may be the first at once; one of them finds the other's here.
        await call("HSETNX", STAMP, field, value)
        found = await call("HGET", STAMP, field)
    assert found is not None
    return found


async def announce(call: Call, identity: RegionIdentity) -> frozenset[int]:
    """Say which keys are coming, for other gateways to compare theirs with; then as `different`."""
    for version in identity.coming:
        await _claim(call, f"next:{version}", identity.keys[version])
    return await different(call, identity)


async def different(call: Call, identity: RegionIdentity) -> frozenset[int]:
    """Versions of coming keys under which another gateway's file has a different key.

    That happens if two key files were rotated separately instead of copying one. `identity` is what
    this gateway's file has; the stamp says what the others have.
    """
    found = set()
    for version in identity.coming:
        told = await call("HGET", STAMP, f"next:{version}")
        if told is not None and told != identity.keys[version].encode():
            found.add(version)
    return frozenset(found)


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
