"""The consumer of the inbox: hands out messages, sends acks, keeps the cursor file."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from homeport import frames
from homeport.client.connection import Connection
from homeport.client.cursor import CursorFile, Position
from homeport.client.errors import ClientClosed, CursorFileForeign, CursorNotSaved
from homeport.client.events import CursorUnsaved, Event, Lost, Reset
from homeport.client.inbox import Inbox
from homeport.client.loop import OwnLoop
from homeport.client.message import Message
from homeport.client.owner import Owner
from homeport.client.reading import Waiting
from homeport.codec import encode
from homeport.frames import Cursor
from homeport.limits import WINDOW

_log = logging.getLogger("homeport.client")

ACK_EVERY_S: Final = 0.5
"""An ack leaves no more often than this, in seconds, unless half of the window is unacknowledged.

An ack costs a gateway as much as a push. What it saves is some repetition, for a device that comes
back without its cursor."""

SAVE_EVERY_S: Final = 1.0
"""A cursor file is written no more often than this, in seconds."""


class Consumer:
    """An `Inbox` with a connection, a waiting reader and a cursor file.

    `handed` is called with each message that the reader is handed, `tell` with a `CursorUnsaved` or
    a `ConversationReset`.
    """

    def __init__(
        self,
        own_loop: OwnLoop,
        device: str,
        cursor: Cursor | CursorFile | None,
        auto_ack: bool,
        handed: Callable[[Message], None],
        tell: Callable[[Event], None],
    ) -> None:
        self._own_loop = own_loop
        self._device = device
        self._owner: Owner | None = None
        self._file: CursorFile | None = None
        if isinstance(cursor, CursorFile):
            self._file = cursor
            cursor = self._load(cursor)
        self._inbox = Inbox(cursor)
        self._auto_ack = auto_ack
        self._handed = handed
        self._tell = tell
        self._connection: Connection | None = None
        self._half_window = WINDOW // 2
        self._waiting = Waiting()
        self._ack_planned: asyncio.TimerHandle | None = None
        self._save_planned: asyncio.TimerHandle | None = None
        self._unsaved = False  # the last try failed
        self._end: BaseException | None = None
        self._stopped = False

    @property
    def cursor(self) -> Cursor | None:
        """The last acknowledged position."""
        return self._inbox.cursor

    @property
    def user(self) -> str:
        """The connected user's id; "" before the first connection."""
        return self._inbox.user

    def admit(self, owner: Owner) -> None:
        """Check that the cursor file is `owner`'s.

        Raises:
            CursorFileForeign: it is another's.
        """
        if self._file is not None and self._owner is not None:
            differs = self._owner.differs(owner)
            if differs is not None:
                raise CursorFileForeign(self._file.path, differs)

    # --- what the connection brings -----------------------------------------------------------

    def connected(
        self, connection: Connection, frame: frames.Connected, owner: Owner
    ) -> list[Reset | Lost]:
        """Take pushes from `connection`, as `owner`'s, from now on.

        Returns the events to report to the caller. The first connection saves the cursor file at
        once, so that an unwritable folder is noticed before anything is acknowledged.

        Raises:
            CursorNotSaved: it can't be saved.
        """
        first, self._owner = not self._inbox.user, owner
        self._connection = connection
        self._half_window = max(1, frame.limits.window // 2)
        events = self._inbox.connected(frame)
        if first:
            self._save()
        else:
            self._plan_save()
        return events

    def disconnected(self) -> None:
        """Keep what has been received; acks wait for the next connection."""
        self._connection = None

    def push(self, frame: frames.Push) -> None:
        """Take in a message. Raises `OutOfOrder`."""
        if self._inbox.push(frame):
            self._waiting.wake()
        else:
            self._plan_ack()  # it may have been acknowledged before it was pushed again

    def reset(self, frame: frames.Reset) -> None:
        """Take in a reset; it is told when all messages before it are handed out. Raises
        `OutOfOrder`."""
        if self._inbox.reset(frame):
            self._pass_resets()
        else:
            self._plan_ack()

    def lost(self, frame: frames.Lost) -> list[Lost]:
        """Skip a range. Raises `OutOfOrder`; returns the event to report to the caller."""
        return self._inbox.lost(frame)

    # --- what the caller does -----------------------------------------------------------------

    async def next(self) -> Message:
        """Wait for the next message and hand it out. Safe to cancel.

        Raises:
            RuntimeError: another task is waiting here, the client was not entered, or this is
                another event loop.
            StopAsyncIteration: the caller closed the client.
            Exception: the error that ended the client.
        """
        self._own_loop.check()
        self._waiting.check()
        if self._auto_ack and self._inbox.ack_taken():
            self._cursor_moved()
        self._pass_resets()
        while self._stopped or (message := self._inbox.take()) is None:
            if self._stopped:
                raise StopAsyncIteration
            if self._end is not None:
                raise self._end
            await self._waiting.wait()
        self._handed(message)
        return message

    def ack(self, message: Message) -> None:
        """Acknowledge `message` and all before it; raises as `Client.ack` does."""
        if self._stopped:
            raise ClientClosed("the client was closed, so nothing can be acknowledged any more")
        if self._inbox.ack(message):
            self._cursor_moved()

    def flush(self) -> None:
        """Write the outstanding ack, and the cursor file.

        Raises:
            CursorNotSaved: the cursor file can't be written.
        """
        self._send_ack()
        if self._save_planned is not None:
            self._save_planned.cancel()
            self._save_planned = None
            self._save()

    def close(self, end: BaseException | None) -> None:
        """Nothing will come any more.

        The iteration stops if `end` is None. Else it raises `end` when all is handed out.
        """
        self._connection = None
        if self._ack_planned is not None:
            self._ack_planned.cancel()
            self._ack_planned = None
        self._end = end
        self._stopped = end is None
        self._waiting.wake()

    # --- inside -------------------------------------------------------------------------------

    def _pass_resets(self) -> None:
        for event in self._inbox.pass_resets():
            self._tell(event)
            self._cursor_moved()  # it has, or will with an ack

    def _cursor_moved(self) -> None:
        self._plan_ack()
        self._plan_save()

    def _plan_ack(self) -> None:
        """Soon, with all that is dealt with until then; or now, where half a window is."""
        if self._inbox.ack_size >= self._half_window:
            self._send_ack()
            if self._connection is not None:
                self._connection.flush()
        elif self._ack_planned is None and not self._stopped:
            self._ack_planned = _later(ACK_EVERY_S, self._send_ack)

    def _send_ack(self) -> None:
        if self._ack_planned is not None:
            self._ack_planned.cancel()
            self._ack_planned = None
        if self._connection is not None and (number := self._inbox.ack_due()) is not None:
            self._connection.write(encode(frames.Ack(number)))

    def _plan_save(self) -> None:
        if self._file is not None and self._save_planned is None and not self._stopped:
            self._save_planned = _later(SAVE_EVERY_S, self._save_or_tell)

    def _load(self, file: CursorFile) -> Cursor | None:
        position = file.load()
        if position is None:
            return None
        if position.device != self._device:
            raise CursorFileForeign(file.path, "device")
        self._owner = Owner(position.app, position.user)
        return position.cursor

    def _save_or_tell(self) -> None:
        self._save_planned = None
        try:
            self._save()
            self._unsaved = False
        except CursorNotSaved as error:
            if not self._unsaved:
                _log.error("%s", error)
                self._tell(CursorUnsaved(error.path, error.reason))
            self._unsaved = True
            self._plan_save()

    def _save(self) -> None:
        """It takes some milliseconds of disk, at most once per second: not worth a thread."""
        if self._file is not None and self._owner is not None and self._inbox.cursor is not None:
            owner = self._owner
            self._file.save(Position(owner.app, owner.user, self._device, self._inbox.cursor))


def _later(seconds: float, action: Callable[[], None]) -> asyncio.TimerHandle:
    return asyncio.get_running_loop().call_later(seconds, action)
