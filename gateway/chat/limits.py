"""What a principal may ask for: a session's own bucket, its user's and its app's.

A user's and an app's sessions may be on several gateways, so their buckets are in Redis. No send
waits for it: each gateway spends from a copy, tells Redis what it spent once that is a tenth of a
burst, and learns at that moment what the others spent. So each copy by itself never gives more than
the limit, and all together exceed it by less than one burst for each further gateway; what was too
much is a debt, paid before anything else is given (SPEC.md section 17).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from functools import partial
from math import ceil
from typing import Any, Final, NamedTuple

from homeport import codes
from homeport.limits import SIGNAL_BURST, SIGNAL_RATE

from gateway.apps.app import App
from gateway.apps.tiers import STRANGERS, Rate, Tier
from gateway.bucket import RecentBuckets, TokenBucket
from gateway.chat.refused import Refused
from gateway.chat.shares import Shares
from gateway.clock import Clock
from gateway.store.rates import RateStore
from gateway.store.storage import Storage

REPORT_SHARE: Final = 10
"""A gateway tells what it spent once that is the burst divided by this."""


LOOK_UP_S: Final = 0.5
"""After which somebody asks again whose recipients are being looked up."""

CONNECT_RATE: Final = 1
CONNECT_BURST: Final = 60
"""Connects of one user to one gateway. Sixteen devices whose network comes and goes stay far below;
a program that connects in a loop costs some milliseconds a second."""

MAX_CONNECTING: Final = 20_000
"""The number of users whose connects are counted. Only users with a token are."""


class SharedBucket(TokenBucket):
    """This gateway's copy of the bucket of one user, or of an app where `user` is empty.

    `asked` is done once Redis has answered the last report, or could not.
    """

    __slots__ = (
        "_app_id",
        "_clock",
        "_rate",
        "_rates",
        "_told",
        "_user",
        "asked",
        "holders",
        "taken",
    )

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

    def take(self, now: float, tokens: int = 1) -> None:
        """Take tokens (ask `wait` first), and report to Redis after each tenth of the burst."""
        super().take(now, tokens)
        self.taken += tokens
        if (self.taken - self._told) * REPORT_SHARE >= self._rate.burst:
            self.report()

    def report(self) -> None:
        """Tell Redis what was spent here, and learn what was spent everywhere."""
        spent, self._told = self.taken - self._told, self.taken
        call = self._rates.spend(self._app_id, self._user, self._rate, spent, self._clock.wall_ms())
        call.add_done_callback(partial(self._learn, self.taken))
        self.asked = call

    def settle(self) -> None:
        """Report to Redis what was spent since the last report, if anything."""
        if self.taken > self._told:
            self.report()

    def _learn(self, taken: int, call: asyncio.Future[Any]) -> None:
        if call.exception() is not None:
            return  # Redis is away: this gateway's own copy still holds
        since = (self.taken - taken) * self._interval
        full_at = self._clock.steady() + float(call.result()) / 1000 + since
        self._full_at = max(self._full_at, full_at)


class _SessionBucket(TokenBucket):
    """A session's own; nobody else spends from it."""

    __slots__ = ()

    def __init__(self, rate: Rate, now: float) -> None:
        super().__init__(rate.per_s, rate.burst, now)

    def adopt(self, rate: Rate) -> None:
        """Hold to `rate` from now on."""
        self.change(rate.per_s, rate.burst)


class Left(NamedTuple):
    """What is left of the limit `name`: of `burst` tokens, of which `per_s` come back a second, so
    many are there, and all of them in `full_in_s` seconds."""

    name: str
    burst: int
    per_s: int
    left: int
    full_in_s: int


