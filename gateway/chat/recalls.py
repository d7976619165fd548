"""Recall and edit: a message that was sent is taken back, or says something else.

What is known of the message comes from its own sealed record, never from the request. It is changed
first in one place, the log or else one inbox, which decides between requests that come at the same
time; then everywhere else; then a notice goes to all inboxes. Each step may be repeated. So where a
gateway died on the way, the client's repetition finds the first place changed, and does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from gateway.chat import group_rules as rules
from gateway.chat.addressing import conversation_of
from gateway.chat.groups import GroupChat
from gateway.chat.records import Records
from gateway.chat.refused import Refused, check_body
from gateway.chat.requests import Caller, Handlers
from gateway.redis.errors import Unavailable
from gateway.security.sealing import Tampered
from gateway.store.audience import Audience
from gateway.store.inbox import NO_TALK, InboxStore
from gateway.store.replacing import Changed, RewriteStore, Where
from protocol import codec, codes
from protocol.frames import Edit, EditNotice, Extra, Message, Recall, RecallNotice
from protocol.frames.recalls import EDIT_KIND, RECALL_KIND
from protocol.ids import GROUP, notice_id
from protocol.limits import MAX_EDITS

RECALLED: Final = MAX_EDITS + 1
"""The number of a recall among a message's changes: it follows every edit, and is the last."""

ATTEMPTS: Final = 20
"""How often a change is tried while others change the same message."""


@dataclass(frozen=True, slots=True)
class _Talk:
    """A conversation as it is now: its name, all inboxes, the version that these go by, whose
    inboxes to look into, and whether the caller may recall what others said."""

    conversation: str
    audience: Audience
    version: int | str
    users: Sequence[str]
    over_others: bool


