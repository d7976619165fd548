"""Limits on connections by the address that they come from, counted in this process.

An address is personal data. It is kept here while it has connections, and for as long as its bucket
is not full, which is a few seconds; it is written nowhere but into the log at level debug, when it
is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import ceil
from typing import Final

import structlog

from gateway.bucket import RecentBuckets, TokenBucket
from gateway.config import Settings
from gateway.net.addresses import Ip, Networks, source

IP_BURST_S: Final = 10
"""A source may open as many connections at once as otherwise in this many seconds: an office whose
gateway went away comes back at the same moment."""

MAX_SOURCES: Final = 20_000
"""Sources whose rate is remembered; some 6 MB."""

PACE_S: Final = 0.05
"""How much of a second's `connect_rate` may be accepted at once."""

LOG_S: Final = 60.0
"""The log tells of refused connections at most this often, for each reason."""

TOO_MANY: Final = "ip_connections"
TOO_FAST: Final = "ip_rate"
UNTRUSTED: Final = "untrusted_proxy"
BAD_HEADER: Final = "proxy_header"
"""The reasons for which connections are refused."""

_ADVICE: Final = {
    TOO_MANY: "raise max_connections_per_ip, or, where these are balancers, name trusted_proxies",
    TOO_FAST: "raise ip_connect_rate, or, where these are balancers, name trusted_proxies",
    UNTRUSTED: "name the balancers' networks in trusted_proxies, or turn proxy_protocol off",
    BAD_HEADER: "have the balancer send PROXY protocol v2",
}

_log = structlog.get_logger()


class TooMany(Exception):
    """The source has enough. `retry_after` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"too many connections from one address; retry in {retry_after:g} s")
        self.retry_after = retry_after


class Admission:
    """The limits of one process, and what they refused.

    Attributes:
        trusted: the networks whose connections tell a client's address and are not counted.
        header: the header in which they do, lower-case, or None.
        refused: how many connections were refused, by reason.
        open: how many connections each source has open.
    """

    def __init__(self, settings: Settings, steady: Callable[[], float]) -> None:
        self._steady = steady
        self.open: Counter[str] = Counter()
        self._logged: dict[str, float] = {}
        self.refused: Counter[str] = Counter()
        self._recent: RecentBuckets[str] = RecentBuckets(1, 1, MAX_SOURCES)
        self._pace: TokenBucket | None = None
        self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """Hold to `settings` from now on. Connections that are open stay."""
        self.trusted = Networks(settings.trusted_proxies)
        self.header = settings.client_address_header
        self._most = settings.max_connections_per_ip
        self._rate = settings.ip_connect_rate
        if self._rate:
            self._recent.change(self._rate, self._rate * IP_BURST_S)
        rate = settings.connect_rate
        if not rate:
            self._pace = None
        elif self._pace is None:
            self._pace = TokenBucket(rate, ceil(rate * PACE_S), self._steady())
        else:
            self._pace.change(rate, ceil(rate * PACE_S))

    def pace(self) -> float:
        """Seconds until the next connection may be accepted; 0.0, and one is taken for it."""
        if self._pace is None:
            return 0.0
        now = self._steady()
        if wait := self._pace.wait(now):
            return wait
        self._pace.take(now)
        return 0.0

    def enter(self, ip: Ip) -> str:
        """Count a connection from `ip`, and return what to `leave` with.

        Raises:
            TooMany: it is not let in, and not counted.
        """
        where = source(ip)
        if self._most and self.open[where] >= self._most:
            self._drop(where)
            self.refuse(TOO_MANY, ip)
            raise TooMany(float(IP_BURST_S))
        if self._rate and (wait := self._recent.take(where, self._steady())):
            self._drop(where)
            self.refuse(TOO_FAST, ip)
            raise TooMany(wait)
        self.open[where] += 1
        return where

    def leave(self, where: str) -> None:
        """A connection that was counted has ended."""
        self.open[where] -= 1
        self._drop(where)

    def _drop(self, where: str) -> None:
        if not self.open[where]:
            del self.open[where]

    def refuse(self, reason: str, ip: Ip | None) -> None:
        """Count a refusal, and tell the operator now and then."""
        self.refused[reason] += 1
        _log.debug("connection_refused", reason=reason, address=str(ip))
        now = self._steady()
        if now - self._logged.get(reason, -LOG_S) >= LOG_S:
            self._logged[reason] = now
            advice, count = _ADVICE[reason], self.refused[reason]
            _log.warning("connections_refused", reason=reason, so_far=count, advice=advice)


class Visit:
    """One connection's part of it: `end` it when the connection has ended.

    `opened` is when it was accepted, in steady seconds; `proxy` is true where it comes from a
    trusted proxy, which may tell whose it is.
    """

    __slots__ = ("_admission", "_where", "opened", "proxy")

    def __init__(self, admission: Admission, opened: float, proxy: bool) -> None:
        self._admission = admission
        self._where: str | None = None
        self.opened = opened
        self.proxy = proxy

    def identify(self, ip: Ip) -> None:
        """Count the connection for `ip`.

        Raises:
            TooMany: the address has too many connections, or opens them too fast.
        """
        self._where = self._admission.enter(ip)

    @property
    def header(self) -> str | None:
        """The header of the upgrade that holds the client's address; None: not needed."""
        return self._admission.header if self.proxy and self._where is None else None

    @property
    def trusted(self) -> Networks:
        """The networks of our own proxies, whose addresses in that header are skipped."""
        return self._admission.trusted

    def end(self) -> None:
        """The connection is gone. A second call does nothing."""
        if self._where is not None:
            self._admission.leave(self._where)
            self._where = None
