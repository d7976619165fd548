"""A session's hold on its device: its acknowledgements are saved, the hold is checked against the
store now and then, and given up at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import Any, Final

from homeport import codes
from homeport.frames import Cursor

from gateway.redis.errors import OperationFailed, Unavailable
from gateway.session.inboxes import Attached, SessionInboxes
from gateway.session.saving import Saving
from gateway.session.window import Window
from gateway.store.endings import BROKEN_OFF, Cause, End, Loss
from gateway.store.errors import AppNotFound
from gateway.store.inbox import STALE_MS
from gateway.store.readers import DISPLACED, Progress, Reader, Revocations
from gateway.tasks import Tasks

FREE_EVERY_S: Final = 5.0
FREE_TRIES: Final = STALE_MS // 5000
"""While the store is away, a session that ended gives its device free again and again, until its
row counts no more anyway: else the user would seem to be here for so long."""


class _Check(Enum):
    """How far a check is."""

    NONE = auto()
    ASKED = auto()
    OUTDATED = auto()
    """Asked, and a doubt came since: the answer may be older than the doubt."""


class DeviceHold:
    """The hold that `attached` gave `reader`, which is a session of the device.

    `window` is what the session was pushed and has acknowledged: its delivery goes by it too. `end`
    closes the session with a code. `blocks` is called at each check, with the number of the
    last change of the user's blockers.
    """

    __slots__ = (
        "_blocks",
        "_check",
        "_end",
        "_inboxes",
        "_loss",
        "_released",
        "_save_waits",
        "_saved",
        "_saving",
        "_since_ms",
        "_tasks",
        "reader",
        "window",
    )

    def __init__(
        self,
        inboxes: SessionInboxes,
        saving: Saving,
        tasks: Tasks,
        reader: Reader,
        attached: Attached,
        *,
        end: Callable[[codes.CloseCode], None],
        blocks: Callable[[int], None],
    ) -> None:
        self._inboxes = inboxes
        self._saving = saving
        self._tasks = tasks
        self.reader = reader
        self._end = end
        self._blocks = blocks
        self.window = Window(attached.cursor, attached.top)
        self._saved = attached.cursor.number
        self._since_ms = attached.since_ms
        self._save_waits = False
        self._check = _Check.NONE
        # What the client was told of and the store has not noted; noted with the next save.
        self._loss: Loss | None = None
        if attached.lost is not None:
            self._loss = Loss(inboxes.now_ms(), *attached.lost)
        self._released = False

    # -- is it still right? --------------------------------------------------------------------

    def doubt(self) -> None:
        """Redis may have come back older: what a check finds must be from after this."""
        if self._check is _Check.ASKED:
            self._check = _Check.OUTDATED

    def check(
        self, revoked_by: Callable[[Revocations], bool], settled: Callable[[int], None]
    ) -> None:
        """Compare with the store: after a reconnect, and now and then (a lost publish).

        `revoked_by` tells whether the session's token is among those that are void. `settled` is
        called with the inbox's top, if all is right.
        """
        if self._check is _Check.NONE and not self._released:
            self._check = _Check.ASKED
            self._tasks.spawn(self._compare_all(revoked_by, settled), self._fault)
        else:
            self.doubt()  # what is looked for may have come after the question

    async def _compare_all(
        self, revoked_by: Callable[[Revocations], bool], settled: Callable[[int], None]
    ) -> None:
        try:
            checked = await self.compare(revoked_by)
            while self._check is _Check.OUTDATED:
                self._check = _Check.ASKED
                checked = await self.compare(revoked_by)
        except Unavailable:
            return  # the reconnect checks again
        finally:
            self._check = _Check.NONE
        if checked is not None and not self._released:
            settled(checked)
            self._save_ack()

    async def compare(self, revoked_by: Callable[[Revocations], bool] | None = None) -> int | None:
        """Ask the store: the inbox's last number, or None where this session had to end.

        Raises:
            Unavailable: Redis is away.
        """
        reader = self.reader
        checked = await self._inboxes.check(reader, self.window.cursor, self._since_ms)
        if self._released:
            return None
        if checked.holder == DISPLACED:
            self._end(codes.DEVICE_LIMIT)
        elif checked.holder not in ("", reader.session):
            self._end(codes.REPLACED)
        elif revoked_by is not None and revoked_by(checked.revoked):
            self._end(codes.REVOKED)
        elif checked.epoch != self.window.epoch:
            # Redis came back older than what was pushed. Connecting again sorts it out.
            self._end(codes.STORE_UNAVAILABLE)
        else:
            self._blocks(checked.block_change)
            return checked.top
        return None

    # -- acknowledgements ----------------------------------------------------------------------

    def acked(self) -> None:
        """The client has acknowledged something: save it soon."""
        if not self._save_waits and not self.reader.ephemeral:  # its acks only free the window
            self._save_waits = True
            self._saving.later(self._save_due)

    def note_loss(self, first: int, last: int) -> None:
        """The client was told that the numbers from `first` to `last` are lost: note it."""
        self._loss = Loss(self._inboxes.now_ms(), first, last)

    def _save_due(self) -> None:
        self._save_waits = False
        if not self._released:  # the release has saved it
            self._save_ack()

    def _save_ack(self, end: End | None = None, tries: int = FREE_TRIES) -> None:
        if self.reader.ephemeral and end is None:
            return
        acked = self.window.acked
        if acked.number <= self._saved:
            if end is None:
                return
            # Where it began may lie behind a loss that the client was told of, or was about to be:
            # only what it acknowledges itself may move its cursor.
            acked = Cursor(self.window.epoch, 0, 0)
        before, self._saved = self._saved, max(acked.number, self._saved)
        loss, self._loss = self._loss, None
        saved = partial(self._was_saved, before, loss, end, tries)
        with contextlib.suppress(AppNotFound):  # its inboxes are being deleted
            self._inboxes.ack(saved, self.reader, Progress(acked, end, loss))

    def _was_saved(
        self, before: int, loss: Loss | None, end: End | None, tries: int, answer: Any
    ) -> None:
        if isinstance(answer, OperationFailed):
            # The next acknowledgement, or the check after the reconnect, says it again.
            self._saved = min(self._saved, before)
            self._loss = self._loss or loss
            if end is not None and tries:
                loop = asyncio.get_running_loop()
                loop.call_later(FREE_EVERY_S, self._save_ack, end, tries - 1)

    # -- the end -------------------------------------------------------------------------------

    def release(self, cause: Cause = BROKEN_OFF) -> None:
        """Save what was acknowledged and give the device free."""
        self._released = True
        self._save_ack(End(self._inboxes.now_ms(), cause))

    def _fault(self) -> None:
        self._end(codes.INTERNAL_ERROR)
