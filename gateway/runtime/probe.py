"""The probe: a sealed word that a worker says to itself through Redis, so that it knows that what
is published is heard.

It takes the way of every push: sealed, by the link into Redis, out of its pub/sub, opened. So it
fails where a push would: no connection, a Redis that answers and tells nobody, a key that does not
open what it sealed. The channel is the worker's own, and each probe carries a number nobody knows.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from gateway.security.sealing import Kind, Sealer, SealError
from gateway.session.clock import Clock
from gateway.store.errors import StoreError

EVERY_S: Final = 0.5
LIMIT_S: Final = 1.0
"""How long a probe may take to come back."""

FORGET_S: Final = 10.0
"""After which one that did not come back is given up."""

_NONCE_BYTES: Final = 16


class Publisher(Protocol):
    """The link, as far as this needs it."""

    @property
    def refused(self) -> Exception | None:
        """As `Link.refused`."""

    def publish(self, channel: str, payload: bytes) -> asyncio.Future[Any]:
        """As `Link.publish`."""


class Probe:
    """One worker's. `observe` is told each round trip of the link, in seconds."""

    def __init__(
        self,
        channel: str,
        link: Publisher,
        sealer: Sealer,
        clock: Clock,
        observe: Callable[[float], None],
    ) -> None:
        self.channel = channel
        self._link = link
        self._sealer = sealer
        self._clock = clock
        self._observe = observe
        self._away: dict[bytes, float] = {}  # nonce -> when it was sent; the oldest first
        self._unanswered: float | None = None  # since when Redis owes an answer to a publish
        self._refused = False
        self._spoiled = ""
        self._proved_at: float | None = None

    @property
    def proof_s(self) -> float:
        """Seconds since the last probe was sent that came back in time; -1: none did yet."""
        return -1.0 if self._proved_at is None else self._clock.steady() - self._proved_at

    @property
    def fault(self) -> str:
        """Where probes are lost, if `proof_s` says so: a part that `gateway.ops.board` names."""
        if self._link.refused is not None:
            return "region"
        since = self._unanswered
        if self._refused or (since is not None and self._clock.steady() - since > EVERY_S):
            return "link"
        return self._spoiled or "pubsub"

    async def run(self) -> None:
        """Send one every `EVERY_S`. Never returns."""
        while True:
            self.send()
            await asyncio.sleep(EVERY_S)

    def send(self) -> None:
        """Send one probe; `heard` takes it when it is back."""
        now = self._clock.steady()
        for nonce in [nonce for nonce, sent in self._away.items() if now - sent > FORGET_S]:
            del self._away[nonce]
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._sealer.seal(
            "", b"", Kind.PROBE, self.channel, b"", nonce, self._clock.wall_ms()
        )
        self._away[nonce] = now
        if self._unanswered is None:
            self._unanswered = now
        published = self._link.publish(self.channel, sealed)
        published.add_done_callback(partial(self._published, now))

    def _published(self, sent: float, answer: asyncio.Future[Any]) -> None:
        self._unanswered = None
        self._refused = answer.cancelled() or isinstance(answer.exception(), StoreError)
        if not self._refused:
            answer.result()  # another exception is a fault of ours
            self._observe(self._clock.steady() - sent)

    def heard(self, payload: bytes) -> None:
        """Something came on the channel."""
        try:
            nonce = self._sealer.open("", b"", Kind.PROBE, self.channel, b"", payload)
        except SealError:
            self._spoiled = "keyring"
            return
        sent = self._away.pop(nonce, None)
        if sent is None:
            return  # not ours, or so late that it was given up
        if self._clock.steady() - sent > LIMIT_S:
            self._spoiled = "late"
        else:
            self._proved_at = sent
            self._spoiled = ""
