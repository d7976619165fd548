"""The table of requests: for each, a method of `chat`, and the form of its answer.

Sends and signals are in `gateway.session.requests`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from homeport import frames
from msgspec import Struct

from gateway.chat.chat import Chat
from gateway.chat.principal import SessionUser

Route = Callable[[Chat, SessionUser, Any], Awaitable[Struct | None]]
"""Does what a frame asks, and returns the answer that `homeport.frames.ANSWERS` names for it.

It raises `Refused`, or what is awaited does, to say no.
"""


_Value = TypeVar("_Value")
_Form = TypeVar("_Form", bound=Struct)


async def _in(form: Callable[[_Value], _Form], value: Awaitable[_Value]) -> _Form:
    """What is awaited, in the form of an answer."""
    return form(await value)


# -- groups ----------------------------------------------------------------------------------------


def _group_create(
    chat: Chat, user: SessionUser, frame: frames.GroupCreate
) -> Awaitable[frames.GroupCreated]:
    created = chat.groups.create(user, frame.client_id, frame.name, frame.members)
    return _in(frames.GroupCreated, created)


def _group_rename(chat: Chat, user: SessionUser, frame: frames.GroupRename) -> Awaitable[None]:
    return chat.groups.rename(user, frame.group, frame.name)


def _group_delete(chat: Chat, user: SessionUser, frame: frames.GroupDelete) -> Awaitable[None]:
    return chat.groups.delete(user, frame.group)


def _group_add(
    chat: Chat, user: SessionUser, frame: frames.GroupAdd
) -> Awaitable[frames.GroupAdded]:
    return chat.groups.add(user, frame.group, frame.users)


def _group_remove(chat: Chat, user: SessionUser, frame: frames.GroupRemove) -> Awaitable[None]:
    return chat.groups.remove(user, frame.group, frame.users)


def _group_leave(chat: Chat, user: SessionUser, frame: frames.GroupLeave) -> Awaitable[None]:
    return chat.groups.leave(user, frame.group)


def _group_join(chat: Chat, user: SessionUser, frame: frames.GroupJoin) -> Awaitable[None]:
    return chat.groups.join(user, frame.group)


def _group_role(chat: Chat, user: SessionUser, frame: frames.GroupRole) -> Awaitable[None]:
    return chat.groups.set_role(user, frame.group, frame.user, frame.role)


def _group_mute(chat: Chat, user: SessionUser, frame: frames.GroupMute) -> Awaitable[None]:
    return chat.groups.mute(user, frame.group, frame.user, frame.muted)


def _group_get(
    chat: Chat, user: SessionUser, frame: frames.GroupGet
) -> Awaitable[frames.GroupView]:
    return chat.groups.get(user, frame.group, frame.after)


def _group_list(
    chat: Chat, user: SessionUser, frame: frames.GroupList
) -> Awaitable[frames.GroupPage]:
    return chat.groups.list(user, frame.after)


# -- rooms -----------------------------------------------------------------------------------------


def _room_join(
    chat: Chat, user: SessionUser, frame: frames.RoomJoin
) -> Awaitable[frames.RoomJoined]:
    return chat.rooms.join(user, frame.room, last=frame.last, epoch=frame.epoch, after=frame.after)


def _room_leave(chat: Chat, user: SessionUser, frame: frames.RoomLeave) -> Awaitable[None]:
    return chat.rooms.leave(user, frame.room)


def _room_set(chat: Chat, user: SessionUser, frame: frames.RoomSet) -> Awaitable[None]:
    return chat.rooms.set(user, frame.room, frame.write, frame.admins)


# -- blocks ----------------------------------------------------------------------------------------


def _block(chat: Chat, user: SessionUser, frame: frames.Block) -> Awaitable[None]:
    return chat.blocks.block(user, frame.user)


def _unblock(chat: Chat, user: SessionUser, frame: frames.Unblock) -> Awaitable[None]:
    return chat.blocks.unblock(user, frame.user)


def _blocks(chat: Chat, user: SessionUser, _: frames.Blocks) -> Awaitable[frames.BlockList]:
    return _in(frames.BlockList, chat.blocks.list(user))


# -- presence --------------------------------------------------------------------------------------


def _presence_set(chat: Chat, user: SessionUser, frame: frames.PresenceSet) -> Awaitable[None]:
    return chat.presence.set(user, frame.state, frame.status)


def _presence_subscribe(
    chat: Chat, user: SessionUser, frame: frames.PresenceSubscribe
) -> Awaitable[frames.PresenceList]:
    return _in(frames.PresenceList, chat.presence.watch(user, frame.users, frame.expires))


def _presence_unsubscribe(
    chat: Chat, user: SessionUser, frame: frames.PresenceUnsubscribe
) -> Awaitable[None]:
    return chat.presence.unwatch(user, frame.users)


def _presence_get(
    chat: Chat, user: SessionUser, frame: frames.PresenceGet
) -> Awaitable[frames.PresenceList]:
    return _in(frames.PresenceList, chat.presence.get(user, frame.users))


# -- what was said ---------------------------------------------------------------------------------


def _conversations(
    chat: Chat, user: SessionUser, frame: frames.Conversations
) -> Awaitable[frames.ConversationPage]:
    return chat.conversations.page(user, frame.limit, after=frame.after)


def _history(chat: Chat, user: SessionUser, frame: frames.History) -> Awaitable[frames.HistoryPage]:
    return chat.history.page(user, frame.peer, frame.limit, before=frame.before, after=frame.after)


def _forget(chat: Chat, user: SessionUser, frame: frames.Forget) -> Awaitable[None]:
    return chat.history.forget(user, frame.peer, frame.upto)


def _recall(chat: Chat, user: SessionUser, frame: frames.Recall) -> Awaitable[None]:
    return chat.recalls.recall(user, frame.peer, frame.seq)


def _edit(chat: Chat, user: SessionUser, frame: frames.Edit) -> Awaitable[None]:
    return chat.recalls.edit(user, frame.peer, frame.seq, frame.body)


def _mark(chat: Chat, user: SessionUser, frame: frames.Mark) -> Awaitable[None]:
    return chat.receipts.mark(user, frame.peer, frame.delivered, frame.read)


def _receipts(chat: Chat, user: SessionUser, frame: frames.Receipts) -> Awaitable[frames.Reach]:
    return chat.receipts.reach(user, frame.peer, frame.seq)


def _unread(chat: Chat, user: SessionUser, _: frames.Unread) -> Awaitable[frames.UnreadCounts]:
    return chat.receipts.unread(user)


ROUTES: Final[dict[type, Route]] = {
    frames.GroupCreate: _group_create,
    frames.GroupRename: _group_rename,
    frames.GroupDelete: _group_delete,
    frames.GroupAdd: _group_add,
    frames.GroupRemove: _group_remove,
    frames.GroupLeave: _group_leave,
    frames.GroupRole: _group_role,
    frames.GroupMute: _group_mute,
    frames.GroupGet: _group_get,
    frames.GroupList: _group_list,
    frames.GroupJoin: _group_join,
    frames.RoomJoin: _room_join,
    frames.RoomLeave: _room_leave,
    frames.RoomSet: _room_set,
    frames.Block: _block,
    frames.Unblock: _unblock,
    frames.Blocks: _blocks,
    frames.PresenceSet: _presence_set,
    frames.PresenceSubscribe: _presence_subscribe,
    frames.PresenceUnsubscribe: _presence_unsubscribe,
    frames.PresenceGet: _presence_get,
    frames.Conversations: _conversations,
    frames.History: _history,
    frames.Forget: _forget,
    frames.Recall: _recall,
    frames.Edit: _edit,
    frames.Mark: _mark,
    frames.Receipts: _receipts,
    frames.Unread: _unread,
}
