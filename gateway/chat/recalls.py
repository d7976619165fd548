"""Recall and edit: a message that was sent is taken back, or says something else.

What is known of the message comes from its own sealed record, never from the request. Its
conversation, which holds it alone, changes it and adds the notice in one step, and decides between
requests that come at the same time. Then everyone is referred to the notice. Where a gateway died
before that, the client's repetition finds the message changed, and does the rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from homeport import codec, codes
from homeport.frames import EditNotice, Extra, Message, RecallNotice
from homeport.frames.recalls import EDIT_KIND, RECALL_KIND
from homeport.ids import notice_id
from homeport.limits import MAX_EDITS
from msgspec.structs import replace

from gateway.apps.app import App
from gateway.apps.webhooks import MESSAGE_EDITED, MESSAGE_RECALLED
from gateway.chat import group_rules as rules
from gateway.chat import prices
from gateway.chat.addressing import Conversation, Conversations
from gateway.chat.app_events import AppEvents
from gateway.chat.principal import AppItself, Principal, User, name_of
from gateway.chat.records import Records
from gateway.chat.refused import Refused, check_body
from gateway.chat.requests import request
from gateway.clock import Clock
from gateway.redis.errors import Unavailable
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry, StaleMembers
from gateway.store.lateness import Lateness
from gateway.store.stored import HIDDEN, StoredMessage

RECALLED: Final = MAX_EDITS + 1
"""The number of a recall among a message's changes: it follows every edit, and is the last."""

ATTEMPTS: Final = 20
"""How often a change is tried while others change the same message, or the group."""


