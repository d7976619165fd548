"""Mirrors gateway/store/group_notices.py. What reaches whom is in tests/gateway/chat/."""

from __future__ import annotations

from gateway.store.group_notices import News
from gateway.store.group_state import Change, Group, Member, Notice

BEFORE = Group("g", 7, b"", False, {"alice": Member("owner"), "bob": Member("member")}, "", ())
NOTICE = Notice(8, b"i" * 16, b"record")


def test_everybody_whom_a_change_concerns_gets_its_notice() -> None:
    """HP-12.4: the members, also those whom it removes, and those whom it adds; whoever only has
    another role is neither in nor out."""
    change = Change(members={"bob": None, "carol": Member("member"), "alice": Member("admin")})
    news = News.of(BEFORE, change, NOTICE)
    assert (news.users, news.joined, news.left) == (["alice", "bob", "carol"], ["carol"], ["bob"])


def test_the_first_notice_of_a_group_goes_to_whom_it_is_made_of() -> None:
    """There was nobody before."""
    news = News.of(None, Change(members={"alice": Member("owner")}), NOTICE)
    assert (news.users, news.joined, news.left) == (["alice"], ["alice"], [])


def test_a_notice_in_the_list_shows_its_version_to_a_script() -> None:
    """group_told.lua takes it off by that, and reads nothing else of it."""
    news = News.of(BEFORE, Change(muted=True), NOTICE)
    packed = news.packed()
    assert packed.startswith(b"8:")
    assert News.unpack(packed) == news
