"""Refusing a message, unless it is the repetition of one that was accepted."""

from __future__ import annotations

import asyncio

from gateway.chat.refused import Refused
from gateway.store.conversations import ConversationStore
from gateway.store.entries import Stored


def refuse_unless_sent(
    conversations: ConversationStore,
    app_id: str,
    conversation: str,
    message_id: bytes,
    refused: Refused,
    accepted: asyncio.Future[Stored],
) -> None:
    """Give `accepted` what became of the message with this id, if it was sent within the dedupe
    window, and else `refused`."""

    def known(sent: asyncio.Task[Stored | None]) -> None:
        if accepted.done():  # its caller was cancelled
            return
        error = sent.exception()
        if error is not None:
            accepted.set_exception(error)
        elif (stored := sent.result()) is not None:
            accepted.set_result(stored)
        else:
            accepted.set_exception(refused)

    sent = asyncio.ensure_future(conversations.sent(app_id, conversation, message_id))
    sent.add_done_callback(known)
