"""What the command line asks of a region's Redis."""

from __future__ import annotations

from redis.exceptions import RedisError

from gateway.redis.reasons import reason_of
from gateway.store.access_admin import AccessAdmin
from gateway.store.errors import RegionMissing, StampError, WrongKeys
from gateway.store.keys import STAMP
from gateway.store.region_admin import RegionAdmin
from gateway.store.rights import rights_of
from gateway.store.server_facts import StoreFacts, lacking, server_facts
from gateway.store.stamp import different
from gateway.store.user_facts import UserFacts, read_user


class Admin(AccessAdmin, RegionAdmin):
    """Use as ``async with Admin.open(redis_url, region, keyring) as admin``.

    Every method raises `Unavailable` when Redis is away, and every method that reads or writes apps
    raises `StampError` when this Redis is not this region's.
    """

    async def user_facts(self, app_id: str, user: str) -> UserFacts:
        """What the region's Redis holds of a user, by Redis' own clock. Changes nothing.

        Raises:
            AppNotFound.
        """
        app = await self._existing(app_id)
        return await read_user(self._redis, self._keys, app, user, await self.now_ms())

    async def facts(self, now_s: float, *, replicas: bool = False) -> StoreFacts:
        """See `StoreFacts`. `now_s` is our clock, seconds since 1970; `replicas`: gateways wait for
        replicas, which is a right too."""
        clustered = self._url.kind == "cluster"
        needed = rights_of(self._region).needed(replicas=replicas, cluster=clustered)
        lacks: list[str] = []
        async with self._servers() as servers:
            for server in servers:
                lacks += await lacking(server, needed)
            found = [await server_facts(server, now_s) for server in servers]
        region = await self._redis.hget(STAMP, "region")
        problem: StampError | None = None
        unread = ""
        if region is None:
            problem = RegionMissing(self._region) if self._begun else None
        else:
            try:
                await self._check_stamp()
                call, identity = self._redis.execute_command, self._stamp.identity
                for version in await different(call, identity):
                    problem = WrongKeys(version, missing=False)
            except StampError as error:
                problem = error
            except RedisError as error:  # a key that is new is noted there, and that is a write
                unread = reason_of(error, tls=self._url.tls, secrets=self._url.secrets)
        kept = [each.append_only for each in found]
        skews = [each.clock_skew_s for each in found if each.clock_skew_s is not None]
        return StoreFacts(
            server=found[0].server,
            version=min((each.version for each in found), key=_numbers),
            append_only=None if None in kept else all(kept),
            append_fsync=_odd([each.append_fsync for each in found], "always"),
            eviction=_odd([each.eviction for each in found], "noeviction"),
            replicas=min(each.replicas for each in found),
            clock_skew_s=max(skews, key=abs, default=None),
            is_replica=any(each.is_replica for each in found),
            primaries=len(found),
            stamp_region=region.decode() if region is not None else None,
            stamp_problem=problem,
            stamp_unread=unread,
            used_share=max(each.used_share for each in found),
            disk_works=all(each.disk_works for each in found),
            lacks=tuple(dict.fromkeys(lacks)),
        )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdecimal()]


def _odd(values: list[str | None], good: str) -> str | None:
    """The first of `values` that is not `good`."""
    return next((value for value in values if value != good), good)
