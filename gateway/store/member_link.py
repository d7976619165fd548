"""The link to one primary of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import hiredis

from gateway.store.cluster import ClusterNode
from gateway.store.connection import pack
from gateway.store.errors import Redirected, StoreError
from gateway.store.link import Then
from gateway.store.node_link import NodeLink
from gateway.store.promises import Promises
from gateway.store.slots import BUCKET_SLOTS, STAMP_SLOT
from gateway.store.stamp import Call, Stamp
from gateway.tasks import Tasks

_ASKING: Final = pack(("ASKING",))


class MemberLink(NodeLink):
    """The link to one primary. `has` tells which slots are its own; if the stamp's is one of them,
    the stamp is checked."""

    def __init__(
        self,
        server: ClusterNode,
        stamp: Stamp,
        tasks: Tasks,
        promises: Promises,
        has: Callable[[int], bool],
        on_lost: Callable[[], None],
    ) -> None:
        super().__init__(server, stamp, tasks, promises)
        self._has = has
        self._on_lost = on_lost

    def run_asking(self, then: Then, command: bytes, durable: bool) -> None:
        """As `run_packed`, of a slot that this node is only about to get."""
        self._ask(_ignore, _ASKING)
        self._ask(then, command, durable)

    async def _check_server(self, ask: Call) -> None:
        if self._has_stamp():
            await self._check_stamp(ask)

    def _has_stamp(self) -> bool:
        return self._has(STAMP_SLOT)

    def _place(self) -> int | None:
        slots = enumerate(BUCKET_SLOTS)
        return next((bucket for bucket, number in slots if self._has(number)), None)

    def _error(self, reply: hiredis.ReplyError) -> StoreError:
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
