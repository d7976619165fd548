"""The probe: a sealed word that a worker says to itself through Redis, so that it knows that what
is accepted is written and heard.

It takes the way of every send and push: sealed, by the link into Redis, with a write there and the
durability that a send has, out of its pub/sub, opened. So it fails where they would: no connection,
a Redis that takes no write, one that answers and tells nobody, a key that does not open what it
sealed. One goes to each primary that users lie on, at most one for each of the 256 buckets. The
channels are the worker's own, and each probe carries a number nobody knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from gateway.clock import Clock
from gateway.ops.board import FORBIDDEN, PROOF_S, WRONG_REDIS
from gateway.redis.errors import CommandFault, OperationFailed, Unavailable, WrongServer
from gateway.redis.promises import DURABILITY, EVICTION
from gateway.redis.scripts import Script
from gateway.redis.subscriber import ChannelListener
from gateway.security.sealing import REGION, Kind, Sealer, SealError
from gateway.store.scripts import script

_PROBE: Final = script("probe")

EVERY_S: Final = 0.5
LIMIT_S: Final = 1.0
"""How long a probe may take to come back."""

FORGET_S: Final = 10.0
"""After which one that did not come back is given up, and what one wrote is gone."""

NAMED_S: Final = 3.0
"""For how long the name of a refusal stands against a connection that was lost after it: a Redis
that is read-only is left and tried again and again."""

_NONCE_BYTES: Final = 16

_REFUSALS: Final = {
    "oom": "full",
    "acl": FORBIDDEN,
    "misconf": "disk",
    "readonly": "readonly",
    "noreplicas": "replicas",
    "replicas": "replicas",
    EVICTION: "eviction",
    DURABILITY: "durability",
}
"""By the reason of an `Unavailable`: the fault, as `gateway.ops.board.FAULTS` has it. Others are
the link's."""


class Writer(Protocol):
    """The link, as far as this needs it."""

    @property
    def refused(self) -> WrongServer | Unavailable | None:
        """Why a Redis that answers is not used; None: it is used."""

    def places(self) -> list[int]:
        """One bucket on each primary that has any."""

    def run(
        self, script: Script, keys: tuple[str, ...], *arguments: bytes | int, durable: bool
    ) -> asyncio.Future[Any]:
        """Call one of the scripts, and get a future of its answer."""


class Hearer(Protocol):
    """The subscriber, as far as this needs it."""

    def subscribe(self, channel: str, listener: ChannelListener) -> asyncio.Future[None]:
        """Have `listener` hear `channel`; the future is done once Redis has confirmed it."""

    def unsubscribe(self, channel: str) -> None:
        """Stop hearing `channel`."""


def fault_of(error: OperationFailed) -> str:
    """What an error says is wrong with Redis, as `gateway.ops.board.FAULTS` names it."""
    if isinstance(error, CommandFault):
        return FORBIDDEN if error.reply == "NOPERM" else "refused"
    return _REFUSALS.get(error.reason, "link") if isinstance(error, Unavailable) else "link"


class _Way:
    """The way to one primary and back."""

    def __init__(self, name: str, now: float, proved_at: float | None) -> None:
        self.name = name
        self.since = now
        self.proved_at = proved_at
        self.away: dict[bytes, float] = {}  # nonce -> when it was sent; the oldest first
        self.unanswered: float | None = None  # since when Redis owes an answer
        self.refusal = ""
        self.refused_at = float("-inf")
        self.lost = False  # the last one was not answered, or not by name
        self.spoiled = ""

    def age(self, now: float) -> float:
        """Seconds since the last proof, or since there is this way."""
        return now - (self.since if self.proved_at is None else self.proved_at)

    def fault(self, now: float) -> str:
        """Where probes are lost, if any are."""
        if self.refusal and (not self.lost or now - self.refused_at < NAMED_S):
            return self.refusal
        if self.lost or (self.unanswered is not None and now - self.unanswered > EVERY_S):
            return "link"
        return self.spoiled or "pubsub"


