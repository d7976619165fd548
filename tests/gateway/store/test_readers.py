"""Mirrors gateway/store/readers.py."""

from __future__ import annotations

import pytest
from homeport.frames import Cursor

from gateway.store.entries import Entry
from gateway.store.readers import DeviceState, Reader

NOW_MS = 2000


def entry(seq: int, expires_ms: int | None = None) -> Entry:
    """One whose time follows from its number."""
    return Entry(seq, 1000 + seq, b"", expires_ms)


def state(at: int, top: int, *entries: Entry) -> DeviceState:
    """A device that resumes behind the number `at`."""
    return DeviceState(Cursor("e", 1000 + at, at), top, True, None, list(entries))


@pytest.mark.parametrize(
    ("device", "start", "lost", "left"),
    [
        (state(4, 4), 4, None, []),
        (state(4, 6, entry(5), entry(6)), 4, None, [5, 6]),
        (state(4, 9, entry(8), entry(9)), 7, (5, 7), [8, 9]),
        (state(4, 9), 9, (5, 9), []),
        (state(4, 6, entry(5, NOW_MS), entry(6)), 5, (5, 5), [6]),
        (state(4, 9, entry(5, NOW_MS), entry(6, NOW_MS)), 6, (5, 6), []),
        (state(4, 6, entry(5, NOW_MS + 1), entry(6)), 4, None, [5, 6]),
    ],
)
def test_a_device_stands_behind_what_is_gone(
    device: DeviceState, start: int, lost: tuple[int, int] | None, left: list[int]
) -> None:
    """G2: what was dropped, or has expired, is told as lost, to the number, and nothing else is. Of
    a page in which everything has expired, what comes after it is still to be read."""
    found = device.past_what_is_gone(1000 + device.top, NOW_MS)
    assert found.cursor.seq == start
    assert found.cursor.ms == 1000 + (left[0] if lost and left else start)
    assert found.lost == lost
    assert found.resumed is (lost is None)
    assert [each.seq for each in found.entries] == left


def test_a_session_that_is_no_device_has_a_row_of_its_own() -> None:
    """G9: it counts by itself, and two of them do not displace each other."""
    rows = {Reader("a", "u", "cli", name, ephemeral=True).row for name in ("s1", "s2")}
    assert rows == {"s:s1", "s:s2"}
    assert Reader("a", "u", "cli", "s1").row == "d:cli"
