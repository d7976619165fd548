"""Recalling and editing sent messages, and the notices about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from homeport import frames
from homeport.client import checks
from homeport.client.message import Message, MessageRef, named
from homeport.client.outgoing import Requests
from homeport.frames.recalls import EDIT_KIND, RECALL_KIND

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RecallNotice:
    """A message was recalled.

    Attributes:
        message: the recalled message's id, 32 hexadecimal digits.
        sender: the user who sent it.
        time: the recalled message's `Message.time`.
        by: the user who recalled it.
    """

    message: str
    sender: str
    time: int
    by: str

    def __repr__(self) -> str:
        # Notices end up in logs; user ids must not.
        return f"<RecallNotice of {self.message}>"


@dataclass(frozen=True, slots=True)
class EditNotice:
    """A message was edited.

    Attributes:
        message: the edited message's id, 32 hexadecimal digits.
        sender: the user who sent and edited it.
        time: the edited message's `Message.time`.
        edits: how often it was edited by now.
        edited: when it was edited last, in milliseconds since 1970.
        text: what it says now; U+FFFD stands for what is not UTF-8.
    """

    message: str
    sender: str
    time: int
    edits: int
    edited: int
    text: str

    def __repr__(self) -> str:
        # Notices end up in logs; user ids and what users write must not.
        return f"<EditNotice {self.edits} of {self.message}>"


def recall_notice(message: Message) -> RecallNotice | None:
    """The recall that `message` reports; None if it reports none.

    A recall arrives twice: as a message from "", for devices that have the recalled message
    already, and in the place of the recalled message, with its id and sender. Either may arrive
    first, or alone.
    """
    told = _told(message, RECALL_KIND, frames.RecallNotice)
    if told is None:
        return None
    return RecallNotice(told.message.hex(), told.sender, told.time, told.by)


def edit_notice(message: Message) -> EditNotice | None:
    """The edit that `message` reports; None if it is not such a notice.

    If the edited message itself arrives later, it has the new text and counts its ``edits``. Ignore
    a notice with a lower count than the one already shown, and every notice after a recall.
    """
    told = _told(message, EDIT_KIND, frames.EditNotice)
    if told is None:
        return None
    text = told.body.decode(errors="replace")
    return EditNotice(told.message.hex(), told.sender, told.time, told.edits, told.edited, text)


def _told(message: Message, kind: str, type_: type[_T]) -> _T | None:
    if message.kind != kind:
        return None
    try:
        return msgspec.msgpack.decode(message.body, type=type_)
    except (ValueError, RecursionError):  # msgspec's errors, and those of UTF-8
        return None


class RecallRequests(Requests):
    """The methods of `Client` for messages that were sent.

    Every method waits for the answer, and repeats the request after a reconnect, as `Client.send`
    does.

    Every method may raise, in addition to the errors that it names itself:

    Raises:
        RequestRefused: with `unknown_message`, `recall_too_late` or `not_yours`.
        SendTimeout: no answer in time; the outcome is unknown.
        ClientClosed: the client has ended.
        TypeError, ValueError: an argument makes no sense; nothing was sent.
    """

    async def recall(self, message: MessageRef, *, timeout: float | None = 30) -> None:
        """Take a message back from everyone. Its sender may, and a group's owner and admins.

        The message is gone from the server when this returns. Devices that have it already receive
        a notice, which `recall_notice` reads.
        """
        await self._outgoing.request(frames.Recall, *named(message), timeout=timeout)

    async def edit(self, message: MessageRef, text: str, *, timeout: float | None = 30) -> None:
        """Give a text message of this user another text. `edit_notice` reads the notice of it.

        Raises:
            RequestRefused: also with `not_text` or `edit_limit`, or with a code of a send.
        """
        body = checks.text("text", text).encode()
        await self._outgoing.request(frames.Edit, *named(message), body, timeout=timeout)
