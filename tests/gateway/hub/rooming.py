"""Rooms with sessions that only note what they get."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from homeport.frames import Priority

from gateway.hub.fanout import Bundle
from gateway.hub.rooms import RoomHub
from gateway.store import events
from gateway.store.rooms import Joined, Top
from tests.gateway.hub.ears import Ears


class Heard:
    """A session. `turns` notes in which turn of the loop each write came."""

    def __init__(self, id: str, now: list[int]) -> None:
        self.id = id
        self._written = b""
        self.turns: list[int] = []
        self.full = False
        self.least = Priority.LOW
        self._now = now

    def on_room(self, payload: bytes | Bundle, priority: int) -> bool:
        """Take it, unless full."""
        if self.full or priority < self.least:
            return False
        self._written += payload if isinstance(payload, bytes) else b"".join(payload)
        self.turns.append(self._now[0])
        return True

    def on_relayed(self, payload: bytes) -> None:
        """Take it."""
        self._written += payload

    @property
    def written(self) -> bytes:
        """All it was given, in order."""
        return self._written

    @property
    def frames(self) -> list[bytes]:
        """All it was given, in order, however many came in one write."""
        return self._written.split(b";")[:-1]


class Store:
    """Names channels, and notes who is away."""

    def __init__(self) -> None:
        self.kept: list[list[str]] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.stands = ("e1", 0)

    def channel(self, app_id: str, room: str) -> str:
        """The room's own."""
        return f"ch:{room}"

    def away(self, *_: Any) -> asyncio.Future[Any]:
        """Done."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    async def keep(
        self, app_id: str, room: str, seats: list[str], heard: Top, now_ms: int
    ) -> tuple[int, str, int]:
        """Note it."""
        self.kept.append(list(seats))
        await self.answers.wait()
        return 7, *self.stands


class Setting:
    """A hub, and sessions in its rooms."""

    def __init__(self) -> None:
        self.turn = [0]
        self.sessions: dict[str, Heard] = {}
        self.made = 0
        self.store = Store()
        self.ears = Ears()
        fake: Any = self.ears
        store: Any = self.store
        self.hub = RoomHub(fake, store, self._find, self._open, lambda: 0)

    def _find(self, app_id: str, user: str, session_id: str) -> Heard | None:
        return self.sessions.get(session_id)

    def _open(self, app: str, room: str, channel: str, event: Any) -> bytes:
        self.made += 1
        said = event.record[1:] if isinstance(event, events.RoomMessage) else event.record
        return bytes(said) + b";"

    def fill(self, room: str, count: int) -> list[Heard]:
        """Sessions in a room, whose seats are open."""
        found = []
        for number in range(count):
            found.append(session := Heard(f"{room}-{number}", self.turn))
            self.enter(room, session)
        return found

    def enter(self, room: str, session: Heard, after: int = 0) -> None:
        """The session joins, or joins again, and has everything up to `after`."""
        self.sessions[session.id] = session
        seat, _ = self.hub.enter("app", "u", session.id, room, f"{session.id}:d")
        self.hub.open(session.id, room, seat, after, Joined("e1", after, 1, []))

    def publish(
        self, room: str, seq: int, priority: int = Priority.NORMAL, epoch: bytes = b"e1"
    ) -> None:
        """Number `seq` is heard."""
        head = struct.pack(">BQB", 6, seq, len(epoch)) + epoch
        payload = head + bytes([priority]) + b"%d" % seq
        self.ears.publish(f"ch:{room}", payload)

    async def run(self, turns: int) -> None:
        """Let the loop turn."""
        for _ in range(turns):
            self.turn[0] += 1
            await asyncio.sleep(0)
