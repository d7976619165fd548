"""The stored side of a message to a group, for `gateway.chat.sending` alone.

It looks at the sender's place in the group, and at nothing else: limits, blocks, kind and body are
looked at before. So `Chat` has no way to it.
"""

from __future__ import annotations

import asyncio
from functools import partial

from homeport.frames import Message

from gateway.apps.app import App
from gateway.chat import group_rules as rules
from gateway.chat.principal import User
from gateway.chat.records import Records
from gateway.store.entries import NewMessage
from gateway.store.group_state import Group
from gateway.store.groups import GroupStore
from gateway.store.inbox import InboxStore
from gateway.store.log import LogStore


class GroupSends:
    """Stores messages for the members of groups."""

    def __init__(
        self, groups: GroupStore, inboxes: InboxStore, logs: LogStore, records: Records
    ) -> None:
        self._groups = groups
        self._inboxes = inboxes
        self._logs = logs
        self._records = records

    def deliver(
        self, sender: User, group: str, message: Message, expires_ms: int | None, history: bool
    ) -> asyncio.Future[int]:
        """Store `message` for every member of the group that it is for, and the history if asked.

        `expires_ms` is when the message's own time to live ends. Messages to one group leave in the
        order of these calls (G3). The future holds the time at which the message was first stored.

        Raises:
            Refused: in the future: unknown_group, not_a_member or muted.
            Unavailable, CommandFault, SealError: in the future: it could not be kept.
        """
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        app = sender.app

        def fan_out(current: asyncio.Future[Group | None]) -> None:
            # Not a task: the order in which these run is the order of the messages.
            try:
                to = rules.may_send(current.result(), sender)
                stored = self._fan_out(app, to, message, expires_ms, history)
            except Exception as error:  # noqa: BLE001 - whoever waits for the answer gets it
                if not accepted.done():
                    accepted.set_exception(error)
            else:
                stored.add_done_callback(partial(_hand_over, accepted))

        self._groups.current(app, group).add_done_callback(fan_out)
        return accepted

    def _fan_out(
        self, app: App, group: Group, message: Message, expires_ms: int | None, history: bool
    ) -> asyncio.Future[int]:
        record = self._records.make(app, message, message.to)
        new = NewMessage(message.id, record, message.time, message.to, message.sender, expires_ms)
        kept = [self._logs.add(app.id, app.tier, new)] if history else []
        return self._inboxes.deliver_to(app.id, app.tier, group.audience, new, group.version, kept)


def _hand_over(accepted: asyncio.Future[int], stored: asyncio.Future[int]) -> None:
    error = stored.exception()
    if accepted.done():  # its caller was cancelled
        return
    if error is None:
        accepted.set_result(stored.result())
    else:
        accepted.set_exception(error)
