"""Messages as commands print them: a line for people, JSON for scripts."""

from __future__ import annotations

import base64
import time
from typing import Any

import msgspec
from homeport import (
    EditNotice,
    GroupInvitation,
    GroupNotice,
    Message,
    RecallNotice,
    RoomMessage,
)
from homeport.ids import GROUP


def visible(text: str) -> str:
    """One line, in which nothing another user wrote can steer the terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def moment(ms: int) -> str:
    """Local time, for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ms / 1000))


def line(message: Message | RoomMessage) -> str:
    """A message for people: local time, number, sender, text; in a group, the group too."""
    said = _said(message)
    if isinstance(message, Message):
        group = f"{message.to} " if message.to.startswith(GROUP) else ""
        said = f"#{message.seq} {group}{said}"
    return visible(f"{moment(message.time)} {said}")


def record(message: Message | RoomMessage) -> dict[str, object]:
    """A message for scripts; a body that is not text is base64 (RFC 4648 section 4)."""
    text = _text(message)
    found: dict[str, object] = {
        "seq": message.seq,
        "id": message.id,
        "time": message.time,
        "from": message.sender,
    }
    notice = None
    if isinstance(message, Message):
        found["to"] = message.to
        notice = message.notice
        if message.edits:
            found |= {"edits": message.edits, "edited": message.edited}
    else:
        found |= {"room": message.room, "priority": message.priority}
    found["kind"] = message.kind
    if notice is not None:
        found["notice"] = msgspec.to_builtins(notice)
    elif text is None:
        found["body_base64"] = base64.b64encode(message.body).decode()
    else:
        found["text"] = text
    return found


def _said(message: Message | RoomMessage) -> str:
    """A line for people: the author, and what they wrote or did."""
    notice = message.notice if isinstance(message, Message) else None
    if isinstance(notice, GroupNotice):
        return _told(notice)
    if isinstance(notice, GroupInvitation):
        return f"{message.sender} invites to {notice.name!r}, {GROUP}{notice.group}"
    if isinstance(notice, RecallNotice):
        if message.sender:  # it stands where the message was
            return f"{message.sender}: [recalled by {notice.by}]"
        return f"{notice.by} recalled #{notice.seq} of {notice.sender}"
    if isinstance(notice, EditNotice):
        return f"{notice.sender} edited #{notice.seq}: {notice.text}"
    text_or_none = _text(message)
    if text_or_none is None:
        return f"{message.sender}: [{message.kind}, {len(message.body)} bytes]"
    edited = " (edited)" if isinstance(message, Message) and message.edits else ""
    return f"{message.sender}: {text_or_none}{edited}"


def _text(message: Message | RoomMessage) -> str | None:
    if message.kind != "text":
        return None
    try:
        return message.body.decode()
    except UnicodeDecodeError:
        return None


def _told(notice: GroupNotice) -> str:
    """A change of a group, in words."""
    users = ", ".join(notice.users)
    invited = ", ".join(notice.invited)
    un = "un" if notice.muted is False else ""
    words: dict[Any, str] = {
        "created": f"created {notice.name!r} with {users}",
        "renamed": f"renamed it {notice.name!r}",
        "deleted": "deleted it",
        "added": f"added {users or 'nobody'}",
        "joined": "joined",
        "removed": f"removed {users}",
        "left": "left",
        "declined": "declined the invitation",
        "role": f"made {users} {notice.role}",
        "muted": f"{un}muted {users or 'everyone'}",
    }
    said = f"{notice.by} {words.get(notice.change, notice.change)}"
    return f"{said} and invited {invited}" if invited else said