class RecallChat:
    """Answers `Recall` and `Edit`. `clock_ms` gives milliseconds since 1970."""

    def __init__(
        self,
        replacing: RewriteStore,
        inboxes: InboxStore,
        groups: GroupChat,
        records: Records,
        clock_ms: Callable[[], int],
    ) -> None:
        self._replacing = replacing
        self._inboxes = inboxes
        self._groups = groups
        self._records = records
        self._clock_ms = clock_ms

    def handlers(self) -> Handlers:
        """For the worker's table."""
        return {Recall: self.recall, Edit: self.edit}

    async def recall(self, caller: Caller, frame: Recall) -> None:
        """Take a message back.

        Raises:
            Refused: unknown_recipient, unknown_group, not_a_member, unknown_message, not_yours,
                recall_too_late. Unavailable, CommandFault, UnknownKeyVersion.
        """
        talk = await self._talk(caller, frame.peer, saying=False)
        for _ in range(ATTEMPTS):
            where, record, message = await self._find(caller, talk, frame)
            if message.sender != caller.user and not talk.over_others:
                raise Refused(codes.NOT_YOURS)
            if message.kind == RECALL_KIND:  # so it is to be finished
                await self._spread(caller, talk, message, record, RECALLED)
                return
            self._in_time(caller, message)
            told = RecallNotice(message.id, message.sender, message.time, caller.user)
            ends = message.extra.expires if message.extra is not None else None
            gone = replace(
                message,
                kind=RECALL_KIND,
                body=codec.encode(told),
                extra=Extra(expires=ends) if ends is not None else None,
            )
            if await self._swap(caller, talk, where, message, gone, RECALLED):
                return
        raise Unavailable("message_contention")

    async def edit(self, caller: Caller, frame: Edit) -> None:
        """Give a message another text.

        Raises:
            Refused: as `recall`, and muted, body_too_large, not_text, edit_limit.
        """
        check_body(caller.app, frame.body)
        talk = await self._talk(caller, frame.peer, saying=True)
        for _ in range(ATTEMPTS):
            where, record, message = await self._find(caller, talk, frame)
            if message.sender != caller.user:
                raise Refused(codes.NOT_YOURS)
            if message.kind == RECALL_KIND:
                raise Refused(codes.UNKNOWN_MESSAGE)
            edits = _edits(message)
            if message.body == frame.body:  # it says so already, and is to be finished
                if edits:
                    await self._spread(caller, talk, message, record, edits)
                return
            if message.kind != "text":
                raise Refused(codes.NOT_TEXT)
            self._in_time(caller, message)
            if edits >= MAX_EDITS:
                raise Refused(codes.EDIT_LIMIT)
            extra = replace(message.extra or Extra(), edits=edits + 1, edited=self._clock_ms())
            edited = replace(message, body=frame.body, extra=extra)
            if await self._swap(caller, talk, where, message, edited, edits + 1):
                return
        raise Unavailable("message_contention")

    # -- what is there -----------------------------------------------------------------------------

    async def _talk(self, caller: Caller, peer: str, saying: bool) -> _Talk:
        """The conversation `peer`; `saying` asks whether the caller may say something there."""
        if not peer.startswith(GROUP):
            conversation = conversation_of(caller.user, peer)
            users = [caller.user] if peer == caller.user else [caller.user, peer]
            audience = self._inboxes.audience(caller.app.id, users)
            return _Talk(conversation, audience, "", users, over_others=False)
        group, me = await self._groups.member(caller, peer)
        if saying:
            rules.may_send(group, caller.user)
        return _Talk(peer, group.audience, group.version, [caller.user], me.role != "member")

    async def _find(
        self, caller: Caller, talk: _Talk, frame: Recall | Edit
    ) -> tuple[Where, bytes, Message]:
        app = caller.app
        found = await self._replacing.find(
            app.id,
            app.tier,
            talk.conversation,
            talk.users,
            frame.message,
            frame.time,
            self._clock_ms(),
        )
        if found is None:
            raise Refused(codes.UNKNOWN_MESSAGE)
        record = found.entry.record
        try:
            # Of this conversation, also where it was found in an inbox, which holds others' too.
            message = codec.decode_message(self._records.kept(app, talk.conversation, record))
        except Tampered:
            # Any client can bring this about, by naming another conversation: no word for the log.
            raise Refused(codes.UNKNOWN_MESSAGE) from None
        if not message.sender:  # a notice
            raise Refused(codes.UNKNOWN_MESSAGE)
        return found.where, record, message

    def _in_time(self, caller: Caller, message: Message) -> None:
        # Its time may be a little ahead of the clock.
        if max(0, self._clock_ms() - message.time) >= caller.app.recall_s * 1000:
            raise Refused(codes.RECALL_TOO_LATE)

    # -- what becomes of it ------------------------------------------------------------------------

    async def _swap(
        self, caller: Caller, talk: _Talk, where: Where, old: Message, new: Message, number: int
    ) -> bool:
        """Make `old` into `new` everywhere; False where it is not `old` any more."""
        record = self._records.make(caller.app, new, talk.conversation)
        changed = _changed(new, record, number)
        if not await self._replacing.swap(where, changed, _edits(old)):
            return False
        await self._spread(caller, talk, new, record, number)
        return True

    async def _spread(
        self, caller: Caller, talk: _Talk, message: Message, record: bytes, number: int
    ) -> None:
        """Have what one place has everywhere, and tell everyone."""
        app, now_ms = caller.app, self._clock_ms()
        changed = _changed(message, record, number)
        await self._replacing.spread(app.id, talk.conversation, talk.audience, changed)
        mid = notice_id("changed", app.id, message.id.hex(), str(number))
        notice = _notice(message, mid, now_ms)
        await self._inboxes.deliver_to(
            talk.audience,
            app.id,
            app.tier,
            mid,
            self._records.make(app, notice, talk.conversation),
            now_ms,
            NO_TALK,
            talk.version,
        )


def _edits(message: Message) -> int:
    return message.extra.edits if message.extra is not None else 0


def _changed(message: Message, record: bytes, number: int) -> Changed:
    return Changed(message.id, message.time, record, number, final=number == RECALLED)


def _notice(message: Message, mid: bytes, now_ms: int) -> Message:
    """What everyone is told: by a recalled message, which says so itself, or by an edited one."""
    if message.kind == RECALL_KIND:
        return Message(mid, "", message.to, now_ms, RECALL_KIND, message.body)
    edited = (message.extra.edited if message.extra is not None else None) or now_ms
    told = EditNotice(
        message.id, message.sender, message.time, _edits(message), edited, message.body
    )
    return Message(mid, "", message.to, now_ms, EDIT_KIND, codec.encode(told))
