"""Mirrors gateway/store/entries.py."""

from __future__ import annotations

import pytest

from gateway.store.entries import Entry, parse_entries


def test_entries_are_read_as_redis_tells_them() -> None:
    """G5: with a time to live of their own, or none, and whether or not they were edited."""
    raw = [
        [b"1700-1", [b"m", b"a"]],
        [b"1700-2", [b"m", b"b", b"x", b"1800"]],
        [b"1701-3", [b"m", b"c", b"e", b"4"]],
        [b"1701-4", [b"m", b"d", b"x", b"1900", b"e", b"5"]],
    ]
    assert parse_entries(raw) == [
        Entry(1, 1700, b"a"),
        Entry(2, 1700, b"b", 1800),
        Entry(3, 1701, b"c"),
        Entry(4, 1701, b"d", 1900),
    ]


@pytest.mark.parametrize(("now_ms", "over"), [(1799, False), (1800, True)])
def test_a_message_ends_in_the_millisecond_that_it_names(now_ms: int, over: bool) -> None:
    """Section 14: from then on nobody is sent it; one without a time of its own never ends so."""
    assert Entry(1, 1700, b"", 1800).expired(now_ms) is over
    assert not Entry(1, 1700, b"").expired(now_ms)
