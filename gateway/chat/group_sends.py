"""Messages to groups, for `gateway.chat.sending` alone.

It looks at the sender's place in the group, and has the sender pay for so many members; limits,
blocks, kind and body are looked at before. So `Chat` has no way to it.

A message goes by the group as this process read it last, without asking. Where that list is another
one by now, the conversation's script stores nothing and says so; where the list itself refuses the
sender, it may be old. In both cases the group is read, and meanwhile all that is sent to it waits,
so that whatever one sender says stays in its order.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from functools import partial
from typing import Final

from homeport.frames import Message
from homeport.ids import GROUP

from gateway.apps.app import App
from gateway.chat import group_rules as rules
from gateway.chat import prices
from gateway.chat.app_events import AppEvents
from gateway.chat.principal import User
from gateway.chat.records import Records
from gateway.chat.refused import Refused
from gateway.chat.repeats import refuse_unless_sent
from gateway.store.conversations import ConversationStore
from gateway.store.entries import NewEntry, StaleMembers, Stored
from gateway.store.group_state import Group
from gateway.store.groups import GroupStore
from gateway.store.stored import COUNTS, HIDDEN

ATTEMPTS: Final = 10
"""How often a message is tried while others change its group."""


class _Send:
    """One message. `read` says that the group was read since it came, or was tried last."""

    __slots__ = ("accepted", "app", "attempts", "entry", "number", "read", "sender")

    def __init__(self, number: int, sender: User, app: App, entry: NewEntry) -> None:
        self.number = number
        self.sender = sender
        self.app = app
        self.entry = entry
        self.accepted: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self.attempts = 0
        self.read = False


class _Line:
    """What is sent to one group: `flying` messages that went by the list `version` and are not
    answered yet, and those that wait behind them, in their order."""

    __slots__ = ("flying", "reading", "version", "waiting")

    def __init__(self) -> None:
        self.flying = 0
        self.version = 0
        self.waiting: deque[_Send] = deque()
        self.reading = False


class GroupSends:
    """Stores messages for the members of groups."""

    def __init__(
        self,
        groups: GroupStore,
        conversations: ConversationStore,
        records: Records,
        events: AppEvents,
    ) -> None:
        self._groups = groups
        self._conversations = conversations
        self._records = records
        self._events = events
        self._lines: dict[tuple[str, str], _Line] = {}
        self._numbers = itertools.count()

    def deliver(
        self,
        sender: User,
        group: str,
        message: Message,
        expires_ms: int | None,
        history: bool,
        remembered_ms: int,
    ) -> asyncio.Future[Stored]:
        """Store `message` for every member of the group that it is for, and show it in the history
        if asked.

        `expires_ms` is when the message's own time to live ends. Messages to one group get their
        numbers in the order of these calls (G3). The future holds number and time of the message,
        or of the first one that was sent with its id, also where its sender may send no more.

        Raises:
            SealError: it can't be sealed.
            Refused: in the future: unknown_group, not_a_member, muted, rate_limited
                or storage_full.
            Unavailable, CommandFault: in the future: it could not be kept.
        """
        app = sender.app
        record = self._records.make(app, message, message.to)
        flags = COUNTS if history else COUNTS | HIDDEN
        event = self._events.sent(app, message, message.to)
        entry = NewEntry(
            message.id,
            record,
            message.time,
            sender.id,
            flags,
            expires_ms,
            event,
            remembered_ms,
        )
        send = _Send(next(self._numbers), sender, app, entry)
        line = self._lines.get((app.id, group))
        if line is None:
            line = self._lines[app.id, group] = _Line()
        line.waiting.append(send)
        if len(line.waiting) == 1 and not line.reading:
            self._go_on(line, app, group)
        return send.accepted

    def _go_on(self, line: _Line, app: App, group: str) -> None:
        """Send what waits by the group as it is in memory, if nothing else must come first."""
        self._send(line, group, self._groups.known(app, group), just_read=False)
        if not line.flying and not line.waiting:
            self._lines.pop((app.id, group), None)

    def _send(self, line: _Line, group: str, known: Group | None, *, just_read: bool) -> None:
        while line.waiting:
            send = line.waiting[0]
            try:
                there = rules.may_send(known, send.sender)
            except Refused as error:
                if not (just_read and send.read):
                    self._read(line, group)
                    return
                line.waiting.popleft()
                self._refuse(send, group, error)
                continue
            if line.flying and line.version != there.version:
                return  # some of them may come back, and stand before this one
            line.waiting.popleft()
            app, to = send.app, there.recipients
            if not send.attempts:
                allowance = send.sender.allowance
                try:
                    allowance.pay(app.tier, prices.fan_out(len(there.members)))
                    allowance.keep(app.tier, len(send.entry.record), there.members)
                except Refused as error:
                    self._refuse(send, group, error)
                    continue
            stored = self._conversations.send(app.id, app.tier, to, send.entry)
            line.flying, line.version = line.flying + 1, there.version
            stored.add_done_callback(partial(self._answered, line, send, group))

    def _answered(
        self, line: _Line, send: _Send, group: str, stored: asyncio.Future[Stored]
    ) -> None:
        line.flying -= 1
        if isinstance(stored.exception(), StaleMembers) and send.attempts < ATTEMPTS:
            send.attempts += 1
            send.read = False
            line.waiting = deque(sorted((send, *line.waiting), key=lambda each: each.number))
            if not line.reading:
                self._read(line, group)
            return
        _hand_over(send.accepted, stored)
        if not line.flying and not line.reading:
            self._go_on(line, send.app, group)

    def _read(self, line: _Line, group: str) -> None:
        """Read the group for those who wait. Who comes meanwhile may come after what is read."""
        line.reading = True
        for send in line.waiting:
            send.read = True
        app = line.waiting[0].app
        current = self._groups.current(app, group)
        current.add_done_callback(partial(self._was_read, line, app, group))

    def _was_read(
        self, line: _Line, app: App, group: str, current: asyncio.Future[Group | None]
    ) -> None:
        line.reading = False
        error = current.exception()
        if error is None:
            self._send(line, group, current.result(), just_read=True)
        else:
            waiting, line.waiting = line.waiting, deque()
            for send in waiting:
                if not send.accepted.done():  # else its caller was cancelled
                    send.accepted.set_exception(error)
        if not line.flying and not line.reading:
            self._go_on(line, app, group)

    def _refuse(self, send: _Send, group: str, refused: Refused) -> None:
        """Its sender may not send it, unless it was sent before."""
        name = GROUP + group
        refuse_unless_sent(
            self._conversations, send.app.id, name, send.entry.id, refused, send.accepted
        )


def _hand_over(accepted: asyncio.Future[Stored], stored: asyncio.Future[Stored]) -> None:
    error = stored.exception()
    if accepted.done():  # its caller was cancelled
        return
    if error is None:
        accepted.set_result(stored.result())
    else:
        accepted.set_exception(error)
