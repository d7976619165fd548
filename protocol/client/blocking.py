"""Blocking users, as a client does it."""

from __future__ import annotations

from protocol.client import checks
from protocol.client.outgoing import Outgoing
from protocol.frames import Block, Blocks, Unblock


class BlockRequests:
    """What `Client` can do about users whose messages it does not want. Raises as `Client.send`."""

    _outgoing: Outgoing

    async def block(self, user: str, *, timeout: float | None = 30) -> None:
        """Have what `user` sends to this one refused, from now on and on all devices.

        Blocking again changes nothing. A message that was under way may still come. Raises as
        `send` does.
        """
        checks.text("user", user)
        await self._outgoing.request(Block, user, timeout=timeout)

    async def unblock(self, user: str, *, timeout: float | None = 30) -> None:
        """Take a block back; there need not be one. Raises as `send` does."""
        checks.text("user", user)
        await self._outgoing.request(Unblock, user, timeout=timeout)

    async def blocks(self, *, timeout: float | None = 30) -> tuple[str, ...]:
        """Whom this user blocks, sorted. Raises as `send` does."""
        return (await self._outgoing.request(Blocks, timeout=timeout)).users
