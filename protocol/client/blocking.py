"""Blocking users, as a client does it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from protocol.client import checks
from protocol.client.errors import ClientError
from protocol.frames import Block, Blocks, ClientFrame, Result, Unblock


class BlockRequests(ABC):
    """What `Client` can do about users whose messages it does not want. Raises as `Client.send`."""

    @abstractmethod
    async def _request(
        self, make: Callable[[int], ClientFrame], timeout: float | None, client_id: str = ""
    ) -> Result:
        """Ask one request; see `Client`."""

    async def block(self, user: str, *, timeout: float | None = 30) -> None:
        """Have what `user` sends to this one refused, from now on and on all devices.

        Blocking again changes nothing. A message that was under way may still come. Raises as
        `send` does.
        """
        checks.text("user", user)
        await self._request(lambda id: Block(id, user), timeout)

    async def unblock(self, user: str, *, timeout: float | None = 30) -> None:
        """Take a block back; there need not be one. Raises as `send` does."""
        checks.text("user", user)
        await self._request(lambda id: Unblock(id, user), timeout)

    async def blocks(self, *, timeout: float | None = 30) -> tuple[str, ...]:
        """Whom this user blocks, sorted. Raises as `send` does."""
        result = await self._request(Blocks, timeout)
        if result.blocks is None:
            raise ClientError("the server's ok has no list of blocks")
        return result.blocks
