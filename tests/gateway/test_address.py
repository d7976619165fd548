"""How the address of a listener is read."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import Address


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("0.0.0.0:0", "0.0.0.0", 0, False),
        ("localhost:65535", "localhost", 65535, True),
        ("[::1]:8443", "::1", 8443, True),
        ("[::]:8443", "::", 8443, False),
        ("[2001:db8::5]:443", "2001:db8::5", 443, False),
        ("gw-1.example.com:443", "gw-1.example.com", 443, False),
    ],
)
def test_an_address_is_read_and_written(text: str, host: str, port: int, loopback: bool) -> None:
    """IPv6 stands in brackets (RFC 3986 section 3.2.2)."""
    address = Address.parse(text)
    assert address == Address(host, port)
    assert str(address) == text
    assert address.is_loopback is loopback


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8080",
        ":8080",
        "host",
        "host:",
        "host:x",
        "host:65536",
        "host:-1",
        "::1:8443",
        "[::1]",
        "[host]:1",
        "[::1:1",
        "[:]:1\n    ",
        "http://host:1",
        "a b:1",
        "host:1\n",
        "[1.2.3.4]:1",
        "host:٣",
    ],
    ids=ascii,
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """A listener never opens where nobody meant it to."""
    with pytest.raises(ValueError, match=r"must be host:port|IPv6"):
        Address.parse(text)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_ip_address_comes_back(ip: IPv4Address | IPv6Address, port: int) -> None:
    """What `Address` writes, it reads; an IPv4 address inside an IPv6 one as the first."""
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    address = Address(str(mapped or ip), port)
    assert Address.parse(str(Address(str(ip), port))) == address
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("[0:0:0:0:0:0:0:0]:1", "[::]:1"),
        ("[2001:DB8:0::5]:1", "[2001:db8::5]:1"),
        ("[::ffff:127.0.0.1]:1", "127.0.0.1:1"),
        ("[::ffff:10.0.0.5]:1", "10.0.0.5:1"),
    ],
)
def test_an_address_has_one_form(text: str, same: str) -> None:
    """IPv4 is IPv4 also where it is written in IPv6 (RFC 4291 section 2.5.5.2)."""
    assert Address.parse(text) == Address.parse(same)
    assert str(Address.parse(text)) == same
