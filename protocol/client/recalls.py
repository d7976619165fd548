"""Recalling and editing what was sent, and what a client is told of it."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from protocol import frames
from protocol.client import checks
from protocol.client.message import Message, Sent
from protocol.client.outgoing import Outgoing
from protocol.frames import EditNotice, RecallNotice
from protocol.frames.recalls import EDIT_KIND, RECALL_KIND

_T = TypeVar("_T")


def recall_notice(message: Message) -> RecallNotice | None:
    """What `message` tells of a message that was recalled; None where it is none of these.

    It comes twice: as a message from "", for who has the recalled one already, and in the place of
    the recalled one, with its id and sender. Either may come first, or alone.
    """
    return _told(message, RECALL_KIND, RecallNotice)


def edit_notice(message: Message) -> EditNotice | None:
    """What `message` tells of a message that was edited; None where it is no such notice.

    The edited message itself, where it comes later, has the new text and counts its ``edits``; a
    notice with a lower count than one already shown is old. After a recall none counts any more.
    """
    return _told(message, EDIT_KIND, EditNotice)


def _told(message: Message, kind: str, type_: type[_T]) -> _T | None:
    if message.kind != kind:
        return None
    try:
        return msgspec.msgpack.decode(message.body, type=type_)
    except (ValueError, RecursionError):  # msgspec's errors, and those of UTF-8
        return None


class RecallRequests:
    """What `Client` can do to a message that was sent.

    Every method waits for the answer, and is repeated after a reconnect, as `Client.send` is. It
    raises `RequestRefused` with the codes `unknown_message`, `recall_too_late`, `not_yours` and
    those it names, and `SendTimeout`, `ClientClosed`, `TypeError` and `ValueError` as `Client.send`
    does.
    """

    _outgoing: Outgoing

    async def recall(self, message: Message | Sent, *, timeout: float | None = 30) -> None:
        """Take a message back from everyone; for its sender, and a group's owner and admins.

        It is gone from the server when this returns. Devices that have it already are told, see
        `recall_notice`.
        """
        checks.instance("message", message, Message, Sent)
        await self._outgoing.request(
            frames.Recall, message.peer, message.id, message.time, timeout=timeout
        )

    async def edit(self, message: Message | Sent, text: str, *, timeout: float | None = 30) -> None:
        """Give a text message of this user another text; devices are told, see `edit_notice`.

        Raises:
            RequestRefused: also `not_text`, `edit_limit`, and those of a send.
        """
        checks.instance("message", message, Message, Sent)
        body = checks.text("text", text).encode()
        await self._outgoing.request(
            frames.Edit, message.peer, message.id, message.time, body, timeout=timeout
        )
