"""Mirrors gateway/net/addresses.py."""

from __future__ import annotations

import pytest

from gateway.net.addresses import Networks, address, source


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),  # nobody has two of one address
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_what_a_connection_is_counted_by(text: str, counted: str) -> None:
    """HP-5.6: a customer has at least a /64 of IPv6, and one address of IPv4."""
    found = address(text)
    assert found is not None
    assert source(found) == counted


@pytest.mark.parametrize("text", ["", "localhost", "192.0.2", "192.0.2.7:80", "[::1]", "::1 "])
def test_what_is_no_address_is_none(text: str) -> None:
    """It is for whoever asked to refuse it."""
    assert address(text) is None


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.1.2.3", False),
        ("192.0.2.9", True),
        ("::ffff:192.0.2.9", True),
        ("192.0.2.200", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
    ],
)
def test_networks_hold_an_address_however_it_is_written(text: str, inside: bool) -> None:
    """A balancer's own address may come as IPv4 or mapped, and so may the setting."""
    networks = Networks(["10.0.0.0/8", "::ffff:192.0.2.0/121", "2001:db8::/32"])
    found = address(text)
    assert found is not None
    assert (found in networks) is inside
