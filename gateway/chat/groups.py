"""Groups: what clients ask of them, and sending to them.

What a group is, and how its members are told, is the store's (`gateway.store.groups`); who may do
what is in `gateway.chat.group_rules`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from msgspec.structs import replace

from gateway.apps.app import App
from gateway.chat import group_rules as rules
from gateway.chat.records import Records
from gateway.chat.refused import Refused
from gateway.chat.requests import Caller, Handlers
from gateway.redis.errors import Unavailable
from gateway.store.group_state import Group, Member
from gateway.store.groups import GroupStore
from gateway.store.inbox import InboxStore, Talk
from gateway.store.log import LogStore
from protocol import codec, codes, frames
from protocol.frames import GroupCreated, GroupInfo, GroupMember, GroupPage, Message
from protocol.ids import GROUP, group_id, group_of, notice_id

NOTICE_KIND: Final = "homeport.group"
MEMBERS_PAGE: Final = 500
GROUPS_PAGE: Final = 100
ATTEMPTS: Final = 20
"""How often a change is tried while others change the same group."""

Decide = Callable[[Group | None], rules.Decision]


class GroupChat:
    """Answers the frames of groups, and sends to them."""

    def __init__(
        self,
        groups: GroupStore,
        inboxes: InboxStore,
        logs: LogStore,
        records: Records,
        clock_ms: Callable[[], int],
    ) -> None:
        self._groups = groups
        self._inboxes = inboxes
        self._logs = logs
        self._records = records
        self._clock_ms = clock_ms

    def handlers(self) -> Handlers:
        """By the type of the frame."""
        return {
            frames.GroupCreate: self._create,
            frames.GroupRename: self._rename,
            frames.GroupDelete: self._delete,
            frames.GroupAdd: self._add,
            frames.GroupRemove: self._remove,
            frames.GroupLeave: self._leave,
            frames.GroupRole: self._role,
            frames.GroupMute: self._mute,
            frames.GroupGet: self._get,
            frames.GroupList: self._list,
        }

    # -- sending -----------------------------------------------------------------------------------

    def send(
        self, app: App, message: Message, expires_ms: int | None = None, history: bool = True
    ) -> asyncio.Future[int]:
        """Store `message` for every member of the group that it is for, and the history if asked.

        `expires_ms` is when the message's own time to live ends.
        As `InboxStore.deliver`; messages to one group leave in the order of these calls (G3).

        Raises:
            Refused: unknown_recipient. The future too: unknown_group, not_a_member, muted.
        """
        group = _id(message.to)
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        current = self._groups.current(app, group)
        current.add_done_callback(
            partial(self._fan_out, app, message, expires_ms, history, accepted)
        )
        return accepted

    def _fan_out(
        self,
        app: App,
        message: Message,
        expires_ms: int | None,
        history: bool,
        accepted: asyncio.Future[int],
        current: asyncio.Future[Group | None],
    ) -> None:
        # Not a task: the order in which these run is the order of the messages.
        try:
            group = rules.may_send(current.result(), message.sender)
            record = self._records.make(app, message, message.to)
            kept = []
            if history:
                kept.append(
                    self._logs.add(
                        app.id, app.tier, message.to, message.id, record, message.time, expires_ms
                    )
                )
            stored = self._inboxes.deliver_to(
                group.audience,
                app.id,
                app.tier,
                message.id,
                record,
                message.time,
                Talk(message.to, message.sender),
                group.version,
                expires_ms,
                also=kept,
            )
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer gets it
            accepted.set_exception(error)
        else:
            stored.add_done_callback(partial(_hand_over, accepted))

    async def conversation(self, caller: Caller, peer: str) -> str:
        """The conversation that a member calls `peer`, ``g:<id>``.

        Raises:
            Refused: unknown_recipient, unknown_group, not_a_member.
        """
        await self.member(caller, peer)
        return peer

    async def member(self, caller: Caller, peer: str) -> tuple[Group, Member]:
        """The group that `peer`, ``g:<id>``, names, and the caller's place in it.

        Raises:
            Refused: unknown_recipient, unknown_group, not_a_member.
        """
        return rules.me_in(await self._groups.current(caller.app, _id(peer)), caller.user)

    async def members(self, caller: Caller, peer: str) -> Collection[str]:
        """The members of the group that `peer`, ``g:<id>``, names, the caller among them.

        Raises:
            Refused: unknown_recipient, unknown_group, not_a_member.
        """
        group, _ = await self.member(caller, peer)
        return group.members

    # -- changes -----------------------------------------------------------------------------------

    async def _create(self, caller: Caller, frame: frames.GroupCreate) -> GroupCreated:
        app, user = caller.app, caller.user
        group = group_id(app.id, user, frame.client_id)
        sealed = self._seal(app, group, frame.name)
        limit = app.tier.group_members
        await self._change(
            caller,
            group,
            lambda old: rules.create(old, user, frame.name, sealed, frame.members, limit),
        )
        return GroupCreated(group)

    async def _rename(self, caller: Caller, frame: frames.GroupRename) -> None:
        sealed = self._seal(caller.app, frame.group, frame.name)

        def decide(group: Group | None) -> rules.Decision:
            old = self._name(caller.app, group)
            return rules.rename(group, caller.user, old, frame.name, sealed)

        await self._change(caller, frame.group, decide)

    async def _delete(self, caller: Caller, frame: frames.GroupDelete) -> None:
        await self._change(caller, frame.group, lambda group: rules.delete(group, caller.user))

    async def _add(self, caller: Caller, frame: frames.GroupAdd) -> None:
        def decide(group: Group | None) -> rules.Decision:
            name, limit = self._name(caller.app, group), caller.app.tier.group_members
            return rules.add(group, caller.user, frame.users, name, limit)

        await self._change(caller, frame.group, decide)

    async def _remove(self, caller: Caller, frame: frames.GroupRemove) -> None:
        await self._change(
            caller, frame.group, lambda group: rules.remove(group, caller.user, frame.users)
        )

    async def _leave(self, caller: Caller, frame: frames.GroupLeave) -> None:
        await self._change(caller, frame.group, lambda group: rules.leave(group, caller.user))

    async def _role(self, caller: Caller, frame: frames.GroupRole) -> None:
        await self._change(
            caller,
            frame.group,
            lambda group: rules.set_role(group, caller.user, frame.user, frame.role),
        )

    async def _mute(self, caller: Caller, frame: frames.GroupMute) -> None:
        await self._change(
            caller,
            frame.group,
            lambda group: rules.mute(group, caller.user, frame.user, frame.muted),
        )

    async def _change(self, caller: Caller, group_id: str, decide: Decide) -> None:
        """Do it and tell all members, or find it done already and make sure that all were told."""
        app = caller.app
        for _ in range(ATTEMPTS):
            group = await self._groups.settled(app, group_id)
            decision = decide(group)
            if decision is None:
                return
            change, notice = decision
            now_ms = self._clock_ms()
            version = now_ms if group is None else group.version + 1
            mid = notice_id("notice", app.id, group_id, str(version))
            body = codec.encode(replace(notice, version=version))
            message = Message(mid, "", GROUP + group_id, now_ms, NOTICE_KIND, body)
            record = self._records.make(app, message, message.to)
            if await self._groups.change(app, group_id, group, change, version, mid, record):
                await self._groups.settled(app, group_id)
                return
        raise Unavailable("group_contention")

    # -- asking ------------------------------------------------------------------------------------

    async def _get(self, caller: Caller, frame: frames.GroupGet) -> GroupInfo:
        group, me = rules.me_in(await self._groups.current(caller.app, frame.group), caller.user)
        rest = sorted(user for user in group.members if user > frame.after)
        page = [
            GroupMember(user, group.members[user].role, group.members[user].muted)
            for user in rest[:MEMBERS_PAGE]
        ]
        return GroupInfo(
            group.id,
            group.version,
            self._name(caller.app, group),
            me.role,
            group.muted,
            len(group.members),
            page,
            len(rest) > MEMBERS_PAGE,
        )

    async def _list(self, caller: Caller, frame: frames.GroupList) -> GroupPage:
        found, after = await self._groups.of_user(
            caller.app.id, caller.user, frame.after, GROUPS_PAGE
        )
        infos = [
            GroupInfo(
                each.id,
                each.version,
                self._records.group_name(caller.app, each.id, each.sealed_name),
                each.role,
                each.muted,
                each.size,
            )
            for each in found
        ]
        return GroupPage(infos, after)

    # -- names -------------------------------------------------------------------------------------

    def _seal(self, app: App, group: str, name: str) -> bytes:
        return self._records.seal_group_name(app, group, name, self._clock_ms())

    def _name(self, app: App, group: Group | None) -> str:
        if group is None or group.gone:
            return ""
        return self._records.group_name(app, group.id, group.sealed_name)


def _id(recipient: str) -> str:
    group = group_of(recipient)
    if group is None:
        raise Refused(codes.UNKNOWN_RECIPIENT)
    return group


def _hand_over(accepted: asyncio.Future[int], stored: asyncio.Future[int]) -> None:
    error = stored.exception()
    if error is None:
        accepted.set_result(stored.result())
    else:
        accepted.set_exception(error)
