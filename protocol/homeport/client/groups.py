"""Groups, as a client sees and changes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Final

from homeport import frames
from homeport.client import checks
from homeport.client.consumer import Consumer
from homeport.client.conversation import Conversation
from homeport.client.conversations import ConversationInfo, ConversationList
from homeport.client.errors import ClientError
from homeport.client.outgoing import Outgoing, Requests
from homeport.frames import GroupMember
from homeport.frames.conversations import RowPlace
from homeport.frames.groups import Role
from homeport.ids import GROUP, group_of, new_client_id
from homeport.limits import MAX_GROUP_CHANGE

READS: Final = 10
"""How often a group is read from its beginning while others change it."""


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group, as it was when the server was asked.

    Attributes:
        id: 32 hexadecimal digits, for `Client.group`.
        version: grows with every change; each notice carries it.
        name: as its members see it.
        role: the connected user's own: ``owner``, ``admin`` or ``member``.
        muted: only the owner and admins may send.
        size: how many members it has.
        members: all of them, in the order of their user ids; empty in `Client.groups`.
    """

    id: str
    version: int
    name: str
    role: Role
    muted: bool
    size: int
    members: tuple[GroupMember, ...]

    @classmethod
    def of(cls, view: frames.GroupView, members: Iterable[GroupMember]) -> GroupInfo:
        """What the server answered, with `members` of all its pages."""
        return cls(
            view.id, view.version, view.name, view.role, view.muted, view.size, tuple(members)
        )

    @property
    def peer(self) -> str:
        """``g:`` and the id: what `Client.send` takes, and `Message.peer` is."""
        return GROUP + self.id

    def __repr__(self) -> str:
        # It ends up in logs; names and user ids must not.
        return f"<GroupInfo {self.id} version={self.version} {self.size} members>"


@dataclass(frozen=True, slots=True)
class Added:
    """Who was not added to a group by `Group.add`, of the users that it was given.

    Attributes:
        invited: they must agree, and were invited, now or in the last 7 days: each by a message
            whose `Message.notice` is a `GroupInvitation`.
        blocked: they block this user, and were told nothing.
    """

    invited: tuple[str, ...]
    blocked: tuple[str, ...]

    def __repr__(self) -> str:
        # It ends up in logs; user ids must not.
        return f"<Added {len(self.invited)} invited {len(self.blocked)} blocked>"


class Group(Conversation):
    """A group, and the conversation in it: what `Client.group` and `Client.create_group` return.

    `timeout` is in seconds, per request; some methods need several requests. Every method that asks
    the server may raise, in addition to the errors that it names itself:

    Raises:
        RequestRefused: with the code `unknown_group`, `not_a_member` or `not_allowed`.
        SendTimeout: no answer in time; the outcome is unknown.
        ClientClosed: the client has ended.
        TypeError, ValueError: an argument makes no sense; nothing was sent.

    Attributes:
        id: 32 hexadecimal digits.
        peer: ``g:`` and the id: what `Client.send` takes, and `Message.peer` is.
    """

    def __init__(self, id: str, outgoing: Outgoing, consumer: Consumer) -> None:
        super().__init__(GROUP + id, outgoing, consumer)
        self.id = id

    def __repr__(self) -> str:
        return f"<Group {self.id}>"

    async def info(self, *, timeout: float | None = 30) -> GroupInfo:
        """Read the group's name and settings, and all its members. Only members may.

        Raises:
            ClientError: the group changed again and again while it was read.
        """
        for _ in range(READS):
            first = view = await self._outgoing.request(frames.GroupGet, self.id, timeout=timeout)
            members = [*view.members]
            while view.more and view.version == first.version:
                last = members[-1].user
                view = await self._outgoing.request(frames.GroupGet, self.id, last, timeout=timeout)
                members += view.members
            if view.version == first.version:
                return GroupInfo.of(view, members)
        raise ClientError("the group changed again and again while it was read")

    async def rename(self, name: str, *, timeout: float | None = 30) -> None:
        """Give the group the name `name`, 1 to 128 characters. Only its owner and admins may."""
        checks.text("name", name)
        await self._outgoing.request(frames.GroupRename, self.id, name, timeout=timeout)

    async def add(self, users: Iterable[str], *, timeout: float | None = 30) -> Added:
        """Add `users`, 100 per request. Only the owner and admins may.

        A user who left the group is invited instead, and so is everybody in an app that wants it
        so. Returns who is not a member. A repetition adds and invites nobody again.

        Raises:
            RequestRefused: also with `group_full` or `too_many_invitations`. Users whom earlier
                requests of the same call added stay in the group.
        """
        invited: list[str] = []
        blocked: list[str] = []
        for some in checks.chunks("users", users, MAX_GROUP_CHANGE):
            done = await self._outgoing.request(frames.GroupAdd, self.id, some, timeout=timeout)
            invited += done.invited
            blocked += done.blocked
        return Added(tuple(invited), tuple(blocked))

    async def join(self, *, timeout: float | None = 30) -> None:
        """Accept an invitation to the group.

        Raises:
            RequestRefused: also with `not_invited` or `group_full`.
        """
        await self._outgoing.request(frames.GroupJoin, self.id, timeout=timeout)

    async def remove(self, users: Iterable[str], *, timeout: float | None = 30) -> None:
        """Remove `users`, 100 per request. The owner may remove all others, admins only members."""
        for some in checks.chunks("users", users, MAX_GROUP_CHANGE):
            await self._outgoing.request(frames.GroupRemove, self.id, some, timeout=timeout)

    async def leave(self, *, timeout: float | None = 30) -> None:
        """Stop being a member, or decline an invitation.

        Whoever left comes back by accepting an invitation only.

        Raises:
            RequestRefused: also with `owner_stays`: the owner has to make another one owner first.
        """
        await self._outgoing.request(frames.GroupLeave, self.id, timeout=timeout)

    async def delete(self, *, timeout: float | None = 30) -> None:
        """Delete the group, for everybody. Only its owner may."""
        await self._outgoing.request(frames.GroupDelete, self.id, timeout=timeout)

    async def set_role(self, user: str, role: Role, *, timeout: float | None = 30) -> None:
        """Give a member a role. Only the owner may.

        An owner who makes another member the owner becomes an admin.

        Raises:
            RequestRefused: also with `owner_stays`: the owner tried to give up the role otherwise.
        """
        checks.user_id("user", user)
        checks.one_of("role", role, "owner", "admin", "member")
        await self._outgoing.request(frames.GroupRole, self.id, user, role, timeout=timeout)

    async def mute(self, user: str | None = None, *, timeout: float | None = 30) -> None:
        """Forbid `user` to send to the group; None: everybody except the owner and admins.

        The owner and admins may mute members below them.
        """
        await self._mute(user, muted=True, timeout=timeout)

    async def unmute(self, user: str | None = None, *, timeout: float | None = 30) -> None:
        """Take back what `mute` with the same `user` did. It need not have been called."""
        await self._mute(user, muted=False, timeout=timeout)

    async def _mute(self, user: str | None, *, muted: bool, timeout: float | None) -> None:
        if user is not None:
            checks.user_id("user", user)
        await self._outgoing.request(frames.GroupMute, self.id, muted, user, timeout=timeout)


