"""Writes of the command line, which count as done also where too few replicas have them so far."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.redis.errors import NotReplicated
from gateway.redis.link import Link
from gateway.redis.scripts import Script


class DurableWrites:
    """Writes over `link`, and waits for the replicas that its promises ask for: a failover would
    bring a token that was revoked back.

    `short` is how many replicas have what was written, where that is fewer than there must be.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self.short: int | None = None

    async def call(self, *command: str | bytes | int) -> Any:
        """Send one command, whose first argument is a key, and wait until replicas have it. Returns
        the answer.

        Raises:
            Unavailable: Redis is away. CommandFault: it refused the command.
        """
        return await self._kept(self._link.call(*command, durable=self._waits))

    async def run(
        self, script: Script, keys: tuple[str, ...], *arguments: str | bytes | int
    ) -> Any:
        """Call a script, and wait until replicas have what it wrote. Returns
        the answer.

        Raises:
            Unavailable: Redis is away. CommandFault: it refused the call.
        """
        return await self._kept(self._link.run(script, keys, *arguments, durable=self._waits))

    @property
    def _waits(self) -> bool:
        return self.short is None  # the first short count says it for all

    async def _kept(self, answer: asyncio.Future[Any]) -> Any:
        try:
            return await answer
        except NotReplicated as error:
            self.short = error.have
            return error.reply
