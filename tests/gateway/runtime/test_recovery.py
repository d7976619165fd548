"""Mirrors gateway/runtime/recovery.py."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from gateway.runtime.recovery import Recovery
from gateway.store.keys import Keys
from gateway.tasks import Tasks

KEYS = Keys("sg")
APPS = KEYS.apps_channel.encode()


class Parts:
    """The hubs and the directory, of which each notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.users = self.presence = self.rooms = self.lease = self

    def heal(self, channels: Collection[bytes] | None = None) -> None:
        """See `Hubs` and `Hub`."""
        self.asked.append("heal" if channels is None else set(channels))

    async def reload_all(self) -> None:
        """See `AppDirectory`."""
        self.asked.append("apps")

    async def renew(self) -> None:
        """See `Lease`."""
        self.asked.append("lease")

    async def keep(self) -> None:
        """See `RoomHub`."""
        self.asked.append("seats")


@pytest.mark.parametrize(
    ("what", "arguments", "asked", "reconnects"),
    [
        ("pubsub_is_back", (), ["heal", "apps"], 1),
        ("channels_are_back", ([b"a"],), [{b"a"}], 0),
        ("channels_are_back", ([b"a", APPS],), [{b"a", APPS}, "apps"], 0),
        ("link_is_back", (), ["heal", "lease", "seats"], 0),
    ],
)
async def test_what_is_looked_for(
    what: str, arguments: tuple[Any, ...], asked: list[Any], reconnects: int
) -> None:
    """G2: all that may have been missed, and no more: slots move every day."""
    parts: Any = Parts()
    recovery = Recovery(parts, parts, KEYS, Tasks())
    getattr(recovery, what)(*arguments)
    await asyncio.sleep(0)  # what was spawned runs to its end
    assert (parts.asked, recovery.reconnects) == (asked, reconnects)