class ConversationRequests(Requests):
    """The methods of `Client` that lead to conversations and groups."""

    _consumer: Consumer

    def conversation(self, peer: str) -> Conversation:
        """The conversation with `peer`: a user's id, or ``g:`` and a group's id, as `Message.peer`.

        For a group it is a `Group`. The server is asked nothing yet.

        Raises:
            TypeError, ValueError: `peer` names no user and no group.
        """
        group = group_of(checks.peer("peer", peer))
        if group is not None:
            return Group(group, self._outgoing, self._consumer)
        return Conversation(peer, self._outgoing, self._consumer)

    def conversations(
        self, *, limit: int | None = None, timeout: float | None = 30
    ) -> AsyncIterator[ConversationInfo]:
        """Iterate over this user's conversations, the one with the newest message first.

        With their last messages and unread counts, they fill the first screen of a new device. The
        conversations are those whose last message is still kept, and the groups that the user is
        in. Pages are fetched when the iteration reaches them, each within ``timeout`` seconds. A
        conversation that gets a message meanwhile may be left out: that message arrives in
        `Client.messages`. Iterating raises what `Client.send` raises.

        Args:
            limit: the largest number of conversations; None: all.

        Raises:
            TypeError: ``limit`` is no number.
        """
        checks.instance("limit", limit, int, type(None))

        async def ask(size: int, after: RowPlace | None) -> frames.ConversationPage:
            return await self._outgoing.request(frames.Conversations, size, after, timeout=timeout)

        return ConversationList(ask, self._consumer, limit)

    def group(self, id: str) -> Group:
        """The group that has this id. The server is asked nothing yet.

        Raises:
            TypeError, ValueError: `id` is not 32 lower-case hexadecimal digits.
        """
        checks.hex_id("id", id)
        return Group(id, self._outgoing, self._consumer)

    async def create_group(
        self,
        name: str,
        members: Iterable[str] = (),
        *,
        client_id: str | None = None,
        timeout: float | None = 30,
    ) -> Group:
        """Create a group that this user owns, with the users `members` in it.

        Some of them may be invited, or block this user: `Group.add` with the same users says who.

        Args:
            name: 1 to 128 characters.
            members: user ids; more than 100 are added by further requests.
            client_id: names the group among those that this user created: the same `client_id`
                always means the same group, so creating can be repeated. None: a fresh one.
            timeout: seconds, per request.

        Raises:
            RequestRefused: with `group_full`, `too_many_invitations` or `invalid_field`.
            SendTimeout, ClientClosed, TypeError, ValueError: as for `Client.send`.
        """
        checks.text("name", name)
        label = checks.text("client_id", client_id or new_client_id())
        first, *others = checks.chunks("members", members, MAX_GROUP_CHANGE) or [[]]
        made = await self._outgoing.request(
            frames.GroupCreate, label, name, first, timeout=timeout, client_id=label
        )
        group = self.group(made.id)
        for some in others:
            await group.add(some, timeout=timeout)
        return group

    async def groups(self, *, timeout: float | None = 30) -> list[GroupInfo]:
        """All groups that this user is in, without their members, in the order of their ids.

        ``timeout`` is per request; each brings 100 groups. Raises what `Client.send` raises.
        """
        groups: list[GroupInfo] = []
        after: str | None = ""
        while after is not None:
            page = await self._outgoing.request(frames.GroupList, after, timeout=timeout)
            groups += [GroupInfo.of(view, ()) for view in page.groups]
            after = page.after
        return groups
