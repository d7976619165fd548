"""Mirrors gateway/net/forwarded.py, by itself and on an upgrade."""

from __future__ import annotations

import contextlib
import ipaddress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.net.addresses import Networks
from gateway.net.forwarded import BadForwarded, client
from tests.gateway.net.raw import RawSocket, upgrade
from tests.harness import FakeClock, make_settings, running_worker

OURS = Networks(["10.0.0.0/8", "2001:db8:1::/48"])


def found(header: str, *values: str) -> str | None:
    """The client's address, as text."""
    ip = client(header, list(values), OURS)
    return None if ip is None else str(ip)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        (["192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1:5678"], "192.0.2.1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1, 10.1.1.1"], "192.0.2.1"),
        (["192.0.2.1", "10.1.1.1"], "192.0.2.1"),
        (["6.6.6.6, 192.0.2.1, 10.1.1.1, 10.2.2.2"], "192.0.2.1"),  # 6.6.6.6 is a lie
        (["10.1.1.1"], None),
        (["unknown"], None),
        (["6.6.6.6, nonsense"], None),
        (["6.6.6.6,"], None),
        (["1.2.3"], None),
        (["999.1.1.1"], None),
    ],
)
def test_x_forwarded_for(values: list[str], expected: str | None) -> None:
    """From its end, the first that is none of ours."""
    assert found("x-forwarded-for", *values) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        (["for=192.0.2.60;proto=https;by=10.0.0.1"], "192.0.2.60"),
        (['For="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17"),
        (["for=192.0.2.43, for=10.0.0.9"], "192.0.2.43"),
        (["for=192.0.2.43", "for=10.0.0.9;proto=http"], "192.0.2.43"),
        (["for=6.6.6.6, for=192.0.2.43 , for=10.0.0.9"], "192.0.2.43"),
        (["for=_hidden"], None),
        (["for=unknown"], None),
        (["proto=https"], None),
        (["for=6.6.6.6, proto=https"], None),
        (['for="192.0.2.1:99"'], "192.0.2.1"),
        (['host="a, for=6.6.6.6";for=192.0.2.1'], "192.0.2.1"),
        (['host="\\", for=6.6.6.6";for=192.0.2.1'], "192.0.2.1"),
    ],
)
def test_forwarded(values: list[str], expected: str | None) -> None:
    """RFC 7239 sections 4 to 7.4."""
    assert found("forwarded", *values) == expected


@pytest.mark.parametrize(
    "value",
    [
        'x=", for=192.0.2.1',
        'x=", for=192.0.2.1;host="evil", for=6.6.6.6"',
        "for",
        "for=",
        ",for=192.0.2.1",
        "for=192.0.2.1;;for=6.6.6.6",
        'for="192.0.2.1',
        'for=192.0.2.1"',
    ],
)
def test_a_quote_that_is_left_open_hides_nothing(value: str) -> None:
    """A client writes the beginning of the list, and must not choose how its end is read."""
    with pytest.raises(BadForwarded):
        found("forwarded", value)


@given(st.text(max_size=80))
def test_whatever_a_client_writes_before_it_our_proxys_word_counts(text: str) -> None:
    """The address that was appended, or nothing of the header at all."""
    assert found("x-forwarded-for", text, "192.0.2.1") == "192.0.2.1"
    with contextlib.suppress(BadForwarded):
        assert found("forwarded", text, "for=192.0.2.1") == "192.0.2.1"


@given(st.sampled_from(["forwarded", "x-forwarded-for"]), st.text(max_size=80))
def test_any_text_is_an_address_none_or_an_error(header: str, text: str) -> None:
    """No crash."""
    try:
        address = found(header, text)
    except BadForwarded:
        return
    assert address is None or ipaddress.ip_address(address)


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ("x-forwarded-for", "X-Forwarded-For", "6.6.6.6, {}"),
        ("forwarded", "Forwarded", "for=6.6.6.6, for={};proto=https"),
    ],
)
async def test_a_client_is_counted_by_what_the_proxy_tells(
    redis_url: str, tmp_path: Path, clock: FakeClock, setting: str, name: str, value: str
) -> None:
    """HP-2.1-6: 429 and Retry-After for a second connection of an address, until the first ends;
    no address is logged."""
    settings = make_settings(
        redis_url, tmp_path, client_address_header=setting, max_connections_per_ip=1
    )
    async with running_worker(settings, clock=clock) as running:
        where = running.listening.plain

        async def asked(ip: str) -> tuple[int, str]:
            async with RawSocket.open(where) as raw:
                raw.writer.write(upgrade("/v1", (name, value.format(ip))))
                return await raw.response()

        with capture_logs() as logs:
            async with RawSocket.open(where) as first:
                first.writer.write(upgrade("/v1", (name, value.format("192.0.2.1"))))
                assert (await first.response())[0] == 101
                status, head = await asked("192.0.2.1")
                assert status == 429
                assert "Retry-After: 10\r\n" in head
                assert (await asked("192.0.2.2"))[0] == 101
            assert running.inside.listener.refused == {"ip_connections": 1}
        assert "192.0.2" not in str([log for log in logs if log["log_level"] != "debug"])
        async with RawSocket.open(where) as again:
            again.writer.write(upgrade("/v1", (name, value.format("192.0.2.1"))))
            assert (await again.response())[0] == 101


async def test_a_header_of_anybody_else_counts_for_nothing(
    redis_url: str, tmp_path: Path, clock: FakeClock
) -> None:
    """From a peer that is not trusted, and where no header is named."""
    nobody: list[dict[str, Any]] = [
        {"client_address_header": "x-forwarded-for", "trusted_proxies": ["192.0.2.0/24"]},
        {},
    ]
    for changes in nobody:
        settings = make_settings(redis_url, tmp_path, max_connections_per_ip=1, **changes)
        async with running_worker(settings, clock=clock) as running:
            for _ in range(2):
                async with RawSocket.open(running.listening.plain) as raw:
                    raw.writer.write(upgrade("/v1", ("X-Forwarded-For", "198.51.100.1")))
                    assert (await raw.response())[0] == 101
                    assert not running.inside.listener.admission.open


async def test_a_forwarded_that_cannot_be_read_is_refused(
    redis_url: str, tmp_path: Path, clock: FakeClock
) -> None:
    """400, as for any request of a wrong form, and nobody is counted."""
    settings = make_settings(redis_url, tmp_path, client_address_header="forwarded")
    async with (
        running_worker(settings, clock=clock) as running,
        RawSocket.open(running.listening.plain) as raw,
    ):
        raw.writer.write(upgrade("/v1", ("Forwarded", 'x=", for=192.0.2.1')))
        assert (await raw.response())[0] == 400