class Probe:
    """The probes of one worker.

    `channel` names its own channel of a bucket; `observe` gets each round trip in seconds.
    """

    def __init__(
        self,
        link: Writer,
        subscriber: Hearer,
        channel: Callable[[int], str],
        sealer: Sealer,
        clock: Clock,
        observe: Callable[[float], None],
    ) -> None:
        self._link = link
        self._subscriber = subscriber
        self._channel = channel
        self._sealer = sealer
        self._clock = clock
        self._observe = observe
        self._ways: dict[str, _Way] = {}

    @property
    def proof_s(self) -> float:
        """Seconds since the last probe was sent that came back in time, on the way where that is
        longest ago; -1: on some way none did yet, or none since a wrong Redis was met."""
        if not self._ways or any(way.proved_at is None for way in self._ways.values()):
            return -1.0
        now = self._clock.steady()
        return max(way.age(now) for way in self._ways.values())

    @property
    def fault(self) -> str:
        """Where probes are lost, if `proof_s` says so: one of `gateway.ops.board.FAULTS`."""
        if self._link.refused is not None:
            wrong = isinstance(self._link.refused, WrongServer)
            return WRONG_REDIS if wrong else fault_of(self._link.refused)
        now = self._clock.steady()
        worst = max(self._ways.values(), key=lambda way: way.age(now), default=None)
        return "link" if worst is None else worst.fault(now)

    @property
    def failing(self) -> str:
        """The fault, one of `gateway.ops.board.FAULTS`, while probes are lost; else ""."""
        now = self._clock.steady()
        late = any(way.age(now) > PROOF_S for way in self._ways.values())
        return self.fault if late else ""

    def look(self) -> None:
        """See whether a wrong Redis answers: the right one before it proves nothing of what comes
        next. To be called before `fault` and `proof_s` are told to anybody."""
        if isinstance(self._link.refused, WrongServer):
            for way in self._ways.values():
                way.proved_at = None
                way.away.clear()

    async def run(self) -> None:
        """Send one on each way every `EVERY_S`. Never returns."""
        heard = self._follow()
        with contextlib.suppress(TimeoutError):  # then nothing comes back, and that is said
            async with asyncio.timeout(LIMIT_S):
                await asyncio.gather(*heard)
        while True:
            self.send()
            await asyncio.sleep(EVERY_S)

    def _follow(self) -> list[asyncio.Future[None]]:
        """Have a way to each primary there is now; returns what is done once they are heard."""
        names = {self._channel(bucket) for bucket in self._link.places()}
        for gone in self._ways.keys() - names:
            del self._ways[gone]
            self._subscriber.unsubscribe(gone)
        now = self._clock.steady()
        # A primary that comes later has as long for its first proof as for any.
        proved_at = now if self._ways else None
        new = names - self._ways.keys()
        self._ways |= {name: _Way(name, now, proved_at) for name in new}
        return [self._subscriber.subscribe(name, self) for name in new]

    def send(self) -> None:
        """Send one probe on each way; `heard` takes them when they are back."""
        self._follow()
        for way in self._ways.values():
            self._send(way)

    def _send(self, way: _Way) -> None:
        now = self._clock.steady()
        for nonce in [nonce for nonce, sent in way.away.items() if now - sent > FORGET_S]:
            del way.away[nonce]
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._sealer.seal(REGION, Kind.PROBE, way.name, b"", nonce, self._clock.wall_ms())
        way.away[nonce] = now
        if way.unanswered is None:
            way.unanswered = now
        written = self._link.run(_PROBE, (way.name,), sealed, int(FORGET_S * 1000), durable=True)
        written.add_done_callback(partial(self._written, way, now))

    def _written(self, way: _Way, sent: float, answer: asyncio.Future[Any]) -> None:
        way.unanswered = None
        error = None if answer.cancelled() else answer.exception()
        if isinstance(error, OperationFailed):
            fault = fault_of(error)
            way.lost = fault == "link"
            if not way.lost:
                way.refusal, way.refused_at = fault, self._clock.steady()
        elif answer.cancelled():
            way.lost = True
        else:
            answer.result()  # another exception is a fault of ours
            way.refusal, way.lost = "", False
            self._observe(self._clock.steady() - sent)

    def heard(self, channel: bytes, payload: bytes) -> None:
        """Take a probe that is back."""
        way = self._ways[channel.decode()]
        try:
            nonce = self._sealer.open(REGION, Kind.PROBE, way.name, b"", payload)
        except SealError:
            way.spoiled = "keyring"
            return
        sent = way.away.pop(nonce, None)
        if sent is None:
            return  # not ours, or so late that it was given up
        if self._clock.steady() - sent > LIMIT_S:
            way.spoiled = "late"
        else:
            way.proved_at = sent
            way.spoiled = ""
