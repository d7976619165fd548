"""The way out of an inbox to one device: pushes, catch-up and acknowledgements.

A push goes straight to the socket while it is the next in line and the window has room. Whenever
that is not so (a hole, a full window, a client that does not read), the session only remembers how
far the inbox goes, and reads pages from it once there is room. So nothing queues here but what is
in flight (G9), and whatever pub/sub dropped is read from the inbox (G3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import structlog

from gateway.payload import Payload
from gateway.redis.errors import OperationFailed, Unavailable
from gateway.security.sealing import UnknownKeyVersion
from gateway.session.services import Services, Wire
from gateway.session.window import Window
from gateway.store.endings import BROKEN_OFF, Cause, End, Loss
from gateway.store.entries import Entry
from gateway.store.errors import AppNotFound
from gateway.store.inbox import PAGE, STALE_MS
from gateway.store.readers import DISPLACED, DeviceState, Reader
from protocol import codec, codes
from protocol.frames import Cursor, Lost
from protocol.limits import WINDOW

FREE_EVERY_S: Final = 5.0
FREE_TRIES: Final = STALE_MS // 5000
"""While the store is away, a session that ended gives its device free again and again, until its
row counts no more anyway: else the user would seem to be here for so long."""

_log = structlog.get_logger("session")


class Delivery:
    """Delivers to `wire` what `attached` says is waiting, and what comes after it.

    `end` closes the session with a code. `blocks` is called at each check, with the number of the
    last change of the user's blockers.
    """

    __slots__ = (
        "_blocks",
        "_checking",
        "_doubts",
        "_end",
        "_ended",
        "_gap",
        "_loss",
        "_reader",
        "_reading",
        "_save_waits",
        "_saved",
        "_seen_ms",
        "_services",
        "_settled",
        "_since_ms",
        "_window",
        "_wire",
    )

    def __init__(
        self,
        services: Services,
        wire: Wire,
        reader: Reader,
        attached: DeviceState,
        end: Callable[[codes.CloseCode], None],
        blocks: Callable[[int], None],
    ) -> None:
        self._services = services
        self._wire = wire
        self._reader = reader
        self._end = end
        self._blocks = blocks
        self._window = Window(attached.cursor, attached.top)
        self._saved = attached.cursor.seq
        self._seen_ms = attached.seen_ms
        self._since_ms = attached.since_ms
        self._save_waits = False
        self._reading = False
        self._checking = False
        self._doubts = 0
        self._settled = 0
        # What the client was told of and the store has not noted; noted with the next save.
        self._loss: Loss | None = None
        if attached.lost is not None:
            self._loss = Loss(services.clock.wall_ms(), *attached.lost)
        self._gap = 0  # where the hole ends that was found and not filled yet; 0: there is none
        self._ended = False

    # -- from the inbox to the client ----------------------------------------------------------

    def start(self, entries: list[Entry], top: int) -> None:
        """Push what attaching brought along. `top` is the highest number heard of meanwhile."""
        self._window.top = max(self._window.top, top)
        try:
            self._push_entries(entries)
        except UnknownKeyVersion as error:
            self._unreadable(error)
        self.catch_up()

    def stored(self, seq: int, ms: int, push: Payload) -> None:
        """Number `seq` was stored; `push` is what to send for it."""
        window = self._window
        if seq == window.sent + 1 and self._can_push() and not self._reading:
            window.pushed(seq, ms)
            self._services.counts.delivered += 1
            self._wire.send(push)
            if window.behind:  # reading was put off
                self.catch_up()
        elif seq > window.top:
            if seq > window.top + 1:
                self._found_gap(seq - 1)
            window.top = seq
            self.catch_up()

    def _found_gap(self, last: int) -> None:
        """Numbers up to `last` were stored, and pub/sub did not deliver them."""
        if not self._gap:
            self._services.counts.gaps_found += 1
        self._gap = last

    def _healed(self) -> None:
        """There is no hole, or no longer."""
        if self._gap:
            self._gap = 0
            self._services.counts.gaps_healed += 1

    def use(self, wire: Wire) -> None:
        """Push to `wire` from now on."""
        self._wire = wire

    def catch_up(self) -> None:
        """Read from the inbox if it is ahead of what was pushed, and there is room."""
        if self._window.behind and self._can_push() and not self._reading:
            self._reading = True
            self._services.tasks.spawn(self._read(), self._fault)

    def _can_push(self) -> bool:
        return (
            self._window.room > 0
            and not self._wire.congested
            and self._doubts == self._settled
            and not self._ended
        )

    async def _read(self) -> None:
        reader, window = self._reader, self._window
        try:
            while window.behind and self._can_push():
                app = self._services.directory.known(reader.app_id)
                self._services.counts.catch_up_reads += 1
                entries = await self._services.inboxes.page(
                    reader.app_id,
                    app.tier,
                    reader.user,
                    window.cursor,
                    self._services.clock.wall_ms(),
                    min(PAGE, window.room),
                )
                if self._ended:
                    return
                if entries:
                    self._push_entries(entries)
                else:
                    await self._nothing_left()
                if window.sent >= self._gap:
                    self._healed()
        except (Unavailable, AppNotFound) as error:
            # Not given up: a reconnect, the next message and the regular check each try again.
            _log.info("catch_up_put_off", session=reader.session, reason=type(error).__name__)
        except UnknownKeyVersion as error:
            self._unreadable(error)
        finally:
            self._reading = False

    def _push_entries(self, entries: list[Entry]) -> None:
        reader, window = self._reader, self._window
        app = self._services.directory.known(reader.app_id)
        now_ms, gone = self._services.clock.wall_ms(), None
        counts = self._services.counts
        for entry in entries:
            if entry.seq <= window.sent:
                continue
            if not self._can_push():
                return
            if entry.expired(now_ms):
                gone = entry
                continue
            if entry.seq > window.sent + 1:
                self._say_lost(entry.seq - 1, entry.ms)
            push = self._services.records.push(app, reader.user, entry.seq, entry.ms, entry.record)
            window.pushed(entry.seq, entry.ms)
            counts.delivered += 1
            if entry.ms <= self._seen_ms:
                counts.redeliveries += 1
            self._wire.send(push)
            gone = None
        if gone is not None:  # else the next message says that it is lost
            self._say_lost(gone.seq, gone.ms)

    async def _nothing_left(self) -> None:
        """Something was announced and is not there: it went by age or cap, or Redis lost it."""
        window = self._window
        checked = await self._compare()
        if checked is None:
            return
        top, top_ms = checked
        window.top = max(top, window.sent)
        if window.behind:
            # Only if it is still so: something may have been stored since the page was read.
            page = await self._services.inboxes.page(
                self._reader.app_id,
                self._services.directory.known(self._reader.app_id).tier,
                self._reader.user,
                window.cursor,
                self._services.clock.wall_ms(),
                1,
            )
            if not page and not self._ended:
                self._say_lost(top, top_ms)

    def _say_lost(self, last: int, ms: int) -> None:
        first = self._window.sent + 1
        self._loss = Loss(self._services.clock.wall_ms(), first, last)
        self._window.pushed(last, ms)
        self._wire.send(Payload(codec.encode(Lost(first, last))))

    def _unreadable(self, error: UnknownKeyVersion) -> None:
        """With the right key file it can be read: so it stays, and this session does not go on."""
        _log.error("key_missing", version=error.version)
        self._end(codes.STORE_UNAVAILABLE)

    # -- is it still right? --------------------------------------------------------------------

    def doubt(self) -> None:
        """Push nothing until `check` has found that the numbers still mean what they did.

        Redis may have come back older. Then numbers this client has seen are given again, and the
        one that follows its last would look as if nothing were missing between them.
        """
        self._doubts += 1

    def check(self, issued_ms: Callable[[], int]) -> None:
        """Compare with the store: after a reconnect, and now and then (a lost publish).

        `issued_ms` tells when the session's token was issued, in milliseconds.
        """
        if not self._checking and not self._ended:
            self._checking = True
            self._services.tasks.spawn(self._check(issued_ms), self._fault)

    async def _check(self, issued_ms: Callable[[], int]) -> None:
        try:
            while True:
                doubts = self._doubts
                checked = await self._compare(issued_ms)
                if doubts == self._doubts:
                    break  # else the answer may be older than the newest doubt
        except Unavailable:
            return  # the reconnect checks again
        finally:
            self._checking = False
        if checked is not None:
            self._settled = doubts
            if checked[0] > self._window.top:
                self._found_gap(checked[0])
                self._window.top = checked[0]
            self.catch_up()
            self._save_ack()

    async def _compare(self, issued_ms: Callable[[], int] | None = None) -> tuple[int, int] | None:
        """The inbox's top as (seq, ms), or None where this session had to end."""
        reader = self._reader
        checked = await self._services.inboxes.check(
            reader, self._window.cursor, self._since_ms, self._services.clock.wall_ms()
        )
        if self._ended:
            return None
        if checked.holder == DISPLACED:
            self._end(codes.DEVICE_LIMIT)
        elif checked.holder not in ("", reader.session):
            self._end(codes.REPLACED)
        elif issued_ms is not None and issued_ms() < checked.revoked_before_ms:
            self._end(codes.REVOKED)
        elif checked.epoch != self._window.epoch:
            # Redis came back older than what was pushed. Connecting again sorts it out.
            self._end(codes.STORE_UNAVAILABLE)
        else:
            self._blocks(checked.block_change)
            return checked.top, checked.top_ms
        return None

    # -- acknowledgements ----------------------------------------------------------------------

    def ack(self, seq: int) -> None:
        """The client has dealt with everything up to `seq`.

        Raises:
            AckAhead: it was never sent here.
        """
        acked = self._window.ack(seq)
        if not acked:
            return
        self._services.counts.acked += acked
        if not self._save_waits and not self._reader.ephemeral:  # its acks only free the window
            self._save_waits = True
            self._services.saving.later(self._save_due)
        # Reading a page for every acknowledged message would read each message many times.
        if self._window.room >= WINDOW // 2:
            self.catch_up()

    def _save_due(self) -> None:
        self._save_waits = False
        if not self._ended:  # the end has saved it
            self._save_ack()

    def _save_ack(self, end: End | None = None, tries: int = FREE_TRIES) -> None:
        if self._reader.ephemeral and end is None:
            return
        acked = self._window.acked
        if acked.seq <= self._saved:
            if end is None:
                return
            # Where it began may lie behind a loss that the client was told of, or was about to be:
            # only what it acknowledges itself may move its cursor.
            acked = Cursor(self._window.epoch, 0, 0)
        reader = self._reader
        try:
            tier = self._services.directory.known(reader.app_id).tier
        except AppNotFound:
            return  # its inboxes are being deleted
        before, self._saved = self._saved, max(acked.seq, self._saved)
        loss, self._loss = self._loss, None
        self._services.inboxes.ack(
            partial(self._was_saved, before, loss, end, tries),
            reader,
            tier,
            acked,
            self._services.clock.wall_ms(),
            end,
            loss,
        )

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

    def stop(self, cause: Cause = BROKEN_OFF) -> None:
        """Push no more; save what was acknowledged and give the device free."""
        self._ended = True
        # What is missing lies in the inbox, behind the device's cursor: connecting again reads it.
        self._healed()
        self._save_ack(End(self._services.clock.wall_ms(), cause))

    def _fault(self) -> None:
        self._end(codes.INTERNAL_ERROR)
