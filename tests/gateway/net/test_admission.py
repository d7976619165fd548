"""Mirrors gateway/net/admission.py and addresses.py, and the limits over real TLS sockets."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from homeport import frames
from structlog.testing import capture_logs

from gateway import bucket
from gateway.config import Settings
from gateway.dev.certificates import DevCerts
from gateway.net.addresses import address, source
from gateway.net.admission import IP_BURST_S, Admission, TooMany, Visit
from tests.gateway.net.raw import RawSocket
from tests.harness import (
    FakeClock,
    RawClient,
    RunningWorker,
    client_tls,
    make_secure_settings,
    running_worker,
    until,
)
from tests.inside import remembered


def ip(number: int) -> ipaddress.IPv4Address:
    """The address of this number."""
    return ipaddress.IPv4Address(number)


def admission(settings: Settings, clock: FakeClock, **changes: Any) -> Admission:
    """Of `settings` with `changes`."""
    return Admission(settings.model_copy(update=changes), lambda: clock.steady)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_what_is_counted_together(text: str, expected: str) -> None:
    """HP-2.1-6: an IPv4 address by itself, an IPv6 one with its /64."""
    found = address(text)
    assert found is not None
    assert source(found) == expected


def test_what_is_no_address() -> None:
    """A UNIX socket's peer, for example."""
    assert address("") is None
    assert address("localhost") is None


def test_a_source_has_so_many_open(settings: Settings, clock: FakeClock) -> None:
    """HP-2.1-6: one that ends makes room, and ends once only."""
    limits = admission(settings, clock, max_connections_per_ip=2)
    first, second, third, other = (Visit(limits, 0.0, False) for _ in range(4))
    first.identify(ip(1))
    second.identify(ip(1))
    with pytest.raises(TooMany) as caught:
        third.identify(ip(1))
    assert caught.value.retry_after > 0
    other.identify(ip(2))
    third.end()
    first.end()
    first.end()
    third.identify(ip(1))
    with pytest.raises(TooMany):
        first.identify(ip(1))
    for visit in (second, third, other):
        visit.end()
    assert not limits.open
    assert limits.refused == {"ip_connections": 2}


def test_a_source_opens_so_many_a_second(settings: Settings, clock: FakeClock) -> None:
    """HP-2.1-6: a burst, then the rate, and after `retry_after` there is room."""
    limits = admission(settings, clock, ip_connect_rate=2)
    for _ in range(2 * IP_BURST_S):
        limits.leave(limits.enter(ip(1)))
    with pytest.raises(TooMany) as caught:
        limits.enter(ip(1))
    limits.enter(ip(2))
    clock.advance(caught.value.retry_after)
    limits.enter(ip(1))
    with pytest.raises(TooMany):
        limits.enter(ip(1))
    assert limits.refused == {"ip_rate": 2}
    assert limits.open == {source(ip(1)): 1, source(ip(2)): 1}


def test_zero_is_no_limit(settings: Settings, clock: FakeClock) -> None:
    """As the settings say."""
    limits = admission(settings, clock, max_connections_per_ip=0, ip_connect_rate=0)
    for _ in range(5000):
        limits.enter(ip(1))
    assert limits.pace() == 0.0
    assert not limits.refused


