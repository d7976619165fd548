"""Mirrors gateway/chat/blockers.py."""

from __future__ import annotations

import pytest
from homeport import codes

from gateway.chat.blockers import HeardBlockers
from gateway.chat.refused import Refused
from gateway.store.blocks import BlockedBy
from gateway.store.events import BlockChanged


def state(change: int, *users: str) -> BlockedBy:
    return BlockedBy(change, frozenset(users))


def blocked(blockers: HeardBlockers, user: str) -> bool:
    try:
        blockers.admit(user)
    except Refused as refused:
        assert refused.code is codes.BLOCKED
        return True
    return False


def test_changes_are_heard_in_order() -> None:
    """HP-18.2-3, HP-18.2-4: blocked, and let in again."""
    blockers = HeardBlockers()
    assert not blockers.read(state(3, "bob"))
    assert blocked(blockers, "bob")
    assert not blockers.hear(BlockChanged(4, True, "carol"))
    assert not blockers.hear(BlockChanged(5, False, "bob"))
    assert (blocked(blockers, "bob"), blocked(blockers, "carol")) == (False, True)
    assert not blockers.differs(5)
    assert blockers.differs(6)


def test_an_old_change_undoes_nothing() -> None:
    """HP-18.2-2: heard before the first reading was answered, but older than it."""
    blockers = HeardBlockers()
    blockers.hear(BlockChanged(3, False, "bob"))  # and then number 4 blocked again
    assert not blockers.read(state(4, "bob"))
    assert blocked(blockers, "bob")
    assert not blockers.hear(BlockChanged(3, False, "bob"))
    assert blocked(blockers, "bob")


def test_a_change_heard_while_reading_counts() -> None:
    """HP-18.2-3: the reading is from before it."""
    blockers = HeardBlockers()
    blockers.hear(BlockChanged(5, True, "bob"))
    assert not blockers.read(state(4))
    assert blocked(blockers, "bob")
    assert blockers.begin()
    blockers.hear(BlockChanged(6, True, "carol"))
    assert blocked(blockers, "carol"), "not only once the reading ends"
    assert not blockers.read(state(5, "bob"))
    assert blocked(blockers, "carol")


def test_a_hole_in_the_changes_asks_for_a_reading() -> None:
    """HP-18.2-3: a missed change shows at the next one; it is read once, not at every change."""
    blockers = HeardBlockers()
    blockers.read(state(1))
    assert blockers.hear(BlockChanged(3, True, "carol"))
    assert blockers.begin()
    assert not blockers.begin()
    assert not blockers.read(state(3, "bob", "carol"))
    assert blocked(blockers, "bob")


def test_a_hole_right_behind_a_reading_asks_again() -> None:
    """HP-18.2-3: also where the hole lies in what was heard meanwhile."""
    blockers = HeardBlockers()
    blockers.hear(BlockChanged(7, True, "bob"))
    assert blockers.read(state(4))


def test_a_failed_reading_is_made_up_for() -> None:
    """HP-18.2-3: the next comparison differs, whatever it says."""
    blockers = HeardBlockers()
    blockers.read(state(1))
    blockers.begin()
    blockers.failed()
    assert blockers.differs(1)
    assert blockers.begin()


def test_a_store_that_came_back_older_is_believed() -> None:
    """HP-18.2-3: numbers lower than those heard do not lock a reading out."""
    blockers = HeardBlockers()
    blockers.read(state(9, "bob"))
    assert blockers.begin()
    blockers.read(state(2, "carol"))
    assert (blocked(blockers, "bob"), blocked(blockers, "carol")) == (False, True)
    assert not blockers.differs(2)


def test_nobody_blocks_a_new_user() -> None:
    """HP-18.2-1: without a block nothing is refused."""
    blockers = HeardBlockers()
    blockers.read(state(0))
    blockers.admit("bob")
    with pytest.raises(Refused):
        blockers.hear(BlockChanged(1, True, "bob"))
        blockers.admit("bob")
