"""Mirrors protocol/homeport/token007.py. What a gateway makes of such tokens is in
tests/gateway/security/test_token007.py."""

from __future__ import annotations

import tracemalloc

import pytest
from homeport.token007 import MAX_BYTES, parse
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.security.tokening import APP, NOW_S, Packing, pack_007

WHY = r"^not (packed|laid out) as a token of the form 007$|^not for one user of Chat"


def test_everything_is_read() -> None:
    """HP-6.5-1: as it was packed, and what the signature is of."""
    packing = Packing(lifetime=60, privileges=((1, 3600),), salt=2**32 - 1)
    found = parse(packing.token())
    assert (found.app, found.user) == (APP.id, "alice")
    assert (found.issued_s, found.lifetime_s, found.salt) == (NOW_S, 60, 2**32 - 1)
    assert found.signed == packing.info()
    assert packing.packed() == b"\x20\0" + found.signature + found.signed


def test_an_apps_own_token_names_no_user() -> None:
    """HP-6.5-1, HP-6.5-5."""
    assert parse(Packing(user=b"", privileges=((2, 60),)).token()).user == ""


def test_the_error_shows_nothing_of_the_token() -> None:
    """Tokens stay out of logs and answers."""
    for bad in (
        Packing(user=b"MARK", service=1).token(),
        Packing(user=b"MARK", more=b"x").token(),
        pack_007(b"MARK"),
        "007MARK",
    ):
        with pytest.raises(ValueError, match=WHY) as caught:
            parse(bad)
        assert "MARK" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_bomb_takes_no_memory() -> None:
    """HP-6.5-2: unpacked as far as a token may be long, and no further."""
    bomb = pack_007(bytes(3_000_000), 9)
    tracemalloc.start()
    with pytest.raises(ValueError, match="not packed"):
        parse(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000
    assert MAX_BYTES == 1024


@given(st.text(max_size=200) | st.binary(max_size=1100).map(pack_007))
def test_nothing_but_a_value_error(text: str) -> None:
    """Whoever reads a stranger's token has one error to catch."""
    with pytest.raises(ValueError, match=WHY):
        parse(text)
