"""Recall and edit: a message that was sent is taken back, or says something else.

What is known of the message comes from its own sealed record, never from the request. It is changed
first in one place, the log or else one inbox, which decides between requests that come at the same
time; then everywhere else; then a notice goes to all inboxes. Each step may be repeated. So where a
gateway died on the way, the client's repetition finds the first place changed, and does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from homeport import codec, codes
from homeport.frames import EditNotice, Extra, Message, RecallNotice
from homeport.frames.recalls import EDIT_KIND, RECALL_KIND
from homeport.ids import notice_id
from homeport.limits import MAX_EDITS
from msgspec.structs import replace

from gateway.apps.app import App
from gateway.chat import group_rules as rules
from gateway.chat.addressing import Conversation, Conversations
from gateway.chat.principal import AppItself, Principal, User, name_of
from gateway.chat.records import Records
from gateway.chat.refused import Refused, check_body
from gateway.chat.requests import request
from gateway.redis.errors import Unavailable
from gateway.security.sealing import Tampered
from gateway.store.entries import NewMessage
from gateway.store.inbox import InboxStore
from gateway.store.replacing import Changed, RewriteStore, Where

RECALLED: Final = MAX_EDITS + 1
"""The number of a recall among a message's changes: it follows every edit, and is the last."""

ATTEMPTS: Final = 20
"""How often a change is tried while others change the same message."""


class _Named(NamedTuple):
    """The message that a request names: the user's or the app's conversation, its id and time."""

    conversation: Conversation
    id: bytes
    time_ms: int