def test_many_addresses_cost_a_bounded_memory(
    settings: Settings, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: an attacker with any number of addresses; those that were full again are forgotten."""
    monkeypatch.setattr("gateway.net.admission.MAX_SOURCES", 100)
    limits = admission(settings, clock)
    for number in range(1000):
        limits.leave(limits.enter(ip(number)))
    assert remembered(limits) == 100
    assert not limits.open
    clock.advance(60)
    for number in range(60):
        limits.leave(limits.enter(ip(number)))
    assert remembered(limits) <= 60


def test_forgetting_the_oldest_first(clock: FakeClock) -> None:
    """G9: who took a token last is remembered longest, whenever they took their first."""
    buckets: bucket.RecentBuckets[str] = bucket.RecentBuckets(1, 2, 2)
    for name in ("a", "b", "a", "c"):
        assert buckets.take(name, 0.0) == 0.0
    assert buckets.take("a", 0.0) > 0.0
    assert (buckets.take("c", 0.0), buckets.take("c", 0.0) > 0.0) == (0.0, True)
    buckets.change(1, 3)
    assert buckets.take("a", 0.0) == 0.0
    buckets.change(1, 2)
    assert [buckets.take("b", 0.0) for _ in range(2)] == [0.0, 0.0]  # as if it were new


def test_other_limits_hold_at_once(settings: Settings, clock: FakeClock) -> None:
    """Live changes: what is open stays and counts."""
    limits = admission(settings, clock, max_connections_per_ip=5, connect_rate=0)
    for _ in range(5):
        limits.enter(ip(1))
    change = {"max_connections_per_ip": 6, "connect_rate": 20, "trusted_proxies": ["10.0.0.0/8"]}
    limits.adopt(settings.model_copy(update=change))
    limits.enter(ip(1))
    with pytest.raises(TooMany):
        limits.enter(ip(1))
    assert limits.pace() == 0.0
    assert limits.pace() > 0.0
    assert ipaddress.IPv4Address("10.1.1.1") in limits.trusted
    assert ipaddress.IPv4Address("127.0.0.1") not in limits.trusted
    limits.adopt(settings.model_copy(update={"max_connections_per_ip": 3}))
    assert limits.pace() == 0.0
    with pytest.raises(TooMany):
        limits.enter(ip(1))


def test_the_log_tells_once_a_minute_and_no_address(settings: Settings, clock: FakeClock) -> None:
    """An address is personal data: only the level debug has it. An attack fills no disk."""
    limits = admission(settings, clock, max_connections_per_ip=1)
    limits.enter(ip(0x01020304))
    with capture_logs() as logs:
        for _ in range(100):
            with pytest.raises(TooMany):
                limits.enter(ip(0x01020304))
        clock.advance(61)
        with pytest.raises(TooMany):
            limits.enter(ip(0x01020304))
    told = [log for log in logs if log["log_level"] != "debug"]
    assert [log["so_far"] for log in told] == [1, 101]
    assert "max_connections_per_ip" in told[0]["advice"]
    assert "1.2.3.4" not in str(told)


# -- over real sockets -----------------------------------------------------------------------------


@pytest.fixture
async def open_to_all(
    redis_url: str, tmp_path: Path, clock: FakeClock, certs: DevCerts
) -> AsyncIterator[RunningWorker]:
    """A WSS listener without a proxy before it, to which 127.0.0.1 is an address like any other."""
    settings = make_secure_settings(
        redis_url,
        tmp_path,
        certs,
        trusted_proxies=[],
        max_connections_per_ip=3,
        ip_connect_rate=1,
    )
    async with running_worker(settings, clock=clock) as running:
        yield running


async def refused(running: RunningWorker, tls: ssl.SSLContext, source: str = "") -> None:
    """Connect, and be sent away before TLS."""
    with pytest.raises(OSError):
        async with RawSocket.open(running.listening.wss, tls, source=source):
            pass


async def test_an_address_with_enough_is_sent_away_before_tls(
    open_to_all: RunningWorker, certs: DevCerts
) -> None:
    """HP-2.1-6: a connection counts from the accept to its end, whether it says anything or not;
    another address, and who is there, notice nothing."""
    running, tls = open_to_all, client_tls(certs.ca)
    listener = running.inside.listener
    async with (
        RawClient.open(running.wss_url, ssl=tls) as alice,
        RawSocket.open(running.listening.wss) as silent,  # not even TLS
        RawSocket.open(running.listening.wss, tls) as idle,
    ):
        await alice.connect(running.token("alice"))
        await refused(running, tls)
        assert listener.refused == {"ip_connections": 1}
        async with RawSocket.open(running.listening.wss, tls, source="127.0.0.2") as other:
            await other.open_session(running.token("bob"))
        assert isinstance(await alice.say("bob", "x"), frames.Ok)
        idle.writer.transport.abort()
        await until(lambda: listener.admission.open["127.0.0.1"] == 2)
        async with RawSocket.open(running.listening.wss, tls) as next_one:
            await next_one.open_session(running.token("carol"))
        silent.writer.transport.abort()
    await until(lambda: not listener.admission.open)


async def test_a_tls_handshake_that_fails_is_counted_while_it_lasts(
    open_to_all: RunningWorker,
) -> None:
    """HP-2.1-6: and leaves nothing behind."""
    for _ in range(5):
        async with RawSocket.open(open_to_all.listening.wss) as raw:
            raw.writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await raw.ended()
    await until(lambda: not open_to_all.inside.listener.admission.open)
    assert not open_to_all.inside.listener.refused


async def test_an_address_that_connects_too_fast_is_sent_away(
    open_to_all: RunningWorker, certs: DevCerts
) -> None:
    """HP-2.1-6: by the clock; another address is not held to it."""
    tls = client_tls(certs.ca)
    for _ in range(IP_BURST_S):
        async with RawSocket.open(open_to_all.listening.wss, tls):
            pass
        await until(lambda: not open_to_all.inside.listener.admission.open)
    await refused(open_to_all, tls)
    await refused(open_to_all, tls)
    async with RawSocket.open(open_to_all.listening.wss, tls, source="127.0.0.2"):
        pass
    assert open_to_all.inside.listener.refused == {"ip_rate": 2}
    open_to_all.pass_time(1)
    async with RawSocket.open(open_to_all.listening.wss, tls) as raw:
        await raw.open_session(open_to_all.token("alice"))


async def test_this_machine_is_not_counted_by_itself(
    redis_url: str, tmp_path: Path, clock: FakeClock, certs: DevCerts
) -> None:
    """The default: a proxy, a health check or a load test on loopback speaks for many. A plain
    listener's peers are never counted: it is on loopback, or behind a proxy that ends TLS."""
    nobody: dict[str, Any] = {"trusted_proxies": []}
    for secure in (True, False):
        settings = make_secure_settings(
            redis_url,
            tmp_path,
            certs,
            max_connections_per_ip=1,
            **({} if secure else nobody),
        )
        async with running_worker(settings, clock=clock) as running:
            tls = client_tls(certs.ca) if secure else None
            where = running.listening.wss if secure else running.listening.plain
            async with RawSocket.open(where, tls) as one, RawSocket.open(where, tls) as two:
                await one.open_session(running.token("alice"))
                await two.open_session(running.token("bob"))


async def test_limits_change_live(open_to_all: RunningWorker, certs: DevCerts) -> None:
    """As `Listener.adopt` says: for the next connection; those that are open stay."""
    running, tls = open_to_all, client_tls(certs.ca)
    async with RawSocket.open(running.listening.wss, tls) as alice:
        await alice.open_session(running.token("alice"))
        less = running.inside.settings.model_copy(
            update={"max_connections_per_ip": 1, "max_outbox_bytes": 5_000_000}
        )
        running.inside.listener.adopt(less)
        await refused(running, tls)
        assert running.inside.listener.outboxes.limit == 5_000_000
        running.inside.listener.adopt(running.inside.settings)
        async with RawSocket.open(running.listening.wss, tls) as bob:
            await bob.open_session(running.token("bob"))
        await asyncio.sleep(0)
        assert running.inside.open >= 1
