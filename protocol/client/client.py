"""The client: one device's connection to Homeport, kept up."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import random as system_random
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from protocol.client.cursor import CursorFile
from protocol.client.errors import ClientClosed, ClientError
from protocol.client.events import Event, Receipt
from protocol.client.incoming import Incoming
from protocol.client.link import GetToken, Link
from protocol.client.message import Message, Sent
from protocol.client.outgoing import Outgoing
from protocol.client.receipts import Marks, Reached, Unread
from protocol.frames import ClientFrame, Cursor, Receipts, Result, Send
from protocol.frames import Unread as UnreadRequest
from protocol.ids import is_device_id, new_client_id
from protocol.limits import PATH


class Client:
    """A connection to Homeport that reconnects, resumes and renews its token by itself.

    Made inside a running event loop and used as ``async with``: it enters when the first connection
    is live, and keeps trying until then (an `asyncio.timeout` around it bounds that).

    Args:
        url: ``wss://host:port``; the path is added when there is none.
        device: names this device among its user's; a second connection of it ends the first.
        token: the token to use; it can't be renewed.
        get_token: or, instead, a function that gets a new one; called before the first connection
            and whenever another one is needed.
        cursor: where to go on from. None: from what the server keeps for this device.
        cacert: a PEM file with the CA of the server's certificate, or a whole TLS context, which
            many clients can share. None: the system's CAs.
        auto_ack: acknowledge a message when the caller comes back for the next one. False: the
            caller acknowledges with `ack`.
        on_event: called with each `Event`, soon after it happened, in order.
        sleep, random: for tests: what waits before a reconnect, and a random float in [0, 1).

    Raises:
        ValueError: an argument makes no sense.
        CursorFileDamaged, OSError: the cursor file or ``cacert`` can't be used.
    """

    def __init__(
        self,
        url: str,
        *,
        device: str,
        token: str | None = None,
        get_token: GetToken | None = None,
        cursor: Cursor | CursorFile | None = None,
        cacert: Path | ssl.SSLContext | None = None,
        auto_ack: bool = True,
        on_event: Callable[[Event], None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = system_random,
    ) -> None:
        if (token is None) == (get_token is None):
            raise ValueError("give either token or get_token")
        if not is_device_id(device):
            raise ValueError("device must be 1 to 64 of A-Z a-z 0-9 . _ @ + -")
        self._outgoing = Outgoing(random)
        self._marks = Marks(self._outgoing)
        self._incoming = Incoming(cursor, auto_ack, self._marks.delivered)
        self._link = Link(
            _endpoint(url),
            _tls_context(url, cacert),
            device,
            token,
            get_token,
            self._incoming,
            self._outgoing,
            on_event,
            sleep,
            random,
        )
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ClientClosed: it can't work: WrongRegion, TokenRefused, ConnectFailed or another end.
            Exception: what ``get_token`` raised.
        """
        if self._task is not None:
            raise RuntimeError("a client is used once; make a new one")
        self._task = asyncio.create_task(self._link.run())
        self._task.add_done_callback(self._ended)
        try:
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait([self._task, self._link.live], return_when=first)
            if self._task.done():
                self._task.result()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Send what is acknowledged and marked, save the cursor file, close the connection.

        Sends that still wait raise `ClientClosed`; `messages` ends.

        Raises:
            OSError: the cursor file can't be written; the connection is closed all the same.
        """
        if self._task is None:
            return
        try:
            marked = self._marks.flush()
            self._incoming.flush()
            if marked:
                await asyncio.sleep(0)  # marks are written in the next turn
        finally:
            self._incoming.close(None)
            self._outgoing.close(ClientClosed("the client was closed"))
            self._task.cancel()
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError:
                self._task.cancel()  # no time for a closing handshake
                await asyncio.wait([self._task])
                raise

    async def send(
        self,
        to: str,
        body: str | bytes,
        *,
        kind: str | None = None,
        client_id: str | None = None,
        timeout: float | None = 30,
    ) -> Sent:
        """Send a message and wait until it is accepted, so stored for everyone it is for.

        It is repeated after a reconnect, or when the server asks for it, always with the same
        client id and never after the dedupe window, so it can't double.

        Args:
            to: a user id.
            body: text, or bytes that the gateway does not look at.
            kind: what the body is. None: ``text`` for str, ``binary`` for bytes.
            client_id: the message's name among the sender's own; None: a fresh one.
            timeout: seconds to wait for an answer, reconnects included; None: no limit.

        Raises:
            RequestRefused: the server said no.
            SendTimeout: no answer in time; the outcome is unknown.
            ClientClosed: the client has ended; the outcome is unknown if this send had begun.
        """
        if kind is None:
            kind = "text" if isinstance(body, str) else "binary"
        data = body.encode() if isinstance(body, str) else body
        name = client_id or new_client_id()
        result = await self._request(lambda id: Send(id, name, to, kind, data), timeout, name)
        if result.id is None or result.time is None:
            raise ClientError("the server's ok says neither the message's id nor its time")
        return Sent(result.id, result.time)

    async def _request(
        self, make: Callable[[int], ClientFrame], timeout: float | None, client_id: str = ""
    ) -> Result:
        """Any request, repeated like a send. Raises as `send` does."""
        if self._task is None:
            raise RuntimeError("use the client as `async with Client(...) as client`")
        return await self._outgoing.request(make, timeout, client_id)

    def messages(self) -> AsyncIterator[Message]:
        """The user's messages, in order, each once; for one reader at a time.

        Iterating raises `ClientClosed` when the server or a refused token ended the client, and
        stops when the caller closed it. Breaking out and calling `messages` again goes on with the
        next message; with ``auto_ack`` that is when the last one is acknowledged. A message still
        in the caller's hands when the client closes is not: call `ack` for it, or get it again.
        """
        return self._incoming

    def ack(self, message: Message) -> None:
        """Acknowledge `message` and all before it; the frame leaves by itself, soon.

        Raises:
            ValueError: this client has not handed out that number yet.
        """
        self._incoming.ack(message)

    def mark_read(self, message: Message) -> None:
        """Tell that the user has read `message` and all before it in its conversation.

        It leaves by itself within a second, together with what else is to be told of that
        conversation, and is repeated after a reconnect; at the latest it leaves with `close`. To
        say it again, or of an earlier message, changes nothing. (That messages were delivered is
        told without being asked, as `messages` hands them out.)
        """
        self._marks.read(message)

    async def unread(self, timeout: float | None = 30) -> Unread:
        """Count the unread messages of others, by peer; conversations without any are left out.

        Raises as `send` does.
        """
        result = await self._request(UnreadRequest, timeout)
        unread = Unread(result.unread or ())
        unread.more = bool(result.more)
        return unread

    async def receipts(self, peer: str, timeout: float | None = 30) -> list[Receipt]:
        """How far everyone else has got in the conversation with `peer`; who has not is left out.

        At most 100, those who have read furthest. Raises as `send` does.
        """
        result = await self._request(lambda id: Receipts(id, peer), timeout)
        return [Receipt(peer, *row) for row in result.receipts or ()]

    async def reached(self, message: Message, timeout: float | None = 30) -> Reached:
        """How many others of its conversation got and read `message`. Raises as `send` does."""
        peer, time = message.peer, message.time
        result = await self._request(lambda id: Receipts(id, peer, time), timeout)
        if result.reached is None:
            raise ClientError("the server's ok does not say how far the message has got")
        return Reached(*result.reached)

    @property
    def cursor(self) -> Cursor | None:
        """The last acknowledged position; None before the first connection of a client without."""
        return self._incoming.cursor

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The link gave up: so must everything that waits for it."""
        if not task.cancelled() and (end := task.exception()) is not None:
            self._outgoing.close(end)
            self._incoming.close(end)


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ValueError("url must be wss://host or wss://host:port")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("url must not have a query, a fragment or credentials; use token")
    return url if parts.path not in ("", "/") else f"{url.rstrip('/')}{PATH}"


def _tls_context(url: str, cacert: Path | ssl.SSLContext | None) -> ssl.SSLContext | None:
    if not url.startswith("wss:"):
        if cacert is not None:
            raise ValueError("cacert is for wss:// URLs")
        return None
    if isinstance(cacert, ssl.SSLContext):
        return cacert
    return ssl.create_default_context(cafile=cacert)
