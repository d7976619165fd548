"""Rooms of the client: what `Client.room` gives, and the rooms that are open.

A room is left alone by the inbox: its messages are not acknowledged, and one that was missed is
gone. The numbers tell how many; the caller hears of it as a `RoomGap`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Literal, Self

from msgspec import Struct

from homeport import frames
from homeport.client import checks
from homeport.client.errors import ClientClosed, ClientError, NotAMember, SendTimeout
from homeport.client.events import Event, RoomGap
from homeport.client.message import Sent, text_of
from homeport.client.outgoing import Outgoing
from homeport.client.reading import Waiting
from homeport.ids import ROOM, new_client_id
from homeport.limits import MAX_LAST

BUFFER: Final = 1000
"""Messages of a room that may wait for the caller; then the oldest is dropped, as a gap."""

JOIN_TIMEOUT_S: Final = 30.0
"""Seconds that entering a room may take."""

LEAVE_TIMEOUT_S: Final = 5.0
"""Seconds that telling the server of leaving may take."""

PriorityName = Literal["low", "normal", "high"]


class RoomMessage(Struct, frozen=True):
    """One message of a room.

    Attributes:
        id: 32 hexadecimal digits, the same for all recipients of the message.
        sender: a user id.
        room: the room's id.
        time: when the gateway accepted it, in milliseconds since 1970.
        kind: what the body is: ``text``, ``binary``, or one that the sender chose.
        body: as the sender gave it.
        seq: its number in the room.
        priority: ``low``, ``normal`` or ``high``.
    """

    id: str
    sender: str
    room: str
    time: int
    kind: str
    body: bytes
    seq: int
    priority: PriorityName

    @property
    def text(self) -> str:
        """The body as a text; "" for programs' bodies, and U+FFFD for what is not UTF-8."""
        return text_of(self.kind, self.body)

    def __repr__(self) -> str:
        return f"<RoomMessage {self.id} seq={self.seq} {len(self.body)} bytes>"


_PRIORITIES: Final[tuple[PriorityName, ...]] = ("low", "normal", "high")


