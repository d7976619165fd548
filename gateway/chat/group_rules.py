"""The rights of a group's members. Does no I/O: from a group and a request to the change of it.

The app itself is in no group, and may do in each what its owner may. Only users leave a group, send
to it and are muted there.

Nobody becomes a member of a group by a user whom they block. Whoever left a group, and in some apps
everybody, is invited and agrees first (`add`, `join`); the app itself adds whom it likes.

Every function returns the change and its notice, or None if the group is in that state already. The
checks have a fixed order: does the group exist, is the asking user in it, is the state there
already (a repeated request is not refused because of its first attempt), may the user do it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from homeport import codes
from homeport.frames import GroupNotice
from homeport.frames.groups import Role
from homeport.ids import is_user_id
from homeport.limits import INVITATION_S, MAX_INVITATIONS, MAX_LEAVERS

from gateway.chat.principal import AppItself, Principal, User, name_of
from gateway.chat.refused import Refused
from gateway.store.group_state import Change, Group, Member

_AS_OWNER: Final = Member("owner")
_RANK: Final[dict[Role, int]] = {"member": 0, "admin": 1, "owner": 2}

BY_APP: Final = "*"
"""The former owner in the mark of a group that the app itself deleted: no user has this name."""

Decision = tuple[Change, GroupNotice] | None


def place_in(group: Group | None, who: Principal) -> tuple[Group, Member]:
    """The group, and the asking principal's place in it: the app itself has that of an owner.

    Raises:
        Refused: unknown_group: there is no such group. not_a_member: the user is not in it.
    """
    if group is None or group.gone:
        raise Refused(codes.UNKNOWN_GROUP)
    me = group.members.get(who.id) if isinstance(who, User) else _AS_OWNER
    if me is None:
        raise Refused(codes.NOT_A_MEMBER)
    return group, me


def may_send(group: Group | None, user: User) -> Group:
    """The group that `user` sends to.

    Raises:
        Refused: unknown_group, not_a_member, muted.
    """
    there, me = place_in(group, user)
    if me.muted or (there.muted and me.role == "member"):
        raise Refused(codes.MUTED)
    return there


def blocks(who: Principal, user: str) -> bool:
    """Whether `user` blocks the asking principal.

    Raises:
        Refused: unavailable: it is not known yet.
    """
    return isinstance(who, User) and user != who.id and user in who.blockers


def is_invited(group: Group, user: str, now_ms: int) -> bool:
    """Whether `user` may join at `now_ms`."""
    return group.invited.get(user, 0) > now_ms


def create(
    group: Group | None,
    who: Principal,
    name: str,
    sealed: bytes,
    users: Iterable[str],
    now_ms: int,
) -> Decision:
    """Make a group of the asking user, who owns it, and `users`, and invite those who must agree.

    The app itself makes a group of `users` alone; the first of them owns it."""
    if group is not None:
        if group.gone:
            raise Refused(codes.UNKNOWN_GROUP, "This group was made before, and deleted.")
        return None
    first = (who.id,) if isinstance(who, User) else ()
    all_ = _users((*first, *users))
    if not all_:
        raise Refused(codes.INVALID_FIELD, "A group has an owner: name a user.")
    others, asked = _by_consent(None, who, all_[1:], now_ms)
    _fits(1 + len(others), who)
    members: dict[str, Member | None] = {each: Member("member") for each in others}
    members = {all_[0]: Member("owner"), **members}
    change = Change(sealed_name=sealed, muted=False, members=members, invited={**asked})
    return change, _notice("created", who, users=[*members], name=name, invited=[*asked])


def rename(group: Group | None, who: Principal, old: str, name: str, sealed: bytes) -> Decision:
    """Call the group, which is called `old`, `name`."""
    _, me = place_in(group, who)
    if name == old:
        return None
    _at_least("admin", me)
    return Change(sealed_name=sealed), _notice("renamed", who, name=name)


def delete(group: Group | None, who: Principal) -> Decision:
    """End the group."""
    by = who.id if isinstance(who, User) else BY_APP
    if group is not None and group.gone == by:
        return None
    there, me = place_in(group, who)
    _at_least("owner", me)
    change = Change(members=dict.fromkeys(there.members), deleted_by=by)
    return change, _notice("deleted", who)


def add(
    group: Group | None, who: Principal, users: Iterable[str], name: str, now_ms: int
) -> Decision:
    """Make members of `users`, and invite those who must agree; all of them or none."""
    there, me = place_in(group, who)
    missing = [each for each in _users(users) if each not in there.members]
    if not missing:
        return None
    _at_least("admin", me)
    new, asked = _by_consent(there, who, missing, now_ms)
    if not new and not asked:
        return None
    _fits(len(there.members) + len(new), who)
    over = [user for user, ends in there.invited.items() if abs(ends) <= now_ms]
    if asked and len(there.invited) - len(over) + len(asked) > MAX_INVITATIONS:
        raise Refused(codes.TOO_MANY_INVITATIONS)
    change = Change(
        members={each: Member("member") for each in new},
        invited={**dict.fromkeys(over), **asked},
    )
    return change, _notice("added", who, users=new, name=name, invited=[*asked])


def join(group: Group | None, user: User, name: str, now_ms: int) -> Decision:
    """Make a member of `user`, who was invited."""
    if group is None or group.gone:
        raise Refused(codes.UNKNOWN_GROUP)
    if user.id in group.members:
        return None
    if not is_invited(group, user.id, now_ms):
        raise Refused(codes.NOT_INVITED)
    _fits(len(group.members) + 1, user)
    change = Change(members={user.id: Member("member")})
    return change, _notice("joined", user, users=[user.id], name=name)


def remove(group: Group | None, who: Principal, users: Iterable[str]) -> Decision:
    """Take `users` out; all of them or none."""
    there, me = place_in(group, who)
    gone = [each for each in _users(users) if each in there.members]
    if not gone:
        return None
    for each in gone:
        _above(there.members[each], me)
    return Change(members=dict.fromkeys(gone)), _notice("removed", who, users=gone)


def leave(group: Group | None, user: User, now_ms: int) -> Decision:
    """Take `user` out, at the own wish, and for good unless the user joins again; or decline an
    invitation, which stays until its time is over, so that no other one follows."""
    if group is None or group.gone:
        raise Refused(codes.UNKNOWN_GROUP)
    me = group.members.get(user.id)
    if me is None:
        if not is_invited(group, user.id, now_ms):
            return None
        change = Change(invited={user.id: -group.invited[user.id]})
        return change, _notice("declined", user, users=[user.id])
    if me.role == "owner":
        raise Refused(codes.OWNER_STAYS)
    full = len(group.left) >= MAX_LEAVERS
    change = Change(members={user.id: None}, left=None if full else user.id, left_more=full)
    return change, _notice("left", user, users=[user.id])


def set_role(group: Group | None, who: Principal, other: str, role: Role) -> Decision:
    """Give `other` a role. Where that is the owner's, the one before is an admin from then on."""
    there, me = place_in(group, who)
    their = _member(there, other)
    if their.role == role:
        return None
    _at_least("owner", me)
    if their.role == "owner":  # there is always one
        raise Refused(codes.OWNER_STAYS, "Make somebody else owner, and this user is an admin.")
    members: dict[str, Member | None] = {
        other: Member(role, muted=their.muted and role == "member")
    }
    if role == "owner":
        members |= {
            user: Member("admin") for user, one in there.members.items() if one.role == "owner"
        }
    return Change(members=members), _notice("role", who, users=[other], role=role)


