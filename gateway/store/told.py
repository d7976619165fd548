"""One future for the answers of several calls of once.lua."""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.store.entries import Stored


class AllTold:
    """Takes the answers of `calls` calls of once.lua; its future holds the earliest time."""

    __slots__ = ("_left", "_times", "future")

    def __init__(self, calls: int) -> None:
        self.future: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self._left = calls
        self._times: list[int] = []

    def __call__(self, reply: Any) -> None:
        if self.future.done():
            return
        if isinstance(reply, Exception):
            self.future.set_exception(reply)
            return
        self._times.append(int(reply))
        if len(self._times) == self._left:
            self.future.set_result(Stored(0, min(self._times)))