class Room:
    """A room as ``async with client.room(...) as room``; iterate over it for its messages.

    It is joined again after each reconnect. It ends with the client, or when the server does not
    let it be joined again.
    """

    def __init__(self, rooms: Rooms, id: str, last: int, outgoing: Outgoing) -> None:
        self.id = id
        self._rooms = rooms
        self._last = last
        self._outgoing = outgoing
        self._size = 0
        self._epoch = ""
        self._received = 0
        self._joined = asyncio.Event()
        self._joining: asyncio.Task[None] | None = None
        self._early: list[frames.RoomPush | frames.RoomState] = []
        self._queue: deque[RoomMessage] = deque()
        self._waiting = Waiting()
        self._end: BaseException | None = None
        self._stopped = False
        self._entered = False

    @property
    def size(self) -> int:
        """How many users are in the room. It follows a change within half a minute."""
        return self._size

    async def __aenter__(self) -> Self:
        """Join.

        Raises:
            RequestRefused: the server refused the join.
            SendTimeout: no answer in 30 seconds.
            ClientClosed: the client has ended.
            RuntimeError: this client is in the room already, or this room was left before.
        """
        if self._entered:
            raise RuntimeError("a room is entered once; make a new one with client.room")
        self._rooms.add(self)
        self._entered = True
        try:
            await self._join(JOIN_TIMEOUT_S)
        except BaseException:
            self._rooms.remove(self)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave. Without a connection, the server notices it after two minutes."""
        self._rooms.remove(self)
        self.close(None)
        if self._joining is not None:
            self._joining.cancel()
        with contextlib.suppress(ClientError):
            await self._outgoing.request(frames.RoomLeave, self.id, timeout=LEAVE_TIMEOUT_S)

    async def send(
        self,
        body: str | bytes,
        *,
        kind: str | None = None,
        priority: PriorityName = "normal",
        client_id: str | None = None,
        timeout: float | None = 30,
    ) -> Sent:
        """Send a message to the room and wait until it is published.

        Arguments and errors are those of `Client.send`. A client that falls behind misses messages
        of ``low`` priority first and of ``high`` priority last.

        Raises:
            ValueError: no such priority.
            RuntimeError: the room was not entered.
        """
        self._check_entered()
        checks.one_of("priority", priority, *_PRIORITIES)
        checks.seconds("timeout", timeout)
        name = checks.text("client_id", client_id or new_client_id())
        kind, data = checks.content(body, kind)
        to, level = ROOM + self.id, _PRIORITIES.index(priority)

        async def publish() -> frames.Accepted:
            return await self._outgoing.request(
                frames.RoomSend, name, to, kind, data, level, timeout=None, client_id=name
            )

        try:
            async with asyncio.timeout(timeout):
                await self._seated()
                try:
                    accepted = await publish()
                except NotAMember:
                    # After a long time away the send may get there before the seat is taken again.
                    if self._joining is None:
                        raise
                    await self._seated()
                    accepted = await publish()
        except TimeoutError:
            raise SendTimeout(name) from None
        return Sent(to, accepted.seq, accepted.id.hex(), accepted.time)

    def signal(self, kind: str, body: str | bytes = b"") -> bool:
        """Send a signal to everybody in the room, this client too; as `Conversation.signal`.

        Raises:
            TypeError: an argument is of a wrong type.
            ValueError: the body is over 4096 bytes, or a text cannot be encoded as UTF-8.
            RuntimeError: the room was not entered.
        """
        self._check_entered()
        return self._outgoing.signal(ROOM + self.id, kind, body)

    async def set(
        self,
        write: Literal["everyone", "admins"],
        *,
        admins: Iterable[str] = (),
        timeout: float | None = 30,
    ) -> None:
        """Create the room, or change who may write in it: ``everyone``, or its ``admins``.

        The creator may always write. The room need not be entered.

        Raises:
            RequestRefused: another user created the room, or it was created by joining it.
            SendTimeout, ClientClosed, TypeError, ValueError: as for `Client.send`.
        """
        checks.one_of("write", write, "everyone", "admins")
        people = tuple(checks.user_ids("admins", admins))
        await self._outgoing.request(frames.RoomSet, self.id, write, people, timeout=timeout)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RoomMessage:
        """Wait for the next message. Safe to cancel.

        Raises:
            RuntimeError: another task is waiting here, or the room was not entered.
            StopAsyncIteration: the room was left, or the client closed.
            ClientError: the client has ended, or could not join again.
        """
        self._check_entered()
        self._waiting.check()
        while not self._queue:
            if self._stopped:
                raise StopAsyncIteration
            if self._end is not None:
                raise self._end
            await self._waiting.wait()
        return self._queue.popleft()

    # --- what the connection brings -----------------------------------------------------------

    def connected(self) -> None:
        """Join again, if it was joined before; an unanswered join is repeated by itself."""
        self._joined.clear()
        if self._epoch and self._joining is None:
            self._joining = asyncio.create_task(self._rejoin())

    def disconnected(self) -> None:
        """Nothing comes until the room is joined again."""
        self._joined.clear()

    def receive(self, frame: frames.RoomPush | frames.RoomState) -> None:
        """Take in a frame. A frame that arrived in the same read as the answer to the join waits
        until the join has returned."""
        if not self._joined.is_set():
            self._early.append(frame)
        elif isinstance(frame, frames.RoomState):
            self._size = frame.members
            self._stands(frame.epoch or self._epoch, frame.seq, frame.kept)
        elif frame.seq > self._received:
            self._past(frame.seq - 1)
            self._received = frame.seq
            self._put(frame)

    def close(self, end: BaseException | None) -> None:
        """Nothing will come any more; iterating raises `end`, or stops."""
        self._end = end
        self._stopped = end is None
        self._joined.set()  # whoever waits to send finds out
        self._waiting.wake()

    # --- inside -------------------------------------------------------------------------------

    def _check_entered(self) -> None:
        if not self._entered:
            raise RuntimeError("use the room as `async with client.room(...) as room`")

    async def _seated(self) -> None:
        await self._joined.wait()
        if self._end is not None:
            raise self._end

    async def _join(self, timeout: float | None) -> None:
        last, epoch, after = MAX_LAST if self._epoch else self._last, self._epoch, self._received
        joined = await self._outgoing.request(
            frames.RoomJoin, self.id, last, epoch, after, timeout=timeout
        )
        # A server that knows less of the epoch came back older: numbers up to `after` come again.
        self._stands(joined.epoch, joined.seq, joined.kept, again=joined.seq < after)
        self._size = joined.members
        self._joined.set()
        early, self._early = self._early, []
        for frame in early:
            self.receive(frame)

    async def _rejoin(self) -> None:
        try:
            await self._join(None)
        except ClientError as error:
            self.close(error)
        except asyncio.CancelledError:
            if self._end is None and not self._stopped:  # nobody here cancelled it
                self.close(ClientClosed("the task that joins the room again was cancelled"))
            raise
        finally:
            self._joining = None

    def _stands(self, epoch: str, seq: int, kept: int | None, *, again: bool = False) -> None:
        """Pushes go on after `seq`, or after what was received, in the numbering `epoch`; after
        `seq` also where this one is used `again`. Numbers of the one before up to `kept` are the
        same in it."""
        if self._epoch and kept is not None and self._received <= kept:
            self._epoch = epoch
        if self._epoch == epoch and not again:
            self._past(seq)
            return
        if self._epoch:
            self._rooms.tell(RoomGap(self.id, None))
        self._epoch, self._received = epoch, seq

    def _past(self, seq: int) -> None:
        """Numbers up to `seq` will not come any more."""
        if seq > self._received:
            self._rooms.tell(RoomGap(self.id, seq - self._received))
            self._received = seq

    def _put(self, frame: frames.RoomPush) -> None:
        inner = frame.message
        self._queue.append(
            RoomMessage(
                inner.id.hex(),
                inner.sender,
                self.id,
                inner.time,
                inner.kind,
                inner.body,
                frame.seq,
                _PRIORITIES[frame.priority],
            )
        )
        if len(self._queue) > BUFFER:
            self._queue.popleft()
            self._rooms.tell(RoomGap(self.id, 1))
        self._waiting.wake()


class Rooms:
    """The open rooms of one client."""

    def __init__(self, outgoing: Outgoing, tell: Callable[[Event], None]) -> None:
        self._outgoing = outgoing
        self.tell = tell
        self._rooms: dict[str, Room] = {}

    def make(self, id: str, last: int) -> Room:
        """A room that is not joined yet."""
        return Room(self, id, last, self._outgoing)

    def add(self, room: Room) -> None:
        """Raises RuntimeError where there is one with this id."""
        if self._rooms.setdefault(room.id, room) is not room:
            raise RuntimeError("this client is in the room already")

    def remove(self, room: Room) -> None:
        """Give it nothing more."""
        self._rooms.pop(room.id, None)

    def connected(self) -> None:
        """Join every room again."""
        for room in self._rooms.values():
            room.connected()

    def disconnected(self) -> None:
        """The connection is gone."""
        for room in self._rooms.values():
            room.disconnected()

    def receive(self, frame: frames.ServerFrame) -> bool:
        """Hand a frame to its room; what is for one that was just left is dropped.

        False where the frame is no room's.
        """
        if not isinstance(frame, frames.RoomPush | frames.RoomState):
            return False
        id = frame.room if isinstance(frame, frames.RoomState) else frame.message.to[2:]
        room = self._rooms.get(id)
        if room is not None:
            room.receive(frame)
        return True

    def close(self, end: BaseException | None) -> None:
        """The client has ended."""
        for room in tuple(self._rooms.values()):
            room.close(end)
