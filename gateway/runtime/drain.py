"""The drain: a gateway that stops hands its sessions over to other gateways.

The gateway accepts no more connections, and goes through its sessions in slices, one every
`SLICE_S`. Each session of a slice gets a `goaway`, which says when to connect again, so that the
other gateways get the clients evenly; its earlier requests are answered, its acknowledgements are
saved, and it is closed. Sessions of later slices are served meanwhile. With many sessions the drain
takes longer, up to a part of the deadline.

How the time until the deadline, `drain_s`, is used::

    0 ............ 0.6 ....... 0.75 ............ 0.9 .......... 1
    slices begin   answers     closing handshakes  Redis, the end
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from typing import Final

import structlog
from homeport import codes

from gateway.net.listener import Listener
from gateway.runtime.status import Status
from gateway.session.session import Session

RETURNS_PER_S: Final = 500
"""Clients that are sent to the other gateways in a second, where the deadline allows it. A connect
costs those that take them about a millisecond."""

SLICE_S: Final = 0.25
LINGER_S: Final = 0.1
"""How long a session is read after its `goaway`: for acknowledgements that were on their way."""

ANSWER_S: Final = 1.5
"""How long a session waits at most, after its `goaway`, for the answers to its earlier requests.
Its client waits as long, and is promised to be served two seconds after the hint."""

CLOSE_S: Final = 5.0
"""How long closing handshakes may take; and where it is hurried:"""
HURRIED_CLOSE_S: Final = 1.0

_POLL_S: Final = 0.02

_log = structlog.get_logger()


class Drain:
    """The one drain of a process: `run` it once. `drain_s` is what it and what follows may take."""

    def __init__(self, listener: Listener, status: Status, drain_s: float) -> None:
        self._listener = listener
        self._status = status
        self._drain_s = drain_s
        self._hurried = asyncio.Event()

    def hurry(self) -> None:
        """Close everything at once. What was acknowledged is saved all the same."""
        self._hurried.set()

    async def run(self) -> None:
        """See the module. In the end no connection is open."""
        begun = asyncio.get_running_loop().time()
        self._listener.stop()
        sessions = list(self._listener.sessions())
        self._status.state = "draining"
        self._status.to_drain = self._status.left = len(sessions)
        spread = min(len(sessions) / RETURNS_PER_S, 0.6 * self._drain_s)
        _log.info("draining", sessions=len(sessions), spread_s=round(spread, 1))
        answered_by = begun + 0.75 * self._drain_s
        slices = max(1, math.ceil(spread / SLICE_S))
        async with asyncio.TaskGroup() as group:
            while sessions and not self._hurried.is_set():
                size = math.ceil(len(sessions) / slices)
                leaving, sessions = sessions[:size], sessions[size:]
                group.create_task(self._leave(leaving, min(SLICE_S, spread), answered_by))
                slices -= 1
                if sessions:
                    await self._pause(SLICE_S)
                self._count()
        # Those who were to wait for their turn, and those who came in through a handshake that had
        # begun before.
        rest = list(self._listener.sessions())
        for session in rest:
            _close(session, min(len(rest) / RETURNS_PER_S, self._drain_s))
        await self._closed(begun + 0.9 * self._drain_s)
        self._listener.abort()
        self._status.left = 0

    async def _leave(self, sessions: list[Session], over_s: float, by: float) -> None:
        """Tell a slice to go, and close each once it has its answers."""
        loop = asyncio.get_running_loop()
        by = min(by, loop.time() + ANSWER_S)
        for session in sessions:
            session.go_away(random.uniform(0, over_s))  # noqa: S311 - jitter
        await self._pause(LINGER_S)
        while sessions and loop.time() < by and not self._hurried.is_set():
            for session in sessions:
                if session.idle:
                    _close(session, over_s)
            sessions = [session for session in sessions if not session.idle]
            if sessions:
                await self._pause(_POLL_S)
        for session in sessions:
            _close(session, over_s)

    async def _closed(self, by: float) -> None:
        """Wait until clients have closed too; not for long where they don't."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while self._listener.open and loop.time() < by:
            if loop.time() >= begun + (HURRIED_CLOSE_S if self._hurried.is_set() else CLOSE_S):
                return
            self._count()
            await asyncio.sleep(_POLL_S)

    async def _pause(self, seconds: float) -> None:
        """Let `seconds` pass, or less where it is hurried."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurried.wait()

    def _count(self) -> None:
        here = sum(1 for _ in self._listener.sessions())
        self._status.left = min(self._status.left, here)


def _close(session: Session, over_s: float) -> None:
    """Close a session. One that became live only now gets its `goaway` first."""
    session.go_away(random.uniform(0, over_s))  # noqa: S311 - jitter
    session.close(codes.GOING_AWAY)
