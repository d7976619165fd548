"""Blocking: a user refuses what another sends.

The sender's own principal refuses, by what it knows of its user's blockers (`blockers`), so nothing
is stored anywhere, and a session's sends pay for no look-up.
"""

from __future__ import annotations

from collections.abc import Callable

from homeport import codes
from homeport.ids import is_user_id

from gateway.chat import prices
from gateway.chat.principal import User
from gateway.chat.refused import Refused
from gateway.chat.requests import request
from gateway.store.blocks import BlockStore


class BlockChat:
    """Answers requests about blocks. `clock_ms` gives milliseconds since 1970."""

    def __init__(self, blocks: BlockStore, clock_ms: Callable[[], int]) -> None:
        self._blocks = blocks
        self._clock_ms = clock_ms

    @request(prices.CHANGE)
    async def block(self, user: User, other: str) -> None:
        """Let `other` send nothing to the user any more.

        Raises:
            Refused: unknown_recipient, invalid_field, too_many_blocks, unavailable.
        """
        await self._change(user, other, blocked=True)

    @request(prices.CHANGE)
    async def unblock(self, user: User, other: str) -> None:
        """Let `other` send to the user again.

        Raises:
            Refused: unknown_recipient, invalid_field, unavailable.
        """
        await self._change(user, other, blocked=False)

    async def _change(self, user: User, other: str, blocked: bool) -> None:
        if not is_user_id(other):
            raise Refused(codes.UNKNOWN_RECIPIENT, "`user` is not a user id.")
        if other == user.id:
            raise Refused(codes.INVALID_FIELD, "`user` is this user's own id.")
        await self._blocks.change(
            user.app_id, user.app.tier, user.id, other, blocked, self._clock_ms()
        )

    @request(prices.LIST)
    async def list(self, user: User) -> tuple[str, ...]:
        """Whom the user blocks.

        Raises:
            Refused: unavailable.
        """
        return await self._blocks.list(user.app_id, user.id)
