"""A `send`, from the frame to the inboxes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gateway.apps.app import App
from gateway.chat.addressing import conversation_of
from gateway.chat.groups import GroupChat
from gateway.chat.options import expires_ms, extra_of, options_of
from gateway.chat.records import Records
from gateway.chat.refused import check_body, check_kind
from gateway.chat.rooms import RoomChat
from gateway.chat.times import Times
from gateway.store import events
from gateway.store.inbox import InboxStore, Talk
from protocol.frames import Message, RoomSend, Send, Transient
from protocol.ids import GROUP, ROOM, message_id


class MessageChat:
    """Accepts messages. `clock_ms` gives milliseconds since 1970."""

    def __init__(
        self,
        inboxes: InboxStore,
        records: Records,
        groups: GroupChat,
        rooms: RoomChat,
        clock_ms: Callable[[], int],
    ) -> None:
        self._inboxes = inboxes
        self._rooms = rooms
        self._records = records
        self._groups = groups
        self._times = Times(clock_ms)

    def send(
        self, app: App, user: str, frame: Send | RoomSend
    ) -> tuple[bytes, asyncio.Future[int]]:
        """Seal `frame` and store it for its recipient, the sender's own devices and the history.

        Returns the message id, and a future of the time at which the message was first accepted, in
        milliseconds; until the future is done nothing is promised (G1). Messages of one session
        reach an inbox in the order of these calls (G3).

        Raises:
            Refused: unknown_recipient, invalid_field, body_too_large, rate_limited. The future:
                Unavailable, CommandFault; and for a group Refused, as `GroupChat.send` says.
        """
        check_kind(frame.kind)
        if isinstance(frame, RoomSend):
            return self._rooms.send(app, user, frame)
        options = options_of(frame)
        if frame.to.startswith(ROOM):
            return self._rooms.send(app, user, frame)
        check_body(app, frame.body)
        grouped = frame.to.startswith(GROUP)
        conversation = frame.to if grouped else conversation_of(user, frame.to)
        time = self._times.next(app.id, conversation)
        mid = message_id(app.id, user, frame.client_id)
        ends = expires_ms(options, time)
        message = Message(
            mid, user, frame.to, time, frame.kind, frame.body, extra_of(options, ends)
        )
        if grouped:
            return mid, self._groups.send(app, message, ends, options.history)
        # Sender first, and once where someone writes to himself.
        users = (user, frame.to) if frame.to != user else (user,)
        if options.online_only:
            return mid, self._tell(app, users, message)
        record = self._records.make(app, message, conversation)
        return mid, self._inboxes.deliver(
            app.id,
            app.tier,
            mid,
            users,
            record,
            time,
            Talk(conversation, user),
            ends,
            history=options.history,
        )

    def _tell(self, app: App, users: Sequence[str], message: Message) -> asyncio.Future[int]:
        """To whoever of `users` is connected now; sealed for each one's channel."""
        frame = Transient(message)
        payloads = {}
        for user in users:
            channel = self._inboxes.channel(app.id, user)
            payloads[user] = events.relayed(self._records.relay(app, channel, frame, message.time))
        return self._inboxes.tell(app.id, message.id, payloads, message.time)
