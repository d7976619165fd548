"""Mirrors gateway/store/group_state.py."""

from __future__ import annotations

import pytest

from gateway.store.group_state import Change, Member, fields_of, member_of


@pytest.mark.parametrize("member", [Member(role) for role in ("owner", "admin", "member")])
@pytest.mark.parametrize("muted", [False, True])
def test_a_member_is_read_as_it_was_written(member: Member, muted: bool) -> None:
    """Section 12: the role, and whether the member is muted."""
    member = Member(member.role, muted)
    field, value = fields_of(Change(members={"bob": member}))
    assert field == "u:bob"
    assert isinstance(value, str)
    assert member_of(value.encode()) == member


def test_a_change_writes_what_it_changes_and_no_more() -> None:
    """An empty value takes a field out; what is None stays."""
    assert fields_of(Change()) == []
    assert fields_of(Change(sealed_name=b"\x01", muted=False, members={"bob": None})) == [
        *("n", b"\x01"),
        *("q", "0"),
        *("u:bob", ""),
    ]


def test_a_deleted_group_notes_who_deleted_it_and_nothing_else() -> None:
    """The rest of the state goes."""
    assert fields_of(Change(muted=True, deleted_by="alice")) == ["gone", "alice"]
