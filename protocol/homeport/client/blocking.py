"""Blocking users, as a client does it."""

from __future__ import annotations

from homeport.client import checks
from homeport.client.outgoing import Requests
from homeport.frames import Block, Blocks, Unblock


class BlockRequests(Requests):
    """The methods of `Client` for unwanted users. They raise what `Client.send` raises."""

    async def block(self, user: str, *, timeout: float | None = 30) -> None:
        """Refuse messages and signals from `user` to this user, from now on and on all devices.

        Blocking again changes nothing. A message that was under way may still arrive.
        """
        checks.user_id("user", user)
        await self._outgoing.request(Block, user, timeout=timeout)

    async def unblock(self, user: str, *, timeout: float | None = 30) -> None:
        """Take a block back; there need not be one."""
        checks.user_id("user", user)
        await self._outgoing.request(Unblock, user, timeout=timeout)

    async def blocks(self, *, timeout: float | None = 30) -> tuple[str, ...]:
        """The ids of the users whom this user blocks, sorted."""
        return (await self._outgoing.request(Blocks, timeout=timeout)).users
