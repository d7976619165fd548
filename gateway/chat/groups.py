"""Groups: what is asked of them. Sending to them is in `gateway.chat.sending`.

The store keeps groups, and tells members of changes (`gateway.store.groups`); the rights of members
are in `gateway.chat.group_rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from homeport import codec
from homeport.frames import GroupAdded, GroupMember, GroupPage, GroupView, Message
from homeport.frames.groups import Role
from homeport.ids import GROUP, group_id, notice_id
from msgspec.structs import replace

from gateway.apps.app import App
from gateway.chat import group_rules as rules
from gateway.chat import prices
from gateway.chat.app_events import AppEvents
from gateway.chat.invitations import Invitations
from gateway.chat.owning import Owning
from gateway.chat.principal import Principal, User, name_of
from gateway.chat.records import Records
from gateway.chat.requests import request
from gateway.redis.errors import Unavailable
from gateway.store.entries import NewEntry
from gateway.store.group_state import Group, added, growth
from gateway.store.groups import GroupStore

NOTICE_KIND: Final = "homeport.group"
NOTICE_BYTES: Final = 1024
"""What the notice of a change needs at the most, about."""

MEMBERS_PAGE: Final = 500
GROUPS_PAGE: Final = 100
ATTEMPTS: Final = 20
"""How often a change is tried while others change the same group."""

Decide = Callable[[Group | None], rules.Decision]


class GroupChat:
    """Answers requests about groups. `clock_ms` is milliseconds since 1970.

    Each request raises `Refused`, with the codes of `group_rules`, or with unavailable.
    """

    def __init__(
        self,
        groups: GroupStore,
        records: Records,
        invitations: Invitations,
        owning: Owning,
        events: AppEvents,
        clock_ms: Callable[[], int],
    ) -> None:
        self._groups = groups
        self._records = records
        self._invitations = invitations
        self._owning = owning
        self._events = events
        self._clock_ms = clock_ms

    # -- changes -----------------------------------------------------------------------------------

    @request(prices.CHANGE)
    async def create(
        self, principal: Principal, client_id: str, name: str, users: Sequence[str]
    ) -> str:
        """Make a group; returns its id. `client_id` names it among those that the principal made,
        so a repetition makes no second one. Who of `users` must agree is invited."""
        app = principal.app
        group = group_id(app.id, name_of(principal), client_id)
        sealed = self._seal(app, group, name)
        if isinstance(principal, User):
            await self._owning.make(principal, GROUP, group)
        await self._change(
            principal,
            group,
            lambda old: rules.create(old, principal, name, sealed, users, self._clock_ms()),
        )
        await self._invite(principal, group, users)
        return group

    @request(prices.CHANGE)
    async def rename(self, principal: Principal, group: str, name: str) -> None:
        """Give a group another name."""
        app, sealed = principal.app, self._seal(principal.app, group, name)
        await self._change(
            principal,
            group,
            lambda old: rules.rename(old, principal, self._name(app, old), name, sealed),
        )

    @request(prices.CHANGE)
    async def delete(self, principal: Principal, group: str) -> None:
        """End a group."""
        await self._change(principal, group, lambda old: rules.delete(old, principal))
        if isinstance(principal, User):
            await self._owning.forget(principal, GROUP, group)

    @request(prices.CHANGE)
    async def add(self, principal: Principal, group: str, users: Sequence[str]) -> GroupAdded:
        """Make members of `users`, and invite those who must agree; all of them or none. Returns
        who of them is not a member."""
        app = principal.app
        await self._change(
            principal,
            group,
            lambda old: rules.add(old, principal, users, self._name(app, old), self._clock_ms()),
        )
        return await self._invite(principal, group, users)

    @request(prices.CHANGE)
    async def join(self, user: User, group: str) -> None:
        """Accept an invitation."""
        await self._change(
            user,
            group,
            lambda old: rules.join(old, user, self._name(user.app, old), self._clock_ms()),
        )

    @request(prices.CHANGE)
    async def remove(self, principal: Principal, group: str, users: Sequence[str]) -> None:
        """Take `users` out; all of them or none."""
        await self._change(principal, group, lambda old: rules.remove(old, principal, users))

    @request(prices.CHANGE)
    async def leave(self, user: User, group: str) -> None:
        """Remove the asking user, or decline an invitation."""
        await self._change(user, group, lambda old: rules.leave(old, user, self._clock_ms()))

    @request(prices.CHANGE)
    async def set_role(self, principal: Principal, group: str, user: str, role: Role) -> None:
        """Give a member a role."""
        await self._change(principal, group, lambda old: rules.set_role(old, principal, user, role))

    @request(prices.CHANGE)
    async def mute(self, principal: Principal, group: str, user: str | None, muted: bool) -> None:
        """Let a member send no more, or again; None: all but owner and admins."""
        await self._change(principal, group, lambda old: rules.mute(old, principal, user, muted))

    async def _change(self, principal: Principal, group_id: str, decide: Decide) -> None:
        """Make the change, unless it was made before, and make sure of its notice."""
        app = principal.app
        for _ in range(ATTEMPTS):
            group = await self._groups.current(app, group_id)
            decision = decide(group)
            members = set() if group is None else set(group.members)
            if decision is not None:
                members.update(decision[0].members)
            principal.allowance.pay(app.tier, prices.fan_out(len(members)))
            if decision is None:
                # Its gateway may have died before it told anybody.
                await self._groups.heal(app, group_id)
                return
            change, notice = decision
            grown = growth(group, change)
            if grown >= 0:  # who goes, goes also from an app that is full
                principal.allowance.keep(app.tier, grown + NOTICE_BYTES, added(group, change))
            now_ms, version = self._clock_ms(), self._groups.next_version(group)
            mid = notice_id("notice", app.id, group_id, str(version))
            told = replace(notice, version=version)
            message = Message(mid, "", GROUP + group_id, now_ms, NOTICE_KIND, codec.encode(told))
            record = self._records.make(app, message, message.to)
            event = self._events.group(app, group_id, told, now_ms)
            entry = NewEntry(mid, record, now_ms, flags=0, event=event)
            if await self._groups.change(
                app, group_id, group, change, version, entry, maker=name_of(principal)
            ):
                return
        raise Unavailable("group_contention")

    async def _invite(
        self, principal: Principal, group_id: str, users: Sequence[str]
    ) -> GroupAdded:
        """Tell those of `users` who were invited just now, or by an earlier try of the request;
        returns who is not a member."""
        group = await self._groups.current(principal.app, group_id)
        if group is None or not isinstance(principal, User):
            return GroupAdded()
        missing = [each for each in dict.fromkeys(users) if each not in group.members]
        blocked = [each for each in missing if rules.blocks(principal, each)]
        invited = {each: abs(group.invited[each]) for each in missing if each in group.invited}
        for each in blocked:
            invited.pop(each, None)
        name = self._name(principal.app, group)
        await self._invitations.send(principal, group_id, name, invited)
        return GroupAdded([*invited], blocked)

    # -- asking ------------------------------------------------------------------------------------

    @request(prices.LIST)
    async def get(self, principal: Principal, group: str, after: str = "") -> GroupView:
        """A group, with the members that follow the user id `after`."""
        found, me = rules.place_in(await self._groups.current(principal.app, group), principal)
        rest = sorted(user for user in found.members if user > after)
        page = [
            GroupMember(user, found.members[user].role, found.members[user].muted)
            for user in rest[:MEMBERS_PAGE]
        ]
        return GroupView(
            found.id,
            found.version,
            self._name(principal.app, found),
            me.role,
            found.muted,
            len(found.members),
            page,
            len(rest) > MEMBERS_PAGE,
        )

    @request(prices.GROUPS)
    async def list(self, user: User, after: str = "") -> GroupPage:
        """The user's groups that follow the group id `after`."""
        found, more = await self._groups.of_user(
            user.app_id, user.id, after, GROUPS_PAGE, prices.payer(user)
        )
        infos = [
            GroupView(
                each.id,
                each.version,
                self._records.group_name(user.app, each.id, each.sealed_name),
                each.role,
                each.muted,
                each.size,
            )
            for each in found
        ]
        return GroupPage(infos, more)

    # -- names -------------------------------------------------------------------------------------

    def _seal(self, app: App, group: str, name: str) -> bytes:
        return self._records.seal_group_name(app, group, name, self._clock_ms())

    def _name(self, app: App, group: Group | None) -> str:
        if group is None or group.gone:
            return ""
        return self._records.group_name(app, group.id, group.sealed_name)
