"""Frames of groups: types 32 to 47.

Every one of them is a request, answered by `Ok` or `Error`, and may be repeated: what is already so
is left so, and answered with ok.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from protocol.frames.types import Count, RequestId
from protocol.limits import MAX_GROUP_CHANGE, MAX_GROUP_NAME_CHARS, MAX_ID_CHARS

GroupId = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
GroupName = Annotated[str, Meta(min_length=1, max_length=MAX_GROUP_NAME_CHARS)]
UserId = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
Users = Annotated[list[UserId], Meta(max_length=MAX_GROUP_CHANGE)]
After = Annotated[str, Meta(max_length=MAX_ID_CHARS)]
Role = Literal["owner", "admin", "member"]


class GroupMember(Struct, array_like=True, frozen=True):
    """One member: ``[user, role, muted]``."""

    user: str
    role: Role
    muted: bool


class GroupInfo(Struct, array_like=True, frozen=True):
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


class GroupNotice(Struct, frozen=True, omit_defaults=True):
    """The body of a message of kind ``homeport.group``: a map.

    ``version`` is the group's after the change, and ``by`` who made it. ``users`` are those the
    change is about. ``name`` is told when it is new, or new to ``users``.
    """

    version: Count
    by: str
    change: str
    users: list[str] = []
    name: str | None = None
    role: Role | None = None
    muted: bool | None = None


class GroupCreate(Struct, array_like=True, frozen=True, tag=32):
    """Client to server: make a group of this user and ``members``. Ok tells its ``id``, 16 bytes.

    ``client_id`` names the group among those its owner made; the group's id is derived from it.
    """

    id: RequestId
    client_id: Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS)]
    name: GroupName
    members: Users = []


class GroupRename(Struct, array_like=True, frozen=True, tag=33):
    """Client to server: give ``group`` another name."""

    id: RequestId
    group: GroupId
    name: GroupName


class GroupDelete(Struct, array_like=True, frozen=True, tag=34):
    """Client to server: end ``group``."""

    id: RequestId
    group: GroupId


class GroupAdd(Struct, array_like=True, frozen=True, tag=35):
    """Client to server: make ``users`` members of ``group``."""

    id: RequestId
    group: GroupId
    users: Users


class GroupRemove(Struct, array_like=True, frozen=True, tag=36):
    """Client to server: take ``users`` out of ``group``."""

    id: RequestId
    group: GroupId
    users: Users


class GroupLeave(Struct, array_like=True, frozen=True, tag=37):
    """Client to server: take this user out of ``group``."""

    id: RequestId
    group: GroupId


class GroupRole(Struct, array_like=True, frozen=True, tag=38):
    """Client to server: give ``user`` a role; ``owner`` hands the group over."""

    id: RequestId
    group: GroupId
    user: UserId
    role: Role


class GroupMute(Struct, array_like=True, frozen=True, tag=39):
    """Client to server: let ``user`` send no more, or again; nil: everyone but owner and admins."""

    id: RequestId
    group: GroupId
    muted: bool
    user: UserId | None = None


class GroupGet(Struct, array_like=True, frozen=True, tag=40):
    """Client to server: tell a group; Ok has ``group``, with the members that follow ``after``."""

    id: RequestId
    group: GroupId
    after: After = ""


class GroupList(Struct, array_like=True, frozen=True, tag=41):
    """Client to server: tell my groups; Ok has ``groups``, in the order of their ids.

    The page begins after the id ``after``; Ok tells the next page's where there is one.
    """

    id: RequestId
    after: After = ""
