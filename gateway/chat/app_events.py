"""What an app's webhooks are told: made here, and noted by the script that keeps or changes it.

Each method returns what `NewEntry.event` is: "" where no endpoint of the app wants to know, which
then costs nothing more.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final

from homeport.frames import GroupNotice, Message

from gateway.apps.app import App
from gateway.apps.webhooks import MESSAGE_OFFLINE, MESSAGE_SENT, ROOM_SET
from gateway.security.sealing import Sealer
from gateway.store.hook_events import Event, HookEvents
from gateway.store.hook_queue import ABSENT, HAPPENED

MAX_BODY: Final = 12 * 1024
"""Bytes of a message that a webhook is told. With them its body stays below the 20 kB that Standard
Webhooks advises."""


class AppEvents:
    """Makes the events of a region's apps."""

    def __init__(self, sealer: Sealer) -> None:
        self._events = HookEvents(sealer)

    def sent(self, app: App, message: Message, conversation: str) -> bytes:
        """A message was sent to `conversation`; and, to users, while some were not there."""
        if not app.webhooks:
            return b""
        wanted = HAPPENED * app.tells(MESSAGE_SENT) | ABSENT * app.tells(MESSAGE_OFFLINE)
        if not wanted:
            return b""
        event = self._of_message(app, MESSAGE_SENT, message, conversation)
        return bytes((wanted,)) + self._events.seal(app, event, message.time)

    def changed(
        self, app: App, type_: str, message: Message, conversation: str, by: str, now_ms: int
    ) -> bytes:
        """A message was edited or recalled by the user `by`, "" for the app itself."""
        if not app.tells(type_):
            return b""
        event = self._of_message(app, type_, message, conversation, by=by)
        return self._happened(app, event, now_ms)

    def group(self, app: App, group: str, notice: GroupNotice, now_ms: int) -> bytes:
        """A group was made or changed."""
        type_ = f"group.{notice.change}"
        if not app.tells(type_):
            return b""
        about: dict[str, Any] = {"id": group, "version": notice.version, "by": notice.by}
        if notice.users:
            about["users"] = list(notice.users)
        if notice.invited:
            about["invited"] = list(notice.invited)
        if notice.role:
            about["role"] = notice.role
        if notice.muted is not None:
            about["muted"] = notice.muted
        private = {"name": notice.name} if notice.name else {}
        return self._happened(app, Event(type_, about, private), now_ms)

    def room_set(
        self, app: App, room: str, write: str, admins: Sequence[str], by: str, now_ms: int
    ) -> bytes:
        """A room was made, or the right to write in it changed."""
        if not app.tells(ROOM_SET):
            return b""
        about = {"id": room, "write": write, "admins": list(admins), "by": by}
        return self._happened(app, Event(ROOM_SET, about), now_ms)

    def _happened(self, app: App, event: Event, now_ms: int) -> bytes:
        return bytes((HAPPENED,)) + self._events.seal(app, event, now_ms)

    def _of_message(
        self, app: App, type_: str, message: Message, conversation: str, **more: Any
    ) -> Event:
        about = {
            "id": message.id.hex(),
            "conversation": conversation,
            "sender": message.sender,
            "to": message.to,
            "kind": message.kind,
            "bytes": len(message.body),
            **more,
        }
        private: dict[str, Any] = {}
        if any(map(app.bodies_to, app.webhooks)):
            fits = len(message.body) <= MAX_BODY
            private["body"] = b64encode(message.body).decode() if fits else None
        return Event(type_, about, private)
