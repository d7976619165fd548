"""The client: one device's connection to Homeport, kept up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from ssl import SSLContext
from types import TracebackType
from typing import Self

from homeport.client import checks
from homeport.client.address import Address, Proxy
from homeport.client.backoff import Backoff
from homeport.client.blocking import BlockRequests
from homeport.client.consumer import Consumer
from homeport.client.cursor import CursorFile
from homeport.client.dispatch import Dispatcher, Handler
from homeport.client.errors import ClientClosed, CursorNotSaved
from homeport.client.events import ConversationReset, Disconnected, Event
from homeport.client.groups import ConversationRequests
from homeport.client.loop import OwnLoop
from homeport.client.message import Message, MessageRef, Sent
from homeport.client.outgoing import Outgoing
from homeport.client.presence import PresenceRequests, Watches
from homeport.client.reading import Reading
from homeport.client.recalls import RecallRequests
from homeport.client.receipts import Marks, ReceiptRequests
from homeport.client.reconnector import Login, Reconnector
from homeport.client.rooms import Room, Rooms
from homeport.client.tokens import GetToken
from homeport.frames import Cursor
from homeport.ids import is_device_id
from homeport.limits import MAX_LAST, MAX_PLATFORM_CHARS

_log = logging.getLogger("homeport.client")


def _not_delivered(_: Message) -> None:
    """What is read without a device has reached none."""


class Client(
    BlockRequests,
    ConversationRequests,
    PresenceRequests,
    ReceiptRequests,
    RecallRequests,
):
    """A connection to Homeport that reconnects, resumes and renews its token by itself.

    Made anywhere, also before the event loop runs, and used as ``async with`` in one event loop. It
    enters when the first connection is live, and keeps trying until then; an `asyncio.timeout`
    around it bounds that. Other uses before it is entered, and uses from another thread or loop,
    raise `RuntimeError`.

    Args:
        url: ``wss://host:port``; the path is added when there is none.
        device: names this device among the user's; a second connection of it ends the first.
        token: the token to use; the client cannot renew it.
        get_token: a coroutine function (or function) that returns a new token; give it instead of
            ``token``. The client calls it before the first connection and whenever it needs a new
            token. If it raises, takes over 30 seconds or returns no str, the attempt has failed,
            and the client tries again. All tokens must be for one app and user; a token for
            another ends the client.
        cursor: the position to continue from; a `CursorFile` belongs to one app, user and device.
            None: the position that the server keeps for this device.
        ssl: the TLS settings for ``wss``; many clients can share one context. None: the system's
            CAs. For a CA of your own: ``ssl.create_default_context(cafile="ca.pem")``.
        auto_ack: acknowledge a message when the caller comes back for the next one. False: the
            caller acknowledges with `ack`.
        platform: what the device runs on (``ios``, ``web`` …), at most 32 characters. If a user
            has too many devices, a new one replaces one of the same platform.
        ephemeral: True: do not count as a device. The client reads what waits and what arrives, and
            leaves nothing behind: the server keeps no cursor, nothing counts as delivered, and the
            user does not become online. ``device`` is then only a name for operators.
        on_event: a function or coroutine function, called with each `Event` soon after it happened,
            one event after the other. Its exceptions are logged and stop nothing. `events` gives
            the same events to programs that rather iterate.
        proxy: True: use the environment's proxy (``https_proxy``, ``no_proxy`` …); None: no proxy;
            else the URL of one. This machine itself (``localhost``) is always reached directly.

    The logger ``homeport.client`` reports what a program that reads no events needs to know: of
    attempts to connect that fail in a row, the first and each tenth (WARNING).

    Raises:
        TypeError, ValueError: an argument makes no sense.
        CursorFileDamaged, CursorFileForeign: the cursor file holds no cursor, or another's.
        OSError: the cursor file can't be read, or is no file.
    """

    def __init__(
        self,
        url: str,
        *,
        device: str,
        token: str | None = None,
        get_token: GetToken | None = None,
        cursor: Cursor | CursorFile | None = None,
        ssl: SSLContext | None = None,
        auto_ack: bool = True,
        platform: str = "",
        ephemeral: bool = False,
        on_event: Handler | None = None,
        proxy: Proxy = True,
    ) -> None:
        if (token is None) == (get_token is None):
            raise ValueError("give either token or get_token")
        if token is not None:
            checks.text("token", token)
        for name, callback in (("get_token", get_token), ("on_event", on_event)):
            if callback is not None:
                checks.function(name, callback)
        checks.text("device", device)
        checks.text("platform", platform)
        checks.instance("cursor", cursor, Cursor, CursorFile, type(None))
        if not is_device_id(device):
            raise ValueError("device must be 1 to 64 of A-Z a-z 0-9 . _ @ + -")
        if len(platform) > MAX_PLATFORM_CHARS:
            raise ValueError(f"platform must be at most {MAX_PLATFORM_CHARS} characters")
        address = Address.of(url, ssl, proxy)
        backoff = Backoff()
        self._own_loop = OwnLoop()
        self._events = Dispatcher(self._own_loop, on_event)
        tell = self._events.tell
        self._outgoing = Outgoing(self._own_loop, backoff)
        self._rooms = Rooms(self._outgoing, tell)
        self._watches = Watches(self._outgoing, tell)
        self._marks = Marks(self._outgoing)
        handed = _not_delivered if ephemeral else self._marks.delivered
        self._consumer = Consumer(self._own_loop, device, cursor, auto_ack, handed, self._told)
        self._reconnector = Reconnector(
            Login(address, device, platform, ephemeral, token, get_token),
            self._consumer,
            self._outgoing,
            (self._rooms, self._watches),
            tell,
            backoff,
        )
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._end: Exception | None = None

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ClientClosed: it can't work: WrongRegion, TokenRefused, ConnectFailed or another end.
            CursorFileForeign, CursorNotSaved: the cursor file is another's, or can't be written.
            RuntimeError: the client was entered before.
        """
        self._own_loop.enter()
        live = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._reconnector.run(live), name="homeport-client")
        self._task.add_done_callback(self._ended)
        try:
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait([self._task, live], return_when=first)
            if self._end is not None:
                raise self._end  # noqa: TRY301 - closed as after any other failure
        except BaseException as error:
            await self._close_after(error)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            await self.close()
        else:
            await self._close_after(exc)

    async def _close_after(self, error: BaseException) -> None:
        """Close; that the cursor is not saved must not hide `error`."""
        try:
            await self.close()
        except CursorNotSaved as unsaved:
            error.add_note(str(unsaved))

    async def close(self) -> None:
        """Send what is acknowledged and marked, save the cursor file, close the connection.

        Sends that still wait raise `ClientClosed`; `messages` and `events` end. An asynchronous
        ``on_event`` that is running has 5 seconds to end.

        Raises:
            CursorNotSaved: the cursor file can't be written; the connection is closed all the same.
        """
        if self._task is None:
            return
        self._own_loop.check()
        self._closing = True
        try:
            marked = self._marks.flush()
            self._consumer.flush()
            if marked:
                await asyncio.sleep(0)  # marks are written in the next turn
                if not self._outgoing.is_connected:
                    _log.warning("closed without a connection: some receipts were not sent")
        finally:
            self._consumer.close(None)
            self._rooms.close(None)
            self._outgoing.close(ClientClosed("the client was closed"))
            self._task.cancel()
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError:
                self._task.cancel()  # no time for a closing handshake
                await asyncio.wait([self._task])
                raise
            finally:
                self._events.end(None)
            await self._events.close()

    async def send(
        self,
        to: str,
        body: str | bytes,
        *,
        kind: str | None = None,
        client_id: str | None = None,
        mentions: Iterable[str] = (),
        reply: Message | MessageRef | int | None = None,
        history: bool = True,
        online_only: bool = False,
        ttl: int | None = None,
        timeout: float | None = 30,
    ) -> Sent:
        """Send a message and wait until it is accepted, that is, stored for every recipient.

        The client repeats the send after a reconnect, or when the server asks for it, always with
        the same client id and never after the dedupe window, so the message cannot be stored twice.
        Sends that are awaited one after the other arrive in that order. Of several in flight, those
        that were refused while the store was away may change places.

        Args:
            to: a user id, or ``g:`` and a group's id.
            body: text, or bytes that the gateway does not look at.
            kind: the kind of the body. None: ``text`` for str, ``binary`` for bytes.
            client_id: names the message among those of its sender; None: a fresh one.
            mentions: ids of users whom the message mentions, at most 50.
            reply: the message of this conversation that this one answers, or its `seq`.
            history: False keeps the message out of the conversation's history.
            online_only: True: only for sessions that are connected now; the message is kept in no
                inbox and no history, and arrives as the event `Transient`.
            ttl: the message's own time to live, in whole seconds, at most the tier's time.
            timeout: seconds to wait for an answer, reconnects included; None: no limit.

        Raises:
            RequestRefused: the server refused the message.
            SendTimeout: no answer in time; the outcome is unknown.
            ProtocolError: it was accepted, and the answer can't be read.
            ClientClosed: the client has ended; the outcome is unknown if this send had begun.
            TypeError, ValueError: an argument makes no sense; nothing was sent.
        """
        return await self.conversation(checks.peer("to", to)).send(
            body,
            kind=kind,
            client_id=client_id,
            mentions=mentions,
            reply=reply,
            history=history,
            online_only=online_only,
            ttl=ttl,
            timeout=timeout,
        )

    def room(self, id: str, *, last: int = 10) -> Room:
        """A live chat room, joined as ``async with client.room("lobby") as room``.

        Its messages arrive at most once. A `RoomGap` reports messages that were missed because the
        connection was away or this client reads too slowly. After a reconnect, up to 200 of the
        missed messages are pushed.

        Args:
            id: the room's id, which has the form of a user id. Joining creates the room.
            last: how many of the last messages to begin with, 0 to 200.

        Raises:
            TypeError, ValueError: an argument makes no sense.
        """
        checks.user_id("id", id)
        if not 0 <= last <= MAX_LAST:
            raise ValueError(f"last must be 0 to {MAX_LAST}")
        return self._rooms.make(id, last)

    def messages(self) -> AsyncIterator[Message]:
        """The user's messages, in order, each once; for one reader at a time.

        Iterating raises `ClientClosed` when the server or a refused token ended the client, and
        stops when the caller closed it. Breaking out and calling `messages` again goes on with the
        next message; with ``auto_ack`` that is when the last one is acknowledged. A message still
        in the caller's hands when the client closes is not: call `ack` for it, or get it again.
        """
        return Reading(self._consumer.next)

    def events(self) -> AsyncIterator[Event]:
        """What happens from now on. Each call begins a stream of its own, for one reader.

        A program may iterate here, or be called by ``on_event``, or both; each gets all events. To
        see the attempts at the first connection, call this before the client is entered, and
        iterate in another task.

        At most 10,000 events wait for the reader. Of more, the oldest are dropped, and an
        `EventsDropped` comes in their place. After the last event, iterating raises `ClientClosed`
        when the server or a refused token ended the client, and stops when the caller closed it.
        """
        return Reading(self._events.reader().next)

    def ack(self, message: Message) -> None:
        """Acknowledge `message` and all before it; the frame leaves by itself, soon.

        Raises:
            ValueError: this client has not handed out that message yet.
            ClientClosed: the client was closed by `close`, so the message will come again.
        """
        checks.instance("message", message, Message)
        self._own_loop.check()
        self._consumer.ack(message)

    @property
    def cursor(self) -> Cursor | None:
        """The last acknowledged position; None before the first connection of a client without."""
        return self._consumer.cursor

    def _told(self, event: Event) -> None:
        """What the consumer tells."""
        if isinstance(event, ConversationReset):
            self._marks.reset(event)
        self._events.tell(event)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """The link has ended, in whatever way; end everything that waits for it."""
        error = None if task.cancelled() else task.exception()
        if self._closing:
            self._end = ClientClosed("the client was closed")
            return
        if isinstance(error, Exception):
            self._end = error
        else:
            how = "was cancelled" if error is None else f"raised {type(error).__name__}"
            end = self._end = ClientClosed(f"the client's own task {how}")
            self._events.tell(Disconnected(None, end.reason, False, None))
        self._rooms.close(self._end)
        self._outgoing.close(self._end)
        self._consumer.close(self._end)
        self._events.end(self._end)
