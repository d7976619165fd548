"""A hub of presence, with a store and sessions of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from homeport import codec
from homeport.frames import Presence

from gateway.hub.presence import (
    PresenceHub,
)
from gateway.redis.errors import Unavailable
from gateway.store.presence import (
    Device,
    Devices,
)
from gateway.wheel import RESOLUTION_S, Wheel
from tests.gateway.hub.ears import Ears
from tests.harness import FakeClock, until
from tests.inside import nothing_to_read

APP, GATEWAY = "02" + "a" * 30, "aaaaaa"


class Watching:
    """A session that takes notes."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.told: list[Presence] = []
        self.blockers: set[str] = set()
        self.full = False

    def on_room(self, payload: bytes, priority: int) -> bool:
        """Take it, unless full."""
        if self.full:
            return False
        presence = codec.decode_server(payload)
        assert isinstance(presence, Presence)
        self.told.append(presence)
        return True

    def blocked_by(self, user: str) -> bool:
        """See `WatchingSession`."""
        return user in self.blockers


class Store:
    """Users, as a test wants them."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.users: dict[str, Devices] = {}
        self.alive = frozenset({GATEWAY})
        self.away = False
        self.reads: list[list[str]] = []

    def channel(self, app_id: str, user: str) -> str:
        """The user's own."""
        return f"pres:{user}"

    async def read(self, users: Sequence[tuple[str, str]]) -> tuple[list[Devices], frozenset[str]]:
        """See `PresenceStore`; it takes its time."""
        self.reads.append([user for _, user in users])
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("away")
        return [self.users.get(user, Devices((), 0, b"")) for _, user in users], self.alive

    async def renew(self, lease_ms: int = 1) -> frozenset[str]:
        """See `PresenceStore`."""
        if self.away:
            raise Unavailable("away")
        return self.alive

    def here(self, user: str, *gateways: str, away: bool = False, status: bytes = b"") -> None:
        """The user has a device on each of these gateways."""
        now = self.clock.ms
        devices = tuple(Device(gateway, now, away) for gateway in gateways)
        self.users[user] = Devices(devices, now, status)


class Setting:
    """A hub, and sessions."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = Store(self.clock)
        self.ears = Ears()
        self.wheel = Wheel(self.clock.steady)
        self.sessions: dict[str, Watching] = {}
        ears: Any = self.ears
        store: Any = self.store
        self.hub = PresenceHub(
            ears,
            store,
            lambda app, user, id: self.sessions.get(id),
            lambda app, user, sealed: sealed.decode(),
            self.clock.clock(),
            self.wheel,
        )

    async def watch(self, id: str, *users: str, expires: float = 3600) -> Watching:
        """A session that watches."""
        session = self.sessions.setdefault(id, Watching(id))
        self.answer = await self.hub.watch(APP, "w", id, users, expires)
        return session

    def say(self, user: str, what: bytes) -> None:
        """The channel of a watched user says so."""
        self.ears.publish(f"pres:{user}", what)

    async def pass_time(self, seconds: float) -> None:
        """Second by second."""
        left = seconds
        while left > 0:
            step = min(left, RESOLUTION_S)
            left -= step
            self.clock.advance(step)
            self.wheel.advance(self.clock.steady)
            await until(lambda: nothing_to_read(self.hub))
