"""What messages of the server's own kinds say: `Message.notice`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from homeport import frames
from homeport.frames import GroupInvitation, GroupNotice
from homeport.frames.recalls import EDIT_KIND, RECALL_KIND

GROUP_KIND: Final = "homeport.group"
INVITATION_KIND: Final = "homeport.invitation"


@dataclass(frozen=True, slots=True)
class RecallNotice:
    """A message was recalled.

    This arrives twice: in a message from "", for devices that have the recalled message already,
    and in the place of the recalled message, with its id and sender. Either may arrive first, or
    alone.

    Attributes:
        message: the recalled message's id, 32 hexadecimal digits.
        sender: the user who sent it.
        seq: the recalled message's number in the conversation.
        by: the user who recalled it.
    """

    message: str
    sender: str
    seq: int
    by: str

    def __repr__(self) -> str:
        # Notices end up in logs; user ids must not.
        return f"<RecallNotice of {self.message} seq={self.seq}>"


@dataclass(frozen=True, slots=True)
class EditNotice:
    """A message was edited.

    If the edited message itself arrives later, it has the new text and counts its ``edits``. Ignore
    a notice with a lower count than the one already shown, and every notice after a recall.

    Attributes:
        message: the edited message's id, 32 hexadecimal digits.
        sender: the user who sent and edited it.
        seq: the edited message's number in the conversation.
        edits: how often it was edited by now.
        edited: when it was edited last, in milliseconds since 1970.
        text: what it says now; U+FFFD stands for what is not UTF-8.
    """

    message: str
    sender: str
    seq: int
    edits: int
    edited: int
    text: str

    def __repr__(self) -> str:
        # Notices end up in logs; user ids and what users write must not.
        return f"<EditNotice {self.edits} of {self.message} seq={self.seq}>"


Notice = GroupNotice | GroupInvitation | RecallNotice | EditNotice
"""What a message of one of the server's own kinds says."""


def read(kind: str, sender: str, body: bytes) -> Notice | None:
    """What such a message says; None for another message, and for a notice that is not readable."""
    try:
        if kind == GROUP_KIND and not sender:
            return msgspec.msgpack.decode(body, type=GroupNotice)
        if kind == INVITATION_KIND:
            return msgspec.msgpack.decode(body, type=GroupInvitation)
        if kind == RECALL_KIND:
            recall = msgspec.msgpack.decode(body, type=frames.RecallNotice)
            return RecallNotice(recall.message.hex(), recall.sender, recall.seq, recall.by)
        if kind == EDIT_KIND:
            edit = msgspec.msgpack.decode(body, type=frames.EditNotice)
            text = edit.body.decode(errors="replace")
            return EditNotice(
                edit.message.hex(), edit.sender, edit.seq, edit.edits, edit.edited, text
            )
    except (ValueError, RecursionError):  # msgspec's errors, and those of UTF-8
        return None
    return None