class Allowance:
    """The buckets that a principal spends from, the narrowest first. `close` it with the principal.

    A session has its own, its user's and its app's; a user without a session the last two; an app
    itself its own.
    """

    __slots__ = (
        "_app",
        "_buckets",
        "_limits",
        "_sender",
        "_shared",
        "_signals",
        "_steady",
        "_strangers",
        "_tier",
        "paid",
        "share",
    )

    def __init__(self, limits: Limits, clock: Clock, app: App, user: str, session: bool) -> None:
        self._limits = limits
        self._steady = clock.steady
        self._tier = tier = app.tier
        self.share = limits.shares.of(app.id)
        """What the app has under way in this process."""
        self.paid = 0
        """How many tokens the principal has paid so far."""
        self._signals: TokenBucket | None = None  # made at a session's first signal
        self._shared = [(app.id, user), (app.id, "")] if user else [(app.id, "")]
        buckets: list[tuple[str, _SessionBucket | SharedBucket]] = []
        if session:
            buckets.append(("session", _SessionBucket(tier.session, clock.steady())))
        if user:
            buckets.append(("user", limits.hold(app.id, user, tier.user)))
        buckets.append(("app", limits.hold(app.id, "", tier.app)))
        self._buckets = tuple(buckets)
        storage = limits.storage
        self._strangers = partial(storage.strangers.among, app.id)
        self._app = storage.hold(app.id, "", tier)
        self._sender = storage.hold(app.id, user, tier) if user else None

    def pay(self, tier: Tier, price: int) -> None:
        """Take as many tokens as `price` out of each bucket, or none out of any.

        Raises:
            Refused: rate_limited.
        """
        now = self._now(tier)
        for limit, bucket in self._buckets:
            if wait := bucket.wait(now, price):
                raise _refusal(limit, wait)
        for _, bucket in self._buckets:
            bucket.take(now, price)
        self.paid += price

    def signal(self, tier: Tier, price: int) -> None:
        """Pay for a signal. A session has a bucket for their number besides.

        Raises:
            Refused: rate_limited.
        """
        if self._buckets[0][0] != "session":
            self.pay(tier, price)
            return
        now = self._steady()
        if self._signals is None:
            self._signals = TokenBucket(SIGNAL_RATE, SIGNAL_BURST, now)
        if wait := self._signals.wait(now):
            raise _refusal("signals", wait)
        self.pay(tier, price)
        self._signals.take(now)

    def keep(self, tier: Tier, size: int, users: Collection[str] = ()) -> None:
        """See that there is room for `size` bytes more, which are for `users` among others.

        Whatever stores them counts them (`gateway.store.storage`).

        Raises:
            Refused: storage_full; or rate_limited, where it is not known yet whether one of `users`
                has never connected, and there is no more room for such users.
        """
        sender, app = self._sender, self._app
        if sender is not None:
            if sender.total + size > tier.sender_bytes:
                raise _full("sender")
            if sender.strange * STRANGERS >= tier.sender_bytes:
                self._only_known("sender", users)
        if app.total + size > tier.app_bytes:
            raise _full("app")
        if app.strange * STRANGERS >= tier.app_bytes:
            self._only_known("app", users)

    def marked(self, tier: Tier, count: int) -> None:
        """A message that is kept nowhere leaves so many marks, by which it is known again."""
        app_id, user = self._shared[0]
        self._limits.storage.marked(app_id, tier, user, count)

    def _only_known(self, quota: str, users: Collection[str]) -> None:
        strangers = self._strangers(users)
        if strangers is None:
            raise Refused(
                codes.RATE_LIMITED,
                "It is being looked up whether the recipients have ever connected.",
                retry_after=LOOK_UP_S,
                details={"limit": "never_connected"},
            )
        if strangers:
            raise _full(quota, never_connected=True)

    def left(self) -> list[Left]:
        """What is left of each bucket, the narrowest first."""
        now, tier, found = self._steady(), self._tier, []
        rates = {"session": tier.session, "user": tier.user, "app": tier.app}
        for name, bucket in self._buckets:
            left, full_in_s = bucket.left(now)
            rate = rates[name]
            found.append(Left(name, rate.burst, rate.per_s, left, ceil(full_in_s)))
        return found

    async def learnt(self) -> None:
        """Wait until it is known what other doors and gateways spent of the shared buckets; where
        Redis is away nothing is."""
        asked = [bucket.asked for _, bucket in self._buckets if isinstance(bucket, SharedBucket)]
        await asyncio.wait(asked)

    def close(self) -> None:
        """Give the shared buckets back. From then on every request is a fault of its door."""
        shared, self._shared = self._shared, []
        for key in shared:
            self._limits.release(key)
            self._limits.storage.release(*key)
        self._steady = _closed

    def _now(self, tier: Tier) -> float:
        if tier is not self._tier:
            self._tier = tier
            rates = {"session": tier.session, "user": tier.user, "app": tier.app}
            for limit, bucket in self._buckets:
                bucket.adopt(rates[limit])
        return self._steady()


def _closed() -> float:
    raise RuntimeError("a principal was closed, and its door goes on asking")


def _refusal(limit: str, wait: float) -> Refused:
    """The refusal with `wait` (seconds) rounded up to milliseconds: a token is there after that."""
    return Refused(
        codes.RATE_LIMITED,
        "This user connects too often."
        if limit == "connects"
        else f"The limit of this {limit} is reached.",
        retry_after=ceil(wait * 1000) / 1000,
        details={"limit": limit},
    )


def _full(quota: str, *, never_connected: bool = False) -> Refused:
    whose = "this user" if quota == "sender" else "the app"
    text = f"What {whose} may have stored is used up"
    if never_connected:
        text += " as far as it is for users who have never connected"
    details = {"quota": quota} | ({"of": "never_connected"} if never_connected else {})
    return Refused(codes.STORAGE_FULL, f"{text}.", details=details)


class Limits:
    """The shared buckets of a process, each kept while a principal here needs it; `storage` has
    what is stored."""

    def __init__(self, rates: RateStore, clock: Clock, shares: Shares, storage: Storage) -> None:
        self.storage = storage
        self._rates = rates
        self._clock = clock
        self.shares = shares
        self._buckets: dict[tuple[str, str], SharedBucket] = {}
        self._connects: RecentBuckets[tuple[str, str]] = RecentBuckets(
            CONNECT_RATE, CONNECT_BURST, MAX_CONNECTING
        )

    def __len__(self) -> int:
        return len(self._buckets)

    def open(self, app: App, user: str = "", *, session: bool = False) -> Allowance:
        """The allowance of a new session of `user`, of a `user` without one, or of the app."""
        return Allowance(self, self._clock, app, user, session)

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
        else:
            bucket.adopt(rate)  # who came before may have come with another tier
        bucket.holders += 1
        return bucket

    def release(self, key: tuple[str, str]) -> None:
        """Undo one `hold`."""
        bucket = self._buckets[key]
        bucket.holders -= 1
        if bucket.holders == 0:
            del self._buckets[key]
            bucket.settle()  # or who comes back would find all that was not told yet
