"""What a connection takes in: every frame has a price, also one that asks for nothing.

Pings, acks, fragments and what is no frame at all cost no token of the session, user or app, and
yet somebody has to read them. So each connection has a bucket of its own for all that it receives.
When it is empty, the connection is not read for a while: the client waits, and is told nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from homeport import codes

from gateway.apps.tiers import Tier
from gateway.bucket import TokenBucket
from gateway.clock import Clock

FAULTY: Final = 20
"""What a frame costs besides that has to be refused unread, in frames."""

LARGE_BYTES: Final = 8 * 1024
"""So many bytes of a message cost one more frame."""

RENEW: Final = 50
"""What a renewal costs besides: a signature is verified. It takes no tokens, because one that is
refused may cost the session its life."""

MAX_REFUSALS: Final = 512
"""Refusals without a request in between that was answered with ok. A client that waits for
``retry_after`` never gets as many."""

BEFORE_CONNECT: Final = (10, 20)
"""Frames per second, and at once, before the tier is known."""

_NOT_COUNTED: Final = frozenset({codes.UNAVAILABLE, codes.INTERNAL})
"""These refusals are our fault."""


def rate_of(tier: Tier) -> tuple[int, int]:
    """Frames per second, and at once, that a connection of an app of this tier may send.

    Enough for each request that the session may send, an ack for each of four pushes per request,
    and pings.
    """
    return 500 + 4 * tier.session.per_s, 1_000 + 2 * tier.session.burst


class Intake:
    """The bucket of one connection. `look` is called when it runs empty, and when it is no longer:
    the connection then asks for `empty`."""

    __slots__ = ("_bucket", "_clock", "_look", "_refusals", "empty")

    def __init__(self, clock: Clock, look: Callable[[], None]) -> None:
        self._clock = clock
        self._look = look
        self._bucket = TokenBucket(*BEFORE_CONNECT, clock.steady())
        self._refusals = 0
        self.empty = False
        """True while nothing more is to be read."""

    def known(self, tier: Tier) -> None:
        """The client has connected, to an app of this tier."""
        self._bucket = TokenBucket(*rate_of(tier), self._clock.steady())

    def take(self, now: float, frames: int = 1) -> None:
        """Pay for what came, as for so many frames. `now` is the steady clock's, in seconds."""
        self._bucket.take(now, frames)
        if not self.empty and (wait := self._bucket.wait(now)):
            self._pause(wait)

    def _pause(self, wait: float) -> None:
        self.empty = True
        asyncio.get_running_loop().call_later(wait, self._resume)
        self._look()

    def _resume(self) -> None:
        if wait := self._bucket.wait(self._clock.steady()):
            asyncio.get_running_loop().call_later(wait, self._resume)
            return
        self.empty = False
        self._look()

    def answered(self) -> None:
        """A request was answered with ok."""
        self._refusals = 0

    def refused(self, code: codes.ErrorCode) -> bool:
        """A request was refused with `code`; returns whether it was one too many."""
        if code not in _NOT_COUNTED:
            self._refusals += 1
        return self._refusals >= MAX_REFUSALS
