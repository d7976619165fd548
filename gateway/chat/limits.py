"""What a session may ask for: its own bucket, its user's and its app's.

A user's and an app's sessions may be on several gateways, so their buckets are in Redis. No send
waits for it: each gateway spends from a copy, tells Redis what it spent once that is a tenth of a
burst, and learns at that moment what the others spent. So each copy by itself never gives more than
the limit, and all together exceed it by less than one burst for each further gateway; what was too
much is a debt, paid before anything else is given (SPEC.md section 17).
"""

from __future__ import annotations

import asyncio
from functools import partial
from math import ceil
from typing import Any, Final

from gateway.apps.app import App
from gateway.apps.tiers import Rate, Tier
from gateway.bucket import RecentBuckets, TokenBucket
from gateway.chat.refused import Refused
from gateway.clock import Clock
from gateway.store.rates import RateStore
from protocol import codes

REPORT_SHARE: Final = 10
"""A gateway tells what it spent once that is the burst divided by this."""


CONNECT_RATE: Final = 1
CONNECT_BURST: Final = 60
"""Connects of one user to one gateway. Sixteen devices whose network comes and goes stay far below;
a program that connects in a loop costs some milliseconds a second."""

MAX_CONNECTING: Final = 20_000
"""Users whose connects are counted. Only who has a token is."""


class SharedBucket(TokenBucket):
    """This gateway's copy of the bucket of one user, or of an app where `user` is empty."""

    __slots__ = ("_app_id", "_clock", "_rate", "_rates", "_told", "_user", "holders", "taken")

    def __init__(self, rates: RateStore, clock: Clock, app_id: str, user: str, rate: Rate) -> None:
        self._rates = rates
        self._clock = clock
        self._app_id = app_id
        self._user = user
        self._rate = rate
        self.taken = 0
        self._told = 0
        self.holders = 0
        super().__init__(rate.per_s, rate.burst, clock.steady())
        self.report()  # to learn what is left

    def adopt(self, rate: Rate) -> None:
        """Hold to `rate` from now on."""
        if rate is not self._rate:
            self._rate = rate
            self.change(rate.per_s, rate.burst)

    def take(self, now: float) -> None:
        """As `TokenBucket.take`; now and then it tells Redis."""
        super().take(now)
        self.taken += 1
        if (self.taken - self._told) * REPORT_SHARE >= self._rate.burst:
            self.report()

    def report(self) -> None:
        """Tell Redis what was spent here, and learn what was spent everywhere."""
        spent, self._told = self.taken - self._told, self.taken
        call = self._rates.spend(self._app_id, self._user, self._rate, spent, self._clock.wall_ms())
        call.add_done_callback(partial(self._learn, self.taken))

    def settle(self) -> None:
        """Tell Redis what it was not told yet, if anything."""
        if self.taken > self._told:
            self.report()

    def _learn(self, taken: int, call: asyncio.Future[Any]) -> None:
        if call.exception() is not None:
            return  # Redis is away: this gateway's own copy still holds
        since = (self.taken - taken) * self._interval
        full_at = self._clock.steady() + float(call.result()) / 1000 + since
        self._full_at = max(self._full_at, full_at)


class Allowance:
    """One session's. `close` it with the session."""

    __slots__ = ("_app", "_limits", "_session", "_steady", "_tier", "_user", "key")

    def __init__(self, limits: Limits, app: App, user: str, clock: Clock) -> None:
        self._limits = limits
        self._steady = clock.steady
        self._tier = tier = app.tier
        self.key = (app.id, user)
        self._session = TokenBucket(tier.session.per_s, tier.session.burst, clock.steady())
        self._user = limits.hold(app.id, user, tier.user)
        self._app = limits.hold(app.id, "", tier.app)

    def send(self, tier: Tier) -> None:
        """Take a token out of each bucket, or none out of any.

        Raises:
            Refused: rate_limited.
        """
        now = self._steady()
        if tier is not self._tier:
            self._adopt(tier)
        session, user, app = self._session, self._user, self._app
        if wait := session.wait(now):
            raise _refusal("session", wait)
        if wait := user.wait(now):
            raise _refusal("user", wait)
        if wait := app.wait(now):
            raise _refusal("app", wait)
        session.take(now)
        user.take(now)
        app.take(now)

    def request(self, tier: Tier) -> None:
        """Take a token for a request other than a send: the session's only.

        Raises:
            Refused: rate_limited.
        """
        now = self._steady()
        if tier is not self._tier:
            self._adopt(tier)
        if wait := self._session.wait(now):
            raise _refusal("session", wait)
        self._session.take(now)

    def close(self) -> None:
        """Give the shared buckets back."""
        self._limits.release(self.key)
        self._limits.release((self.key[0], ""))

    def _adopt(self, tier: Tier) -> None:
        self._tier = tier
        self._session.change(tier.session.per_s, tier.session.burst)
        self._user.adopt(tier.user)
        self._app.adopt(tier.app)


def _refusal(limit: str, wait: float) -> Refused:
    """`wait` in seconds, told in whole milliseconds: the token is there when they have passed."""
    return Refused(
        codes.RATE_LIMITED,
        "This user connects too often."
        if limit == "connects"
        else f"The limit of this {limit} is reached.",
        retry_after=ceil(wait * 1000) / 1000,
        details={"limit": limit},
    )


class Limits:
    """The shared buckets of a process, each kept while a session here needs it."""

    def __init__(self, rates: RateStore, clock: Clock) -> None:
        self._rates = rates
        self._clock = clock
        self._buckets: dict[tuple[str, str], SharedBucket] = {}
        self._connects: RecentBuckets[tuple[str, str]] = RecentBuckets(
            CONNECT_RATE, CONNECT_BURST, MAX_CONNECTING
        )

    def __len__(self) -> int:
        return len(self._buckets)

    def open(self, app: App, user: str) -> Allowance:
        """The allowance of a new session."""
        return Allowance(self, app, user, self._clock)

    def connect(self, app_id: str, user: str) -> None:
        """Take a token for a connect of `user`, whose token is good, to this gateway.

        Raises:
            Refused: rate_limited.
        """
        if wait := self._connects.take((app_id, user), self._clock.steady()):
            raise _refusal("connects", wait)

    def hold(self, app_id: str, user: str, rate: Rate) -> SharedBucket:
        """The bucket of a user or an app, kept until it is released as often."""
        bucket = self._buckets.get((app_id, user))
        if bucket is None:
            bucket = SharedBucket(self._rates, self._clock, app_id, user, rate)
            self._buckets[app_id, user] = bucket
        bucket.holders += 1
        return bucket

    def release(self, key: tuple[str, str]) -> None:
        """Undo one `hold`."""
        bucket = self._buckets[key]
        bucket.holders -= 1
        if bucket.holders == 0:
            del self._buckets[key]
            bucket.settle()  # or who comes back would find all that was not told yet
