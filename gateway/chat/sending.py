"""Messages: from what a user says to the conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from homeport import codes
from homeport.frames import Message, Options, Priority
from homeport.ids import direct_conversation, message_id
from homeport.limits import DEDUPE_WINDOW_MS

from gateway.chat import prices
from gateway.chat.addressing import address
from gateway.chat.app_events import AppEvents
from gateway.chat.group_sends import GroupSends
from gateway.chat.options import NONE, check_options, expires_ms, extra_of
from gateway.chat.principal import User, of_kind
from gateway.chat.records import Records
from gateway.chat.refused import FAULTS, Refused, check_body, check_kind, refusal
from gateway.chat.relay import Relay
from gateway.chat.repeats import refuse_unless_sent
from gateway.chat.room_sends import RoomSends
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry, Stored
from gateway.store.stored import COUNTS, HIDDEN


class MessageChat:
    """Accepts messages. `clock_ms` gives milliseconds since 1970."""

    def __init__(
        self,
        conversations: ConversationStore,
        records: Records,
        relay: Relay,
        groups: GroupSends,
        rooms: RoomSends,
        events: AppEvents,
        *,
        clock_ms: Callable[[], int],
    ) -> None:
        self._conversations = conversations
        self._records = records
        self._relay = relay
        self._groups = groups
        self._rooms = rooms
        self._events = events
        self._clock_ms = clock_ms

    def send(
        self,
        sender: User,
        client_id: str,
        to: str,
        kind: str,
        body: bytes,
        *,
        options: Options | None = None,
        priority: int | None = None,
        remembered_ms: int = DEDUPE_WINDOW_MS,
    ) -> tuple[bytes, asyncio.Future[Stored]]:
        """Keep a message, sealed, for the recipient and the sender's own devices.

        `client_id` names it among the sender's: what is sent again under it within `remembered_ms`
        is sent once (G2). Only a room takes a `priority`, and it takes no `options`.

        Returns the message id, and a future of the message's number in its conversation, 0 where
        it has none (a room, `online_only`), and its time; both are those of the first, where it is
        sent again. Until the future is done nothing is promised (G1). Messages to one conversation
        get their numbers in the order of these calls (G3).

        Raises:
            Refused: not_allowed where the app itself asks, rate_limited, blocked, storage_full,
                unknown_recipient, invalid_field, body_too_large, unknown_app, internal. The future
                raises what `refusal` makes a `Refused` of: unavailable, internal, storage_full; for
                a group unknown_group, not_a_member, muted; for a room not_in_room, room_read_only.
        """
        of_kind(sender, User)
        try:
            app = sender.app
            sender.allowance.pay(app.tier, prices.send(body))
            sender.blockers.admit(to)
            check_kind(kind)
            where, place = address(to)
            asked = NONE if options is None else options
            check_options(asked, where)
            if priority is not None and where != "room":
                raise Refused(codes.UNKNOWN_RECIPIENT)
            check_body(app, body)
            mid, time = message_id(app.id, sender.id, client_id), self._clock_ms()
            if where == "room":
                sender.allowance.keep(app.tier, len(body))
                message = Message(mid, sender.id, to, time, kind, body)
                urgency = Priority.NORMAL if priority is None else priority
                return mid, self._rooms.deliver(sender, place, message, urgency, remembered_ms)
            ends = expires_ms(asked, time)
            message = Message(mid, sender.id, to, time, kind, body, extra_of(asked, ends))
            if where == "group":
                return mid, self._groups.deliver(
                    sender, place, message, ends, asked.history, remembered_ms
                )
            if asked.online_only:
                return mid, self._once(sender, message, remembered_ms)
            flags = COUNTS if asked.history else COUNTS | HIDDEN
            return mid, self._direct(sender, message, flags, ends, remembered_ms)
        except FAULTS as error:
            raise refusal(error) from error

    def _once(self, sender: User, message: Message, remembered_ms: int) -> asyncio.Future[Stored]:
        """Tell a message to whoever is there."""
        sender.allowance.keep(sender.app.tier, 0)
        sender.allowance.marked(sender.app.tier, 2)
        return self._relay.once(sender.app, (sender.id, message.to), message, remembered_ms)

    def _direct(
        self, sender: User, message: Message, flags: int, ends: int | None, remembered_ms: int
    ) -> asyncio.Future[Stored]:
        """Store a message to one user."""
        app, to = sender.app, message.to
        conversation = direct_conversation(sender.id, to)
        try:
            sender.allowance.keep(app.tier, len(message.body), (to,))
        except Refused as refused:
            accepted: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
            refuse_unless_sent(
                self._conversations, app.id, conversation, message.id, refused, accepted
            )
            return accepted
        record = self._records.make(app, message, conversation)
        event = self._events.sent(app, message, conversation)
        entry = NewEntry(
            message.id, record, message.time, sender.id, flags, ends, event, remembered_ms
        )
        recipients = self._conversations.direct(app.id, sender.id, to)
        return self._conversations.send(app.id, app.tier, recipients, entry)
