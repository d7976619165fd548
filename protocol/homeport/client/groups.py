"""Groups, as a client sees and changes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from homeport import frames
from homeport.client import checks
from homeport.client.errors import ClientError
from homeport.client.message import Message
from homeport.client.outgoing import Outgoing
from homeport.frames import GroupMember, GroupNotice
from homeport.frames.groups import Role
from homeport.ids import new_client_id
from homeport.limits import MAX_GROUP_CHANGE

NOTICE_KIND: Final = "homeport.group"
READS: Final = 10
"""How often a group is read from its beginning while others change it."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group, as it was when it was asked for.

    Attributes:
        id: 32 hexadecimal digits.
        version: grows with every change; each notice carries it.
        name: as its members see it.
        role: the connected user's own: ``owner``, ``admin`` or ``member``.
        muted: only the owner and admins may send.
        size: how many members it has.
        members: all of them, in the order of their user ids; empty in `my_groups`.
    """

    id: str
    version: int
    name: str
    role: Role
    muted: bool
    size: int
    members: tuple[GroupMember, ...]

    @property
    def address(self) -> str:
        """What `Client.send` takes as `to`."""
        return f"g:{self.id}"

    def __repr__(self) -> str:
        # Groups end up in logs; names and user ids must not.
        return f"<Group {self.id} version={self.version} {self.size} members>"


def group_notice(message: Message) -> GroupNotice | None:
    """The change in the group `message.to` that `message` reports; None if it is not a notice.

    The result is also None if a newer server wrote the notice in a form that cannot be read.
    """
    if message.kind != NOTICE_KIND or message.sender:
        return None
    try:
        return msgspec.msgpack.decode(message.body, type=GroupNotice)
    except (ValueError, RecursionError):  # msgspec's errors, and those of UTF-8
        return None


class GroupRequests:
    """The methods of `Client` for groups.

    Every method waits for the answer, and repeats the request after a reconnect, as `Client.send`
    does. `timeout` is in seconds, per request; some methods need several requests.

    Every method may raise, in addition to the errors that it names itself:

    Raises:
        RequestRefused: with the code `unknown_group`, `not_a_member` or `not_allowed`.
        SendTimeout: no answer in time; the outcome is unknown.
        ClientClosed: the client has ended.
        TypeError, ValueError: an argument makes no sense; nothing was sent.
    """

    _outgoing: Outgoing

    async def create_group(
        self,
        name: str,
        members: Iterable[str] = (),
        *,
        client_id: str | None = None,
        timeout: float | None = 30,
    ) -> Group:
        """Create a group that this user owns, with the users `members` in it.

        Args:
            name: 1 to 128 characters.
            members: user ids; more than 100 are added by further requests.
            client_id: names the group among those that this user created: the same `client_id`
                always means the same group, so creating can be repeated. None: a fresh one.
            timeout: seconds, per request.

        Raises:
            RequestRefused: also with `group_full` or `invalid_field`.
        """
        checks.text("name", name)
        label = checks.text("client_id", client_id or new_client_id())
        first, *others = checks.chunks("members", members, MAX_GROUP_CHANGE) or [[]]
        made = await self._outgoing.request(
            frames.GroupCreate, label, name, first, timeout=timeout, client_id=label
        )
        for some in others:
            await self.add_members(made.id, some, timeout=timeout)
        return await self.group(made.id, timeout=timeout)

    async def rename_group(self, group: str, name: str, *, timeout: float | None = 30) -> None:
        """Give the group the name `name`. Only its owner and admins may."""
        checks.text("group", group)
        checks.text("name", name)
        await self._outgoing.request(frames.GroupRename, group, name, timeout=timeout)

    async def delete_group(self, group: str, *, timeout: float | None = 30) -> None:
        """Delete the group. Only its owner may."""
        checks.text("group", group)
        await self._outgoing.request(frames.GroupDelete, group, timeout=timeout)

    async def add_members(
        self, group: str, users: Iterable[str], *, timeout: float | None = 30
    ) -> None:
        """Add `users` to the group, 100 per request. Only the owner and admins may.

        Raises:
            RequestRefused: also with `group_full` or `invalid_field`. Users whom earlier requests
                of the same call added stay in the group.
        """
        checks.text("group", group)
        for some in checks.chunks("users", users, MAX_GROUP_CHANGE):
            await self._outgoing.request(frames.GroupAdd, group, some, timeout=timeout)

    async def remove_members(
        self, group: str, users: Iterable[str], *, timeout: float | None = 30
    ) -> None:
        """Remove `users`, 100 per request. The owner may remove all others, admins only members."""
        checks.text("group", group)
        for some in checks.chunks("users", users, MAX_GROUP_CHANGE):
            await self._outgoing.request(frames.GroupRemove, group, some, timeout=timeout)

    async def leave_group(self, group: str, *, timeout: float | None = 30) -> None:
        """Leave the group.

        Raises:
            RequestRefused: also with `owner_stays`: the owner has to make another one owner first.
        """
        checks.text("group", group)
        await self._outgoing.request(frames.GroupLeave, group, timeout=timeout)

    async def set_role(
        self, group: str, user: str, role: Role, *, timeout: float | None = 30
    ) -> None:
        """Give a member a role. Only the owner may.

        An owner who makes another member the owner becomes an admin.

        Raises:
            RequestRefused: also with `owner_stays`: the owner tried to give up the role otherwise.
        """
        checks.text("group", group)
        checks.text("user", user)
        checks.one_of("role", role, "owner", "admin", "member")
        await self._outgoing.request(frames.GroupRole, group, user, role, timeout=timeout)

    async def mute(
        self,
        group: str,
        user: str | None = None,
        *,
        muted: bool = True,
        timeout: float | None = 30,
    ) -> None:
        """Forbid `user` to send to the group; None: everybody except the owner and admins.

        `muted` False takes that back. The owner and admins may do so to members below them.
        """
        checks.text("group", group)
        if user is not None:
            checks.text("user", user)
        checks.instance("muted", muted, bool)
        await self._outgoing.request(frames.GroupMute, group, muted, user, timeout=timeout)

    async def group(self, group: str, *, timeout: float | None = 30) -> Group:
        """Read the group with all its members. Only members may.

        Raises:
            RequestRefused: with `unknown_group` or `not_a_member`.
            SendTimeout: no answer in time.
            ClientClosed: the client has ended.
            ClientError: the group changed again and again while it was read.
            TypeError, ValueError: `group` is no id; nothing was sent.
        """
        checks.text("group", group)
        for _ in range(READS):
            first = info = await self._outgoing.request(frames.GroupGet, group, timeout=timeout)
            members = [*info.members]
            while info.more and info.version == first.version:
                last = members[-1].user
                info = await self._outgoing.request(frames.GroupGet, group, last, timeout=timeout)
                members += info.members
            if info.version == first.version:
                return _group(info, members)
        raise ClientError("the group changed again and again while it was read")

    async def my_groups(self, *, timeout: float | None = 30) -> list[Group]:
        """All groups that this user is in, without their members, in the order of their ids."""
        groups: list[Group] = []
        after: str | None = ""
        while after is not None:
            page = await self._outgoing.request(frames.GroupList, after, timeout=timeout)
            groups += [_group(info, []) for info in page.groups]
            after = page.after
        return groups


def _group(info: frames.GroupView, members: list[GroupMember]) -> Group:
    return Group(info.id, info.version, info.name, info.role, info.muted, info.size, tuple(members))
