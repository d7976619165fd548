"""A `send`, from the frame to the inboxes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.apps.app import App
from gateway.chat.addressing import conversation_of
from gateway.chat.records import Records
from gateway.chat.refused import Refused
from gateway.chat.times import Times
from gateway.store.inbox import Inboxes, Place
from protocol import codes
from protocol.frames import Message, Send
from protocol.ids import message_id


class Sending:
    """Accepts messages. `clock_ms` gives milliseconds since 1970."""

    def __init__(self, inboxes: Inboxes, records: Records, clock_ms: Callable[[], int]) -> None:
        self._inboxes = inboxes
        self._records = records
        self._clock_ms = clock_ms
        self._times = Times(clock_ms)

    def send(self, app: App, user: str, frame: Send) -> tuple[bytes, asyncio.Future[int]]:
        """Seal `frame` and store it for its recipient and for the sender's own devices.

        Returns the message id, and a future of the time at which the message was first accepted, in
        milliseconds; until the future is done nothing is promised (G1). Messages of one session
        reach an inbox in the order of these calls (G3).

        Raises:
            Refused: unknown_recipient, body_too_large. The future: Unavailable, StoreFault.
        """
        conversation = conversation_of(user, frame.to)
        if len(frame.body) > app.tier.max_body:
            raise Refused(
                codes.BODY_TOO_LARGE,
                f"The body is over this app's limit of {app.tier.max_body} bytes.",
            )
        time = self._times.next(app.id, conversation)
        mid = message_id(app.id, user, frame.client_id)
        message = Message(mid, user, frame.to, time, frame.kind, frame.body)
        # Sender first, and once where someone writes to himself.
        users = (user, frame.to) if frame.to != user else (user,)
        stored = self._inboxes.deliver(
            app.id,
            app.tier,
            mid,
            users,
            self._records.make(app, message, conversation),
            self._clock_ms(),
            Place(conversation, user, time),
        )
        return mid, stored
