"""Whom a message of a conversation is for: the names that its scripts need, bucket by bucket."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from homeport.ids import direct_conversation

from gateway.redis.connection import Words, words_of
from gateway.store.keys import ConversationKeys, InboxKeys, Keys


class Interval(NamedTuple):
    """A user is in a conversation after number `since` and up to `until`; 0: there is no end.

    `since_n` is the n of number `since`, `until_n` that of `until` (`StoredMessage.n`).
    """

    since: int = 0
    since_n: int = 0
    until: int = 0
    until_n: int = 0


ALWAYS: Final = Interval()
_INTERVAL: Final = struct.Struct(">IIII")


class Part(NamedTuple):
    """The recipients whose inboxes lie in one bucket, for one call of references.lua.

    `names` are its keys, and `arguments` its arguments from the name of the conversation on.
    """

    bucket: int
    names: Words
    arguments: Words


class Recipients(NamedTuple):
    """All recipients of a conversation's messages.

    `here` are the keys and `here_arguments` the arguments for conversation_send.lua of those whose
    inboxes lie in the bucket of a direct conversation. `version` is that of a group's member list,
    "" for a direct one; `state` the key of the group, "" for a direct one.
    """

    keys: ConversationKeys
    here: tuple[str, ...]
    here_arguments: tuple[str, ...]
    parts: tuple[Part, ...]
    version: str = ""
    state: str = ""

    @property
    def version_keys(self) -> tuple[str, ...]:
        """The key by which a script sees whether these are still the members of a group."""
        return (self.state,) if self.version else ()


def direct(keys: Keys, app_id: str, sender: str, other: str) -> Recipients:
    """Those of a message from `sender` to `other`, who may be the same user."""
    conversation = keys.conversation(app_id, direct_conversation(sender, other))
    here: list[str] = []
    arguments: list[str] = []
    parts = []
    for user, peer in {sender: other, other: sender}.items():
        inbox = keys.inbox(app_id, user)
        if inbox.bucket == conversation.bucket:
            here += (inbox.rows, inbox.refs, inbox.channel)
            arguments += (inbox.member, peer)
        else:
            parts.append(part(inbox.bucket, "", [(inbox, peer)]))
    return Recipients(conversation, tuple(here), tuple(arguments), tuple(parts))


def group(
    keys: Keys, app_id: str, group_id: str, version: int, members: Mapping[str, Interval]
) -> Recipients:
    """Those of a group's messages at `version`: its members, and those who went lately and may not
    have a reference to the last message that was for them."""
    name = f"g:{group_id}"
    buckets: dict[int, list[tuple[InboxKeys, str | bytes]]] = {}
    for user, interval in members.items():
        inbox = keys.inbox(app_id, user)
        said = (
            b""
            if interval == ALWAYS
            else _INTERVAL.pack(interval.since, interval.until, interval.since_n, interval.until_n)
        )
        buckets.setdefault(inbox.bucket, []).append((inbox, said))
    parts = tuple(part(bucket, name, found) for bucket, found in buckets.items())
    state = keys.group(app_id, group_id).state
    return Recipients(keys.conversation(app_id, name), (), (), parts, str(version), state)


def part(bucket: int, name: str, inboxes: Sequence[tuple[InboxKeys, str | bytes]]) -> Part:
    """The recipients in one bucket: each with the user's interval, or, where `name` is "", with the
    user's name for the conversation."""
    names = [inboxes[0][0].due]
    arguments: list[str | bytes] = [name]
    for inbox, said in inboxes:
        names += (inbox.rows, inbox.refs, inbox.channel)
        arguments += (inbox.member, said)
    return Part(bucket, words_of(*names), words_of(*arguments))
