"""Groups, as a client sees and changes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from protocol import frames
from protocol.client import checks
from protocol.client.errors import ClientError
from protocol.client.message import Message
from protocol.client.outgoing import Outgoing
from protocol.frames import GroupMember, GroupNotice
from protocol.frames.groups import Role
from protocol.ids import new_client_id
from protocol.limits import MAX_GROUP_CHANGE

NOTICE_KIND: Final = "homeport.group"
READS: Final = 10
"""How often a group is read from its beginning while others change it."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group, as it was when it was asked for.

    Attributes:
        id: 32 hexadecimal digits.
        version: grows with every change, and is told in each notice.
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
    """What `message` tells of a change in the group `message.to`; None where it is no notice.

    A notice that says too little to be understood, because a newer server wrote it, is None too.
    """
    if message.kind != NOTICE_KIND or message.sender:
        return None
    try:
        return msgspec.msgpack.decode(message.body, type=GroupNotice)
    except (ValueError, RecursionError):  # msgspec's errors, and those of UTF-8
        return None


class GroupRequests:
    """What `Client` can ask about groups.

    Every method waits for the answer, and is repeated after a reconnect, as `Client.send` is. It
    raises `RequestRefused` with the codes `unknown_group`, `not_a_member`, `not_allowed` and those
    it names, and `SendTimeout`, `ClientClosed`, `TypeError` and `ValueError` as `Client.send` does.
    `timeout` is in seconds, for each request that it takes.
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
        """Make a group that this user owns, with the users `members` in it.

        Args:
            name: 1 to 128 characters.
            members: user ids; more than 100 are added by further requests.
            client_id: the group's name among those this user made: the same one always means the
                same group, so a create can be repeated. None: a fresh one.
            timeout: see the class.

        Raises:
            RequestRefused: also `group_full`, `invalid_field`.
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
        """Call the group `name`. For its owner and admins."""
        checks.text("group", group)
        checks.text("name", name)
        await self._outgoing.request(frames.GroupRename, group, name, timeout=timeout)

    async def delete_group(self, group: str, *, timeout: float | None = 30) -> None:
        """End the group. For its owner."""
        checks.text("group", group)
        await self._outgoing.request(frames.GroupDelete, group, timeout=timeout)

    async def add_members(
        self, group: str, users: Iterable[str], *, timeout: float | None = 30
    ) -> None:
        """Make members of `users`, a hundred a request. For the owner and admins.

        Raises:
            RequestRefused: also `group_full`, `invalid_field`. What earlier requests of the same
                call added stays.
        """
        checks.text("group", group)
        for some in checks.chunks("users", users, MAX_GROUP_CHANGE):
            await self._outgoing.request(frames.GroupAdd, group, some, timeout=timeout)

    async def remove_members(
        self, group: str, users: Iterable[str], *, timeout: float | None = 30
    ) -> None:
        """Take `users` out, a hundred a request. For the owner; admins may remove members."""
        checks.text("group", group)
        for some in checks.chunks("users", users, MAX_GROUP_CHANGE):
            await self._outgoing.request(frames.GroupRemove, group, some, timeout=timeout)

    async def leave_group(self, group: str, *, timeout: float | None = 30) -> None:
        """Be a member no more.

        Raises:
            RequestRefused: also `owner_stays`.
        """
        checks.text("group", group)
        await self._outgoing.request(frames.GroupLeave, group, timeout=timeout)

    async def set_role(
        self, group: str, user: str, role: Role, *, timeout: float | None = 30
    ) -> None:
        """Give a member a role. For the owner, who is an admin after making another one owner.

        Raises:
            RequestRefused: also `owner_stays`.
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
        """Let `user` send no more to the group; None: nobody but the owner and admins.

        `muted` False undoes it. For the owner and admins, of those below them.
        """
        checks.text("group", group)
        if user is not None:
            checks.text("user", user)
        checks.instance("muted", muted, bool)
        await self._outgoing.request(frames.GroupMute, group, muted, user, timeout=timeout)

    async def group(self, group: str, *, timeout: float | None = 30) -> Group:
        """The group with all its members. For its members.

        Raises:
            ClientError: it changed again and again while it was read.
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
        """Every group this user is in, without their members, in the order of their ids."""
        groups: list[Group] = []
        after: str | None = ""
        while after is not None:
            page = await self._outgoing.request(frames.GroupList, after, timeout=timeout)
            groups += [_group(info, []) for info in page.groups]
            after = page.after
        return groups


def _group(info: frames.GroupInfo, members: list[GroupMember]) -> Group:
    return Group(info.id, info.version, info.name, info.role, info.muted, info.size, tuple(members))
