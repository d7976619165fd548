"""Mirrors gateway/store/group_state.py."""

from __future__ import annotations

import pytest

from gateway.store.group_state import Change, Group, Member, member_of, parse_group, words_of
from gateway.store.keys import Keys
from gateway.store.recipients import Interval, group

KEYS = Keys("sg")
APP = "02" + "a" * 30
OLD = {"ann": Member("owner"), "bob": Member("member")}
BEFORE = Group(
    "team", 7, b"", False, OLD, "", frozenset(), False, {}, group(KEYS, APP, "team", 7, {})
)


@pytest.mark.parametrize("member", [Member(role) for role in ("owner", "admin", "member")])
@pytest.mark.parametrize("muted", [False, True])
def test_a_member_is_read_as_it_was_written(member: Member, muted: bool) -> None:
    """Section 11: the role, and whether the member is muted."""
    member = Member(member.role, muted)
    words = words_of(None, Change(members={"bob": member}))
    assert words[:2] == ["in", "bob"]
    assert isinstance(words[2], str)
    assert member_of(f"{words[2]} 5 3".encode()) == member


def test_a_change_writes_what_it_changes_and_the_size() -> None:
    """HP-11.5-2: what is None stays; and a page of groups reads how large each one is from then
    on."""
    assert words_of(BEFORE, Change()) == ["set", "c", "2"]
    change = Change(sealed_name=b"\x01", muted=False, members={"bob": None, "cid": Member("admin")})
    assert words_of(BEFORE, change) == [
        *("set", "n", b"\x01"),
        *("set", "q", "0"),
        *("out", "bob", ""),
        *("in", "cid", "a"),
        *("set", "c", "2"),
    ]
    assert words_of(BEFORE, Change(members={"bob": Member("admin")}))[-1] == "2"
    assert words_of(BEFORE, Change(members={"cid": Member("member")}))[-1] == "3"


def test_a_deleted_group_notes_who_deleted_it_and_lets_everybody_go() -> None:
    """HP-13.1-5: the rest of the state goes."""
    assert words_of(BEFORE, Change(deleted_by="ann"))[:9] == [
        *("set", "gone", "ann"),
        *("out", "ann", ""),
        *("out", "bob", ""),
    ]


def test_who_went_is_no_member_and_is_told_what_was_said_before() -> None:
    """G1: their interval stays among the recipients until somebody has settled it."""
    raw = [b"v", b"9", b"n", b"name", b"q", b"1", b"u:ann", b"o- 4 2", b"x:bob", b"0 0 6"]
    found = parse_group(KEYS, APP, "team", raw)
    assert found.members == {"ann": Member("owner", muted=True)}
    assert (found.version, found.sealed_name, found.muted, found.gone) == (9, b"name", True, "")
    intervals = {"ann": Interval(4, 2), "bob": Interval(0, 0, 6)}
    assert found.recipients == group(KEYS, APP, "team", 9, intervals)
