"""Recalling and editing sent messages."""

from __future__ import annotations

from homeport import frames
from homeport.client import checks
from homeport.client.message import Message, MessageRef, named
from homeport.client.outgoing import Requests


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

    async def recall(self, message: Message | MessageRef, *, timeout: float | None = 30) -> None:
        """Take a message back from everyone. Its sender may, and a group's owner and admins.

        The message is gone from the server when this returns. Devices that have it already receive
        a `RecallNotice`.
        """
        await self._outgoing.request(frames.Recall, *named(message), timeout=timeout)

    async def edit(
        self, message: Message | MessageRef, text: str, *, timeout: float | None = 30
    ) -> None:
        """Give a text message of this user another text. Others receive an `EditNotice`.

        Raises:
            RequestRefused: also with `not_text` or `edit_limit`, or with a code of a send.
        """
        body = checks.text("text", text).encode()
        await self._outgoing.request(frames.Edit, *named(message), body, timeout=timeout)