def mute(group: Group | None, who: Principal, other: str | None, muted: bool) -> Decision:
    """Mute `other`, or every member where it is None; or undo it."""
    there, me = place_in(group, who)
    if other is None:
        if there.muted == muted:
            return None
        _at_least("admin", me)
        return Change(muted=muted), _notice("muted", who, muted=muted)
    their = _member(there, other)
    if their.muted == muted:
        return None
    _above(their, me)
    change = Change(members={other: Member(their.role, muted)})
    return change, _notice("muted", who, users=[other], muted=muted)


def _by_consent(
    group: Group | None, who: Principal, users: Iterable[str], now_ms: int
) -> tuple[list[str], dict[str, int]]:
    """Which of `users` become members, and who is invited until when. The others block the asking
    user, or have an invitation, which they may have declined."""
    if isinstance(who, AppItself):
        return list(users), {}
    new: list[str] = []
    asked: dict[str, int] = {}
    every = who.app.group_adding == "invitation" or (group is not None and group.left_more)
    for each in users:
        if blocks(who, each):
            continue
        if not every and (group is None or each not in group.left):
            new.append(each)
        elif group is None or abs(group.invited.get(each, 0)) <= now_ms:
            asked[each] = now_ms + 1000 * INVITATION_S
    return new, asked


def _notice(what: str, by: Principal, **more: Any) -> GroupNotice:
    """A notice whose version is not known yet."""
    return GroupNotice(0, name_of(by), what, **more)


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


def _fits(size: int, who: Principal) -> None:
    limit = who.app.tier.group_members
    if size > limit:
        raise Refused(codes.GROUP_FULL, f"A group of this app has at most {limit} members.")
