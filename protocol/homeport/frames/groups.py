"""Frames of groups: types 32 to 47.

Every one of them is a request, answered by `Ok` or `Error`, and may be repeated: what is already so
is left so, and answered with ok.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from homeport.frames.types import Count, Request, UserId
from homeport.limits import MAX_GROUP_CHANGE, MAX_GROUP_NAME_CHARS, MAX_ID_CHARS

GroupId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
GroupName = Annotated[str, Meta(min_length=1, max_length=MAX_GROUP_NAME_CHARS)]
Users = Annotated[list[UserId], Meta(max_length=MAX_GROUP_CHANGE)]
After = Annotated[str, Meta(max_length=MAX_ID_CHARS)]
Role = Literal["owner", "admin", "member"]


class GroupMember(Struct, array_like=True, frozen=True):
    """One member: ``[user, role, muted]``."""

    user: str
    role: Role
    muted: bool

    def __repr__(self) -> str:
        # Programs log it; user ids must not be in a log.
        return f"<GroupMember {self.role}{' muted' if self.muted else ''}>"


class GroupView(Struct, array_like=True, frozen=True):
    """A group as one of its members sees it.

    ``version`` grows with every change. ``role`` is the asking user's own, ``muted`` is true where
    only the owner and admins may send. ``members`` is one page in the order of user ids; ``more``
    is true where others follow. In a list of groups it is empty.
    """

    id: str
    version: Count
    name: str
    role: Role
    muted: bool
    size: Count
    members: list[GroupMember] = []
    more: bool = False


class GroupCreated(Struct, array_like=True, frozen=True):
    """The answer to `GroupCreate`: the group's id."""

    id: GroupId


class GroupAdded(Struct, array_like=True, frozen=True):
    """The answer to `GroupAdd`: who of its ``users`` is not a member.

    ``invited`` are those who were invited, now or earlier, and ``blocked`` those who block the
    asking user.
    """

    invited: list[str] = []
    blocked: list[str] = []

    def __repr__(self) -> str:
        # Programs log it; user ids must not be in a log.
        return f"<GroupAdded {len(self.invited)} invited {len(self.blocked)} blocked>"


class GroupPage(Struct, array_like=True, frozen=True):
    """The answer to `GroupList`: groups in the order of their ids.

    The next page is that after ``after``; None where there is none.
    """

    groups: list[GroupView]
    after: str | None = None


class GroupNotice(Struct, frozen=True, omit_defaults=True):
    """The body of a message of kind ``homeport.group``: a map.

    ``version`` is the group's after the change, and ``by`` the user who made it. ``users`` are
    those whom the change is about, and ``invited`` those who were invited with it. ``name`` is
    there when it is new, or new to ``users``.
    """

    version: Count
    by: str
    change: str
    users: list[str] = []
    name: str | None = None
    role: Role | None = None
    muted: bool | None = None
    invited: list[str] = []

    def __repr__(self) -> str:
        # Programs log it; names and user ids must not be in a log.
        return f"<GroupNotice {self.change!r} version={self.version}>"


class GroupInvitation(Struct, frozen=True):
    """The body of a message of kind ``homeport.invitation``, whose sender invited its recipient: a
    map.

    ``group`` is the group's id and ``name`` its name; `GroupJoin` is possible until ``until``,
    milliseconds since 1970.
    """

    group: GroupId
    name: str
    until: Count

    def __repr__(self) -> str:
        # Programs log it; names must not be in a log.
        return f"<GroupInvitation to {self.group}>"


class GroupCreate(Request[GroupCreated], array_like=True, frozen=True, tag=32):
    """Client to server: make a group of this user and ``members``.

    ``client_id`` names the group among those its owner made; the group's id is derived from it.
    """

    client_id: Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
    name: GroupName
    members: Users = field(default_factory=list)


class GroupRename(Request[None], array_like=True, frozen=True, tag=33):
    """Client to server: give ``group`` another name."""

    group: GroupId
    name: GroupName


class GroupDelete(Request[None], array_like=True, frozen=True, tag=34):
    """Client to server: end ``group``."""

    group: GroupId


class GroupAdd(Request[GroupAdded], array_like=True, frozen=True, tag=35):
    """Client to server: make ``users`` members of ``group``, or invite them."""

    group: GroupId
    users: Users


class GroupRemove(Request[None], array_like=True, frozen=True, tag=36):
    """Client to server: take ``users`` out of ``group``."""

    group: GroupId
    users: Users


class GroupLeave(Request[None], array_like=True, frozen=True, tag=37):
    """Client to server: take this user out of ``group``, or decline an invitation to it."""

    group: GroupId


class GroupRole(Request[None], array_like=True, frozen=True, tag=38):
    """Client to server: give ``user`` a role; ``owner`` hands the group over."""

    group: GroupId
    user: UserId
    role: Role


class GroupMute(Request[None], array_like=True, frozen=True, tag=39):
    """Client to server: let ``user`` send no more, or again; nil: everyone but owner and admins."""

    group: GroupId
    muted: bool
    user: UserId | None = None


class GroupGet(Request[GroupView], array_like=True, frozen=True, tag=40):
    """Client to server: tell a group, with the members that follow ``after``."""

    group: GroupId
    after: After = ""


class GroupJoin(Request[None], array_like=True, frozen=True, tag=42):
    """Client to server: accept an invitation to ``group``."""

    group: GroupId


class GroupList(Request[GroupPage], array_like=True, frozen=True, tag=41):
    """Client to server: tell my groups, a page of them from after the id ``after``."""

    after: After = ""
