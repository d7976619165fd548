"""A group as the store holds it, in its conversation's bucket.

The state is a hash: ``v`` version, ``n`` sealed name, ``q`` whether all are muted, ``c`` how many
members there are. ``u:<user>`` is a member: ``<role, with - if muted> <since> <n of since>``, since
being the number of the conversation after which they are in it. ``x:<user>`` is one who went and
may not know it yet: ``<since> <n of since> <until> <n of until>``. ``l:<user>`` is one who left,
and ``l`` says that there are more such users than it remembers. ``i:<user>`` is an invitation: when
it ends, in ms since 1970, below 0 once it was declined. ``gone``, the former owner, marks a deleted
group for a while.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from homeport.frames.groups import Role

from gateway.store import recipients
from gateway.store.keys import Keys
from gateway.store.recipients import Interval, Recipients
from gateway.store.storage import GROUP, MEMBER

_ROLES: Final[dict[str, Role]] = {"o": "owner", "a": "admin", "m": "member"}


@dataclass(frozen=True, slots=True)
class Member:
    """One member's place in a group."""

    role: Role
    muted: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """A group at one version. `gone` is empty, or the owner of what was deleted.

    `recipients` are the members, and those who went and may not know it yet. `left` are users who
    left, and `left_more` says that others did. `invited` has for each invited user when the
    invitation ends, in ms since 1970, below 0 once it was declined.
    """

    id: str
    version: int
    sealed_name: bytes
    muted: bool
    members: dict[str, Member]
    gone: str
    left: frozenset[str] = field(repr=False)
    left_more: bool
    invited: dict[str, int] = field(repr=False)
    recipients: Recipients = field(repr=False)


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes another; None is no change, and a member that is None is taken out.

    Whoever deletes a group, in `deleted_by`, takes all members out. `invited` is as in `Group`,
    None for an invitation that goes. `left` is who left, `left_more` that the group can't remember
    it; a new member has left no more.
    """

    sealed_name: bytes | None = None
    muted: bool | None = None
    members: dict[str, Member | None] = field(default_factory=dict)
    deleted_by: str | None = None
    invited: dict[str, int | None] = field(default_factory=dict)
    left: str | None = None
    left_more: bool = False


class Summary(NamedTuple):
    """A group in the list of one of its members."""

    id: str
    version: int
    sealed_name: bytes
    muted: bool
    role: Role
    size: int


def growth(before: Group | None, change: Change) -> int:
    """By how many bytes Redis holds more after `change`, the notice not counted."""
    if change.deleted_by is not None:
        return 0 if before is None else -(GROUP + MEMBER * len(before.members))
    known = before.members if before is not None else {}
    gone = sum(user in known for user, member in change.members.items() if member is None)
    members = len(added(before, change)) - gone
    return MEMBER * members + (GROUP if before is None else 0)


def added(before: Group | None, change: Change) -> list[str]:
    """The users who become members by `change`."""
    known = before.members if before is not None else {}
    return [
        user for user, member in change.members.items() if member is not None and user not in known
    ]


def words_of(before: Group | None, change: Change) -> list[str | bytes]:
    """What membership.lua is told to make of `before`: three words for each thing."""
    old = before.members if before is not None else {}
    members = change.members
    words: list[str | bytes] = []
    if change.deleted_by is not None:
        members = dict.fromkeys(old)
        words += ("set", "gone", change.deleted_by)
    if change.sealed_name is not None:
        words += ("set", "n", change.sealed_name)
    if change.muted is not None:
        words += ("set", "q", "1" if change.muted else "0")
    for user, member in members.items():
        if member is None:
            words += ("out", user, "")
        else:
            words += ("in", user, member.role[0] + ("-" if member.muted else ""))
    for user, ends in change.invited.items():
        words += ("del", f"i:{user}", "") if ends is None else ("set", f"i:{user}", str(ends))
    if change.left is not None:
        words += ("set", f"l:{change.left}", "1")
    if change.left_more:
        words += ("set", "l", "1")
    size = sum(member is not None for member in {**old, **members}.values())
    return [*words, "set", "c", str(size)]


def member_of(value: bytes) -> Member:
    """What is kept of a member."""
    role = value.partition(b" ")[0]
    return Member(_ROLES[role[:1].decode()], role.endswith(b"-"))


def parse_group(keys: Keys, app_id: str, group_id: str, raw: list[bytes]) -> Group:
    """The group whose state has these fields and values, one after the other."""
    state = dict(zip(raw[::2], raw[1::2], strict=True))
    members: dict[str, Member] = {}
    intervals: dict[str, Interval] = {}
    left: set[str] = set()
    invited: dict[str, int] = {}
    for name, value in state.items():
        user = name[2:].decode()
        if name.startswith(b"u:"):
            members[user] = member_of(value)
            intervals[user] = Interval(*map(int, value.split(b" ")[1:]))
        elif name.startswith(b"x:"):
            intervals[user] = Interval(*map(int, value.split(b" ")))
        elif name.startswith(b"l:"):
            left.add(user)
        elif name.startswith(b"i:"):
            invited[user] = int(value)
    version = int(state[b"v"])
    return Group(
        group_id,
        version,
        state.get(b"n", b""),
        state.get(b"q") == b"1",
        members,
        state.get(b"gone", b"").decode(),
        frozenset(left),
        b"l" in state,
        invited,
        recipients.group(keys, app_id, group_id, version, intervals),
    )
