"""Who may do what in a group. No I/O: a group, who asks, what for; what changes by it.

Every function returns the change and the notice of it, or None where it is so already. The order of
the questions is always the same: is there such a group, is the asking user in it, is it so already
(a request that is repeated is not refused for what its first try did), may the user do it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from gateway.chat.refused import Refused
from gateway.store.group_state import Change, Group, Member
from protocol import codes
from protocol.frames import GroupNotice
from protocol.frames.groups import Role
from protocol.ids import is_user_id

_RANK: Final[dict[Role, int]] = {"member": 0, "admin": 1, "owner": 2}

Decision = tuple[Change, GroupNotice] | None


def me_in(group: Group | None, user: str) -> tuple[Group, Member]:
    """The group, and the asking user's place in it.

    Raises:
        Refused: unknown_group, not_a_member.
    """
    if group is None or group.gone:
        raise Refused(codes.UNKNOWN_GROUP)
    me = group.members.get(user)
    if me is None:
        raise Refused(codes.NOT_A_MEMBER)
    return group, me


def may_send(group: Group | None, user: str) -> Group:
    """The group that `user` sends to.

    Raises:
        Refused: unknown_group, not_a_member, muted.
    """
    there, me = me_in(group, user)
    if me.muted or (there.muted and me.role == "member"):
        raise Refused(codes.MUTED)
    return there


def create(
    group: Group | None, user: str, name: str, sealed: bytes, users: Iterable[str], limit: int
) -> Decision:
    """Make a group of `user` and `users`."""
    if group is not None:
        if group.gone:
            raise Refused(codes.UNKNOWN_GROUP, "This group was made before, and deleted.")
        return None
    others = [each for each in _users(users) if each != user]
    _fits(1 + len(others), limit)
    members: dict[str, Member | None] = {user: Member("owner")}
    members.update((each, Member("member")) for each in others)
    change = Change(sealed_name=sealed, muted=False, members=members)
    return change, _notice("created", user, users=[user, *others], name=name)


def rename(group: Group | None, user: str, old: str, name: str, sealed: bytes) -> Decision:
    """Call the group, which is called `old`, `name`."""
    _, me = me_in(group, user)
    if name == old:
        return None
    _at_least("admin", me)
    return Change(sealed_name=sealed), _notice("renamed", user, name=name)


def delete(group: Group | None, user: str) -> Decision:
    """End the group."""
    if group is not None and group.gone == user:
        return None
    there, me = me_in(group, user)
    _at_least("owner", me)
    change = Change(members=dict.fromkeys(there.members), deleted_by=user)
    return change, _notice("deleted", user)


def add(group: Group | None, user: str, users: Iterable[str], name: str, limit: int) -> Decision:
    """Make members of `users`; all of them or none."""
    there, me = me_in(group, user)
    new = [each for each in _users(users) if each not in there.members]
    if not new:
        return None
    _at_least("admin", me)
    _fits(len(there.members) + len(new), limit)
    change = Change(members={each: Member("member") for each in new})
    return change, _notice("added", user, users=new, name=name)


def remove(group: Group | None, user: str, users: Iterable[str]) -> Decision:
    """Take `users` out; all of them or none."""
    there, me = me_in(group, user)
    gone = [each for each in _users(users) if each in there.members]
    if not gone:
        return None
    for each in gone:
        _above(there.members[each], me)
    return Change(members=dict.fromkeys(gone)), _notice("removed", user, users=gone)


def leave(group: Group | None, user: str) -> Decision:
    """Take `user` out, at the own wish."""
    if group is None or group.gone:
        raise Refused(codes.UNKNOWN_GROUP)
    me = group.members.get(user)
    if me is None:
        return None
    if me.role == "owner":
        raise Refused(codes.OWNER_STAYS)
    return Change(members={user: None}), _notice("left", user, users=[user])


def set_role(group: Group | None, user: str, other: str, role: Role) -> Decision:
    """Give `other` a role. The owner who makes another one owner is an admin from then on."""
    there, me = me_in(group, user)
    their = _member(there, other)
    if their.role == role:
        return None
    _at_least("owner", me)
    if other == user:  # there is always one owner
        raise Refused(codes.OWNER_STAYS, "Make somebody else owner, and this user is an admin.")
    members: dict[str, Member | None] = {
        other: Member(role, muted=their.muted and role == "member")
    }
    if role == "owner":
        members[user] = Member("admin")
    return Change(members=members), _notice("role", user, users=[other], role=role)


def mute(group: Group | None, user: str, other: str | None, muted: bool) -> Decision:
    """Mute `other`, or every member where it is None; or undo it."""
    there, me = me_in(group, user)
    if other is None:
        if there.muted == muted:
            return None
        _at_least("admin", me)
        return Change(muted=muted), _notice("muted", user, muted=muted)
    their = _member(there, other)
    if their.muted == muted:
        return None
    _above(their, me)
    change = Change(members={other: Member(their.role, muted)})
    return change, _notice("muted", user, users=[other], muted=muted)


def _notice(what: str, by: str, **more: Any) -> GroupNotice:
    """A notice whose version is not known yet."""
    return GroupNotice(0, by, what, **more)


def _users(users: Iterable[str]) -> list[str]:
    """Each once, in the order given."""
    once = list(dict.fromkeys(users))
    if not all(is_user_id(each) for each in once):
        raise Refused(codes.INVALID_FIELD, "A user id has a wrong form.")
    return once


def _member(group: Group, user: str) -> Member:
    found = group.members.get(user)
    if found is None:
        raise Refused(codes.NOT_A_MEMBER, "The user this is about is not in the group.")
    return found


def _at_least(role: Role, me: Member) -> None:
    if _RANK[me.role] < _RANK[role]:
        raise Refused(codes.NOT_ALLOWED)


def _above(them: Member, me: Member) -> None:
    """An admin has power over members only, the owner over all others."""
    _at_least("admin", me)
    if _RANK[me.role] <= _RANK[them.role]:
        raise Refused(codes.NOT_ALLOWED)


def _fits(size: int, limit: int) -> None:
    if size > limit:
        raise Refused(codes.GROUP_FULL, f"A group of this app has at most {limit} members.")
