"""Blocking: a user refuses what another sends.

The sender's own session refuses, by what it knows of its user's blockers (`blockers`), so
nothing is stored anywhere, and no send pays for a look-up.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.chat.refused import Refused
from gateway.chat.requests import Caller, Handlers
from gateway.store.blocks import BlockStore
from protocol import codes, frames
from protocol.frames import BlockList
from protocol.ids import is_user_id


class BlockChat:
    """Answers block, unblock and blocks. `clock_ms` gives milliseconds since 1970."""

    def __init__(self, blocks: BlockStore, clock_ms: Callable[[], int]) -> None:
        self._blocks = blocks
        self._clock_ms = clock_ms

    def handlers(self) -> Handlers:
        """What this answers, by frame."""
        return {
            frames.Block: self._block,
            frames.Unblock: self._unblock,
            frames.Blocks: self._list,
        }

    async def _block(self, caller: Caller, frame: frames.Block) -> None:
        """Raises Refused: unknown_recipient, invalid_field, too_many_blocks."""
        await self._change(caller, frame.user, blocked=True)

    async def _unblock(self, caller: Caller, frame: frames.Unblock) -> None:
        """Raises Refused: unknown_recipient, invalid_field."""
        await self._change(caller, frame.user, blocked=False)

    async def _change(self, caller: Caller, other: str, blocked: bool) -> None:
        if not is_user_id(other):
            raise Refused(codes.UNKNOWN_RECIPIENT, "`user` is not a user id.")
        if other == caller.user:
            raise Refused(codes.INVALID_FIELD, "`user` is the user who asks.")
        await self._blocks.change(
            caller.app.id, caller.app.tier, caller.user, other, blocked, self._clock_ms()
        )

    async def _list(self, caller: Caller, _: frames.Blocks) -> BlockList:
        return BlockList(await self._blocks.list(caller.app.id, caller.user))
