"""The link to one primary of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import hiredis

from gateway.redis.cluster import ClusterNode
from gateway.redis.connection import pack
from gateway.redis.errors import OperationFailed, Redirected
from gateway.redis.guard import Call, Guard
from gateway.redis.link import Then
from gateway.redis.node_link import NodeLink
from gateway.redis.promises import Promises
from gateway.redis.slots import BUCKET_SLOTS, slot_of
from gateway.tasks import Tasks

_ASKING: Final = pack(("ASKING",))


class MemberLink(NodeLink):
    """The link to one primary. `has` tells which slots are its own; if that of the guard's key is
    one of them, the guard looks at it."""

    def __init__(
        self,
        server: ClusterNode,
        guard: Guard,
        tasks: Tasks,
        promises: Promises,
        has: Callable[[int], bool],
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__(server, guard, tasks, promises)
        self._guarded_slot = slot_of(guard.key)
        self._has = has
        self._on_lost = on_lost

    def run_asking(self, then: Then, command: bytes, durable: bool) -> None:
        """Send a packed command after ASKING, for a slot that this node is just receiving."""
        self._ask(_ignore, _ASKING)
        self._ask(then, command, durable)

    async def _check_server(self, ask: Call) -> None:
        if self._is_guarded():
            await self._guard.admit(ask)

    def _is_guarded(self) -> bool:
        return self._has(self._guarded_slot)

    def _place(self) -> int | None:
        slots = enumerate(BUCKET_SLOTS)
        return next((bucket for bucket, number in slots if self._has(number)), None)

    def _error(self, reply: hiredis.ReplyError) -> OperationFailed:
        word, _, rest = str(reply).partition(" ")
        if word not in {"MOVED", "ASK"}:
            return super()._error(reply)
        slot, _, address = rest.partition(" ")
        host, _, port = address.rpartition(":")
        return Redirected(int(slot), host, int(port), word == "ASK")

    def _forget(self) -> None:
        super()._forget()
        self._on_lost()


def _ignore(_: Any) -> None:
    """The answer to ASKING says nothing."""