class RecallChat:
    """Answers requests to recall and to edit. `clock_ms` gives milliseconds since 1970."""

    def __init__(
        self,
        replacing: RewriteStore,
        inboxes: InboxStore,
        conversations: Conversations,
        records: Records,
        clock_ms: Callable[[], int],
    ) -> None:
        self._replacing = replacing
        self._inboxes = inboxes
        self._conversations = conversations
        self._records = records
        self._clock_ms = clock_ms

    @request
    async def recall(self, principal: Principal, peer: str, message_id: bytes, time: int) -> None:
        """Take back the message that has this id and time, in milliseconds.

        A user may take back the own messages, and those of others in a group where the user is
        owner or admin, within the time that the app gives its users. The app itself may take back
        any message of its users, however old.

        Raises:
            Refused: unknown_recipient, unknown_group, not_a_member, unknown_message, not_yours,
                recall_too_late, unavailable, internal.
        """
        named = _Named(await self._conversations.find(principal, peer), message_id, time)
        app = principal.app
        for _ in range(ATTEMPTS):
            where, record, message = await self._find(principal, named)
            if not _may_recall(principal, named.conversation, message):
                raise Refused(codes.NOT_YOURS)
            if message.kind == RECALL_KIND:  # so it is to be finished
                await self._spread(app, named.conversation, message, record, RECALLED)
                return
            if isinstance(principal, User):
                self._in_time(app, message)
            told = RecallNotice(message.id, message.sender, message.time, name_of(principal))
            ends = message.extra.expires if message.extra is not None else None
            gone = replace(
                message,
                kind=RECALL_KIND,
                body=codec.encode(told),
                extra=Extra(expires=ends) if ends is not None else None,
            )
            record = self._records.make(app, gone, named.conversation.name)
            if await self._replacing.swap(where, _changed(gone, record, RECALLED), _edits(message)):
                await self._spread(app, named.conversation, gone, record, RECALLED)
                return
        raise Unavailable("message_contention")

    @request
    async def edit(self, user: User, peer: str, message_id: bytes, time: int, body: bytes) -> None:
        """Give the message that has this id and time another text. Only its sender may: an edit
        says something new in the sender's name, which not even the app itself may do.

        Raises:
            Refused: as `recall`, and blocked, muted, body_too_large, not_text, edit_limit.
        """
        user.blockers.admit(peer)
        app = user.app
        check_body(app, body)
        named = _Named(await self._conversations.find(user, peer), message_id, time)
        if named.conversation.group is not None:
            rules.may_send(named.conversation.group, user)
        for _ in range(ATTEMPTS):
            where, record, message = await self._find(user, named)
            if message.sender != user.id:
                raise Refused(codes.NOT_YOURS)
            if message.kind == RECALL_KIND:
                raise Refused(codes.UNKNOWN_MESSAGE)
            edits = _edits(message)
            if message.body == body:  # it says so already, and is to be finished
                if edits:
                    await self._spread(app, named.conversation, message, record, edits)
                return
            if message.kind != "text":
                raise Refused(codes.NOT_TEXT)
            self._in_time(app, message)
            if edits >= MAX_EDITS:
                raise Refused(codes.EDIT_LIMIT)
            extra = replace(message.extra or Extra(), edits=edits + 1, edited=self._clock_ms())
            edited = replace(message, body=body, extra=extra)
            record = self._records.make(app, edited, named.conversation.name)
            if await self._replacing.swap(where, _changed(edited, record, edits + 1), edits):
                await self._spread(app, named.conversation, edited, record, edits + 1)
                return
        raise Unavailable("message_contention")

    # -- what is there -----------------------------------------------------------------------------

    async def _find(self, principal: Principal, named: _Named) -> tuple[Where, bytes, Message]:
        app, conversation = principal.app, named.conversation
        found = await self._replacing.find(
            app,
            conversation.name,
            _readers(principal, conversation),
            named.id,
            named.time_ms,
            self._clock_ms(),
        )
        if found is None:
            raise Refused(codes.UNKNOWN_MESSAGE)
        record = found.entry.record
        try:
            # Of this conversation, also where it was found in an inbox, which holds others' too.
            message = codec.decode_message(self._records.kept(app, conversation.name, record))
        except Tampered:
            # Any client can bring this about, by naming another conversation: no word for the log.
            raise Refused(codes.UNKNOWN_MESSAGE) from None
        if not message.sender:  # a notice
            raise Refused(codes.UNKNOWN_MESSAGE)
        return found.where, record, message

    def _in_time(self, app: App, message: Message) -> None:
        # Its time may be a little ahead of the clock.
        if max(0, self._clock_ms() - message.time) >= app.recall_s * 1000:
            raise Refused(codes.RECALL_TOO_LATE)

    # -- what becomes of it ------------------------------------------------------------------------

    async def _spread(
        self, app: App, conversation: Conversation, message: Message, record: bytes, number: int
    ) -> None:
        """Have what one place has everywhere, and tell everyone."""
        now_ms, group = self._clock_ms(), conversation.group
        version: int | str = group.version if group is not None else ""
        audience = (
            group.audience
            if group is not None
            else self._inboxes.audience(app.id, conversation.users)
        )
        changed = _changed(message, record, number)
        await self._replacing.spread(app.id, conversation.name, audience, changed)
        mid = notice_id("changed", app.id, message.id.hex(), str(number))
        notice = _notice(message, mid, now_ms)
        new = NewMessage(mid, self._records.make(app, notice, conversation.name), now_ms)
        await self._inboxes.deliver_to(app.id, app.tier, audience, new, version)


def _may_recall(principal: Principal, conversation: Conversation, message: Message) -> bool:
    if isinstance(principal, AppItself) or message.sender == principal.id:
        return True
    return conversation.place is not None and conversation.place.role != "member"


def _readers(principal: Principal, conversation: Conversation) -> Sequence[str]:
    """The users whose inboxes may hold a message that the log does not: both ends of a
    conversation; in a group, the asking user, or the group's owner if the app itself asks."""
    group = conversation.group
    if group is None:
        return tuple(conversation.users)
    if isinstance(principal, User):
        return (principal.id,)
    return [user for user, place in group.members.items() if place.role == "owner"]


def _edits(message: Message) -> int:
    return message.extra.edits if message.extra is not None else 0


def _changed(message: Message, record: bytes, number: int) -> Changed:
    return Changed(message.id, message.time, record, number, final=number == RECALLED)


def _notice(message: Message, mid: bytes, now_ms: int) -> Message:
    """The notice for everyone, of a recalled message, which says so itself, or an edited one."""
    if message.kind == RECALL_KIND:
        return Message(mid, "", message.to, now_ms, RECALL_KIND, message.body)
    edited = (message.extra.edited if message.extra is not None else None) or now_ms
    told = EditNotice(
        message.id, message.sender, message.time, _edits(message), edited, message.body
    )
    return Message(mid, "", message.to, now_ms, EDIT_KIND, codec.encode(told))
