"""Invitations to groups: how the invited hear of them.

An invitation is part of its group (`gateway.store.group_state`), where it can be accepted. Its user
hears of it by a message of whoever invited, in the conversation of the two, which is stored, counts
as unread and may be answered as any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from homeport import codec
from homeport.frames import GroupInvitation, Message
from homeport.ids import direct_conversation, notice_id
from homeport.limits import DEDUPE_WINDOW_MS, INVITATION_S

from gateway.chat.app_events import AppEvents
from gateway.chat.principal import User
from gateway.chat.records import Records
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry
from gateway.store.stored import COUNTS

INVITATION_KIND: Final = "homeport.invitation"


class Invitations:
    """Tells users that they were invited. `clock_ms` is milliseconds since 1970."""

    def __init__(
        self,
        conversations: ConversationStore,
        records: Records,
        events: AppEvents,
        clock_ms: Callable[[], int],
    ) -> None:
        self._conversations = conversations
        self._records = records
        self._events = events
        self._clock_ms = clock_ms

    async def send(
        self, sender: User, group_id: str, name: str, invited: Mapping[str, int]
    ) -> None:
        """Tell each of `invited`, with the end of the invitation in ms since 1970, once.

        Those whom the request for it may have told long ago are not told again: a repetition is
        known as one for the dedupe window.

        Raises:
            Refused: rate_limited: each costs a message.
            Unavailable, CommandFault: somebody may not have been told; try again.
        """
        app, now_ms = sender.app, self._clock_ms()
        made_after = now_ms - DEDUPE_WINDOW_MS // 2
        new = {u: end for u, end in invited.items() if end - 1000 * INVITATION_S > made_after}
        if not new:
            return
        sender.allowance.pay(app.tier, len(new))
        sent = []
        for user, ends in new.items():
            mid = notice_id("invitation", app.id, group_id, user, str(ends))
            body = codec.encode(GroupInvitation(group_id, name, ends))
            message = Message(mid, sender.id, user, now_ms, INVITATION_KIND, body)
            conversation = direct_conversation(sender.id, user)
            record = self._records.make(app, message, conversation)
            event = self._events.sent(app, message, conversation)
            entry = NewEntry(mid, record, now_ms, sender.id, COUNTS, event=event)
            to = self._conversations.direct(app.id, sender.id, user)
            sent.append(self._conversations.send(app.id, app.tier, to, entry))
        await asyncio.gather(*sent)
