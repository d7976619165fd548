"""The lease of this gateway: while it lasts, its users count as being here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from gateway.redis.errors import OperationFailed
from gateway.store.presence import RENEW_S, PresenceStore

_log = structlog.get_logger()


class Lease:
    """One per process. `learn` is given the gateways that have one, each time this is renewed."""

    def __init__(self, store: PresenceStore, learn: Callable[[frozenset[str]], None]) -> None:
        self._store = store
        self._learn = learn

    async def run(self) -> None:
        """Renew every `RENEW_S`. Never returns."""
        while True:
            await asyncio.sleep(RENEW_S)
            await self.renew()

    async def renew(self) -> None:
        """Renew it, and learn which gateways live. If Redis is away, the next call does."""
        try:
            alive = await self._store.renew()
        except OperationFailed as error:
            _log.warning("lease_put_off", reason=type(error).__name__)
        else:
            self._learn(alive)

    async def end(self) -> None:
        """End it, so that the users of this gateway no longer count as online here."""
        try:
            await self._store.renew(0)
        except OperationFailed as error:
            _log.info("lease_not_ended", reason=type(error).__name__)
