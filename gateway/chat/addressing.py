"""The other end: from a `to` or `peer` to a user, a group or a room, and to a conversation.

A user names a conversation by its other end. The store and the seals name a direct one the same way
from both ends (`homeport.ids.direct_conversation`); so does the app itself, which is at neither.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from homeport import codes
from homeport.ids import GROUP, direct_conversation, group_of, is_user_id, room_of

from gateway.apps.app import App
from gateway.chat import group_rules as rules
from gateway.chat.principal import Principal, User
from gateway.chat.refused import Refused
from gateway.store.conversations import ConversationStore
from gateway.store.group_state import Group, Member
from gateway.store.groups import GroupStore
from gateway.store.recipients import Recipients

_DIRECT = "d:"


Kind = Literal["user", "group", "room"]


def address(name: str) -> tuple[Kind, str]:
    """What a `to` or `peer` names, and its id: a user by the id itself, ``g:<group id>``, or
    ``r:<room id>``.

    Raises:
        Refused: unknown_recipient.
    """
    if is_user_id(name):
        return "user", name
    if (group := group_of(name)) is not None:
        return "group", group
    if (room := room_of(name)) is not None:
        return "room", room
    raise Refused(codes.UNKNOWN_RECIPIENT)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as it is now, which the principal may ask about.

    `name` is its name in the store and in the seals; `users` are all its users. For a group,
    `group` is the group, and `place` the principal's place in it.
    """

    name: str
    users: Collection[str]
    group: Group | None = None
    place: Member | None = None


class Conversations:
    """Finds the conversation that a request is about."""

    def __init__(self, groups: GroupStore, store: ConversationStore) -> None:
        self._groups = groups
        self._store = store

    def recipients(self, app: App, conversation: Conversation) -> Recipients:
        """The recipients of what is added to `conversation`."""
        if conversation.group is not None:
            return conversation.group.recipients
        one, *other = conversation.users
        return self._store.direct(app.id, one, *(other or (one,)))

    async def find(self, principal: Principal, peer: str) -> Conversation:
        """The conversation that `principal` calls `peer`.

        Raises:
            Refused: unknown_recipient; of a group also unknown_group, not_a_member.
            Unavailable, CommandFault.
        """
        if peer.startswith(GROUP):
            _, group_id = address(peer)
            current = self._groups.current(principal.app, group_id)
            group, place = rules.place_in(await current, principal)
            return Conversation(peer, group.members, group, place)
        return _direct(principal, peer)


def _direct(principal: Principal, peer: str) -> Conversation:
    if isinstance(principal, User):
        ends = (principal.id, peer)
        name = direct_conversation(*ends)
    else:
        lower, _, higher = peer.removeprefix(_DIRECT).partition(":")
        ends, name = (lower, higher), peer
    if not all(map(is_user_id, ends)) or name != direct_conversation(*ends):
        raise Refused(codes.UNKNOWN_RECIPIENT)
    return Conversation(name, tuple(dict.fromkeys(ends)))