class RecallChat:
    """Answers requests to recall and to edit."""

    def __init__(
        self,
        store: ConversationStore,
        conversations: Conversations,
        records: Records,
        lateness: Lateness,
        events: AppEvents,
        clock: Clock,
    ) -> None:
        self._store = store
        self._conversations = conversations
        self._records = records
        self._lateness = lateness
        self._events = events
        self._clock = clock

    @request(prices.CHANGE)
    async def recall(self, principal: Principal, peer: str, seq: int) -> None:
        """Take back message `seq` of a conversation; once this returns, no device is sent it.

        A user may take back the own messages, and those of others in a group where the user is
        owner or admin, within the time that the app gives its users. The app itself may take back
        any message of its users, however old.

        Raises:
            Refused: unknown_recipient, unknown_group, not_a_member, unknown_message, not_yours,
                recall_too_late, unavailable, internal.
        """

        async def once() -> bool:
            conversation = await self._conversations.find(principal, peer)
            kept, message = await self._find(principal.app, conversation, seq)
            if not _may_recall(principal, conversation, message):
                raise Refused(codes.NOT_YOURS)
            _pay_for_all(principal, conversation)
            if message.kind == RECALL_KIND:
                await self._finish(principal.app, conversation, recall=True)
                return True
            if isinstance(principal, User):
                self._in_time(principal.app, message)
            told = RecallNotice(message.id, message.sender, seq, name_of(principal))
            body, ends = codec.encode(told), kept.expires_ms
            extra = Extra(expires=ends) if ends is not None else None
            gone = replace(message, kind=RECALL_KIND, body=body, extra=extra)
            return await self._change(principal, conversation, kept, gone, RECALLED, told)

        await _until_done(once)
        # Measured from here also where it was recalled before: nobody knows how long ago.
        await self._lateness.unseen(self._clock.sleep)

    @request(prices.edit)
    async def edit(self, principal: Principal, peer: str, seq: int, body: bytes) -> None:
        """Give message `seq` of a conversation another text, which is then what its sender said.
        Among users only the sender may, within the time that the app gives its users. The app
        itself may edit any message of its users, however old.

        Raises:
            Refused: as `recall`, and blocked, muted, body_too_large, storage_full, not_text,
                edit_limit.
        """
        app = principal.app
        if isinstance(principal, User):
            principal.blockers.admit(peer)
        check_body(app, body)

        async def once() -> bool:
            conversation = await self._conversations.find(principal, peer)
            if conversation.group is not None and isinstance(principal, User):
                rules.may_send(conversation.group, principal)
            kept, message = await self._find(app, conversation, seq)
            if isinstance(principal, User) and message.sender != principal.id:
                raise Refused(codes.NOT_YOURS)
            if message.kind == RECALL_KIND:
                raise Refused(codes.UNKNOWN_MESSAGE)
            _pay_for_all(principal, conversation)
            if message.body == body:  # it says so already
                if kept.change:
                    await self._finish(app, conversation, recall=False)
                return True
            principal.allowance.keep(app.tier, 2 * len(body))
            if message.kind != "text":
                raise Refused(codes.NOT_TEXT)
            if isinstance(principal, User):
                self._in_time(app, message)
            if kept.change >= MAX_EDITS:
                raise Refused(codes.EDIT_LIMIT)
            edits, now_ms = kept.change + 1, self._clock.wall_ms()
            extra = replace(message.extra or Extra(), edits=edits, edited=now_ms)
            edited = replace(message, body=body, extra=extra)
            told = EditNotice(message.id, message.sender, seq, edits, now_ms, body)
            return await self._change(principal, conversation, kept, edited, edits, told)

        await _until_done(once)

    async def _find(
        self, app: App, conversation: Conversation, seq: int
    ) -> tuple[StoredMessage, Message]:
        now_ms = self._clock.wall_ms()
        ((kept,),) = await self._store.read(app.id, [(conversation.name, [seq])])
        if kept is not None and kept.readable(now_ms - app.tier.retention_ms + 1, now_ms):
            assert kept.record is not None
            opened = self._records.readable(app, conversation.name, kept.record)
            message = codec.decode_message(opened) if opened is not None else None
            if message is not None and message.sender:  # no notice
                return kept, message
        raise Refused(codes.UNKNOWN_MESSAGE)

    def _in_time(self, app: App, message: Message) -> None:
        # Its time may be a little ahead of this gateway's.
        if max(0, self._clock.wall_ms() - message.time) >= app.recall_s * 1000:
            raise Refused(codes.RECALL_TOO_LATE)

    async def _change(
        self,
        principal: Principal,
        conversation: Conversation,
        kept: StoredMessage,
        message: Message,
        change: int,
        told: RecallNotice | EditNotice,
    ) -> bool:
        """Put `message` in the place of `kept` and tell everyone; False where another was faster.

        The notice of an edit says the text too: like the message, it is kept out of the history
        and ends.
        """
        app, recall, now_ms = principal.app, change == RECALLED, self._clock.wall_ms()
        ends = None if recall else kept.expires_ms
        notice = Message(
            notice_id("changed", app.id, message.id.hex(), str(change)),
            "",
            message.to,
            now_ms,
            RECALL_KIND if recall else EDIT_KIND,
            codec.encode(told),
            Extra(expires=ends) if ends is not None else None,
        )
        return await self._store.replace(
            app.id,
            app.tier,
            self._conversations.recipients(app, conversation),
            kept.seq,
            NewEntry(
                notice.id,
                self._records.make(app, notice, conversation.name),
                now_ms,
                flags=kept.flags & HIDDEN,
                expires_ms=ends,
                event=self._events.changed(
                    app,
                    MESSAGE_RECALLED if recall else MESSAGE_EDITED,
                    message,
                    conversation.name,
                    name_of(principal),
                    now_ms,
                ),
            ),
            expected=kept.change,
            change=change,
            record=self._records.make(app, message, conversation.name),
            recall=recall,
            author=message.sender,
        )

    async def _finish(self, app: App, conversation: Conversation, *, recall: bool) -> None:
        """Tell whoever was not told of the change, where its gateway died or Redis was away."""
        recipients = self._conversations.recipients(app, conversation)
        await self._store.heal(app.id, app.tier, recipients, full=recall)


async def _until_done(once: Callable[[], Awaitable[bool]]) -> None:
    """Call `once`, and again where something changed under its hands."""
    for _ in range(ATTEMPTS):
        try:
            if await once():
                return
        except StaleMembers:
            continue
    raise Unavailable("message_contention")


def _pay_for_all(principal: Principal, conversation: Conversation) -> None:
    """Pay for the notice to the members of a group."""
    if conversation.group is not None:
        principal.allowance.pay(principal.app.tier, prices.fan_out(len(conversation.users)))


def _may_recall(principal: Principal, conversation: Conversation, message: Message) -> bool:
    if isinstance(principal, AppItself) or message.sender == principal.id:
        return True
    return conversation.place is not None and conversation.place.role != "member"
