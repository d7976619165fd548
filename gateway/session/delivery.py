"""The way out of an inbox to one device: pushes, and catch-up.

A push goes straight to the socket while it is the next in line and the window has room. Whenever
that is not so (a hole, a full window, a client that does not read, a push that came late), the
session only remembers how far the inbox goes, and reads pages from it once there is room. So
nothing queues here but what is in flight (G9), and whatever pub/sub dropped is read from the inbox
(G3). A page that is too old as it comes is read again: what it holds may have been recalled since.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

import structlog
from homeport import codec, codes
from homeport.frames import Lost
from homeport.limits import WINDOW

from gateway.redis.errors import Unavailable
from gateway.security.sealing import UnknownKeyVersion
from gateway.session.counts import Counts
from gateway.session.hold import DeviceHold
from gateway.session.inboxes import Page, SessionInboxes
from gateway.session.wire import Wire
from gateway.store.endings import BROKEN_OFF, Cause
from gateway.store.errors import AppNotFound
from gateway.store.inbox import PAGE
from gateway.store.readers import Revocations
from gateway.tasks import Tasks

READS: Final = 3
"""How often one page is read before it is put off, because each time the answer took too long."""

_log = structlog.get_logger()


class DeliveryState(Enum):
    """What a delivery does with a message that is stored now."""

    PUSHING = auto()
    """It is pushed, if it is the next in line and there is room; nothing reads."""

    READING = auto()
    """It is left to the task that reads pages and pushes what they hold."""

    DOUBTING = auto()
    """It stays in the inbox: what was pushed may be void, until a check says that it is not."""

    HALTING = auto()
    """The same, and a page is still on its way, of which nothing is pushed."""

    ENDED = auto()
    """It stays in the inbox, for the device's next session."""


class DeliveryEvent(Enum):
    """What moves a delivery from one state to another."""

    READ = auto()
    """There is something to read and room for it: a task begins to read."""

    READ_OVER = auto()
    """That task has ended, however it did."""

    DOUBT = auto()
    """Redis was away, and may have come back older."""

    SETTLED = auto()
    """A check has found that the numbers still mean what they did."""

    END = auto()
    """The session has ended."""


_PUSHING: Final = DeliveryState.PUSHING
_READING: Final = DeliveryState.READING
_DOUBTING: Final = DeliveryState.DOUBTING
_HALTING: Final = DeliveryState.HALTING
_ENDED: Final = DeliveryState.ENDED
_READ: Final = DeliveryEvent.READ
_READ_OVER: Final = DeliveryEvent.READ_OVER
_DOUBT: Final = DeliveryEvent.DOUBT
_SETTLED: Final = DeliveryEvent.SETTLED
_END: Final = DeliveryEvent.END

TRANSITIONS: Final[dict[DeliveryState, dict[DeliveryEvent, DeliveryState]]] = {
    _PUSHING: {
        _READ: _READING,
        # _READ_OVER: nothing reads
        _DOUBT: _DOUBTING,
        _SETTLED: _PUSHING,  # a check is made now and then, without a doubt too
        _END: _ENDED,
    },
    _READING: {
        # _READ: one task reads at a time
        _READ_OVER: _PUSHING,
        _DOUBT: _HALTING,
        _SETTLED: _READING,
        _END: _ENDED,
    },
    _DOUBTING: {
        # _READ: what is read could not be pushed
        # _READ_OVER: nothing reads
        _DOUBT: _DOUBTING,
        _SETTLED: _PUSHING,
        _END: _ENDED,
    },
    _HALTING: {
        # _READ: one task reads at a time
        _READ_OVER: _DOUBTING,
        _DOUBT: _HALTING,
        _SETTLED: _READING,
        _END: _ENDED,
    },
    _ENDED: {
        # _READ: what is read could not be pushed
        _READ_OVER: _ENDED,  # the task finds out when its page comes
        _DOUBT: _ENDED,  # from a hub that had the session in hand
        # _SETTLED: the answer to a check is not looked at after the end
        # _END: a session ends once
    },
}
"""By state and event, the next state. A pair that is not here can't happen, for the reason that
stands in its place."""


class Delivery:
    """Delivers to `wire` what is in the inbox of the reader who has `hold`, and what comes after.

    `seen_ms` is when an earlier session of the device was seen last: what is older may have been
    pushed before, and is counted. `end` closes the session with a code. `state` is to be read only.
    """

    __slots__ = (
        "_counts",
        "_end",
        "_gap",
        "_hold",
        "_inboxes",
        "_reader",
        "_seen_ms",
        "_tasks",
        "_window",
        "_wire",
        "state",
    )

    def __init__(
        self,
        inboxes: SessionInboxes,
        counts: Counts,
        tasks: Tasks,
        wire: Wire,
        hold: DeviceHold,
        end: Callable[[codes.CloseCode], None],
        *,
        seen_ms: int,
    ) -> None:
        self._inboxes = inboxes
        self._counts = counts
        self._tasks = tasks
        self._wire = wire
        self._reader = hold.reader
        self._end = end
        self._window = hold.window
        self._hold = hold
        self._seen_ms = seen_ms
        self._gap = 0  # where the hole ends that was found and not filled yet; 0: there is none
        self.state = _PUSHING

    def _happened(self, event: DeliveryEvent) -> None:
        self.state = TRANSITIONS[self.state][event]

    # -- from the inbox to the client ----------------------------------------------------------

    def start(self, page: Page, top: int) -> None:
        """Push what attaching brought along. `top` is the highest number heard of meanwhile."""
        self._window.top = max(self._window.top, top)
        if self._inboxes.fresh(page):
            try:
                self._push_page(page)
            except UnknownKeyVersion as error:
                self._unreadable(error)
        self.catch_up()

    def stored(self, number: int, ms: int, push: bytes | None) -> None:
        """The inbox goes up to `number`, which was stored at `ms`; `push` is what to send for it,
        None where that is to be read."""
        window = self._window
        if (
            push is not None
            and number == window.sent + 1
            and self.state is _PUSHING
            and self._has_room()
        ):
            window.pushed(number, ms)
            self._counts.delivered += 1
            self._wire.send(push)
            if window.behind:  # reading was put off
                self.catch_up()
        elif number > window.top:
            if number > window.top + 1:
                self._found_gap(number - 1)
            window.top = number
            self.catch_up()

    def _found_gap(self, last: int) -> None:
        """Numbers up to `last` were stored, and pub/sub did not deliver them."""
        if not self._gap:
            self._counts.gaps_found += 1
        self._gap = last

    def _healed(self) -> None:
        """There is no hole, or no longer."""
        if self._gap:
            self._gap = 0
            self._counts.gaps_healed += 1

    def use(self, wire: Wire) -> None:
        """Push to `wire` from now on."""
        self._wire = wire

    def catch_up(self) -> None:
        """Read from the inbox if it is ahead of what was pushed, and there is room."""
        if self._window.behind and self.state is _PUSHING and self._has_room():
            self._happened(_READ)
            self._tasks.spawn(self._read(), self._fault)

    def _has_room(self) -> bool:
        return self._window.room > 0 and not self._wire.congested

    def _may_push(self) -> bool:
        return (self.state is _PUSHING or self.state is _READING) and self._has_room()

    async def _read(self) -> None:
        window = self._window
        try:
            while window.behind and self._may_push():
                announced = window.top
                page = await self._fresh_page()
                if self.state is _ENDED:
                    return
                if page.epoch != window.epoch or page.top < announced:
                    await self._nothing_there()
                else:
                    self._push_page(page)
                if window.sent >= self._gap:
                    self._healed()
        except (Unavailable, AppNotFound) as error:
            # Not given up: a reconnect, the next message and the regular check each try again.
            _log.info("catch_up_put_off", session=self._reader.session, reason=type(error).__name__)
        except UnknownKeyVersion as error:
            self._unreadable(error)
        finally:
            self._happened(_READ_OVER)

    async def _fresh_page(self) -> Page:
        """What comes next, as it was a moment ago.

        Raises:
            Unavailable: Redis is away, or answers too slowly.
        """
        window = self._window
        for _ in range(READS):
            self._counts.catch_up_reads += 1
            page = await self._inboxes.page(self._reader, window.sent, min(PAGE, window.room))
            if self._inboxes.fresh(page) or self.state is _ENDED:
                return page
        raise Unavailable("late")

    async def _nothing_there(self) -> None:
        """Numbers were announced that the inbox does not have: is it still the same?"""
        window = self._window
        window.top = window.sent  # what is announced from here on may be newer than the answer
        top = await self._hold.compare()
        if top is not None:
            window.top = max(window.top, top)

    def _push_page(self, page: Page) -> None:
        window, counts, seen_ms = self._window, self._counts, self._seen_ms
        gone, gone_ms = page.here, 0
        for waiting in page.waiting:
            number, _, _, ms, *_ = waiting.reference
            if number <= window.sent:
                continue
            if not self._may_push():
                return
            payload = self._inboxes.payload(self._reader, waiting)
            if payload is None:
                gone, gone_ms = number, ms
                continue
            if gone > window.sent:
                self._say_gone(gone, gone_ms)
                if not self._may_push():
                    return
            window.pushed(number, ms)
            if waiting.message is not None:  # else it is a reset
                counts.delivered += 1
                counts.redeliveries += ms <= seen_ms
            self._wire.send(payload)
        self._say_gone(gone, gone_ms)

    def _say_gone(self, last: int, ms: int) -> None:
        """All that was not pushed up to number `last` is gone, and said to be lost. `ms` is the
        time of the last reference, 0 where the inbox has none any more."""
        window = self._window
        first = window.sent + 1
        if first <= last and self._may_push():
            self._hold.note_loss(first, last)
            window.pushed(last, ms)
            self._wire.send(codec.encode(Lost(first, last)))

    def _unreadable(self, error: UnknownKeyVersion) -> None:
        """With the right key file it can be read: so it stays, and this session does not go on."""
        _log.error("key_missing", version=error.version)
        self._end(codes.STORE_UNAVAILABLE)

    # -- what else happens ---------------------------------------------------------------------

    def ack(self, number: int) -> None:
        """The client has dealt with everything up to `number`.

        Raises:
            AckAhead: it was never sent here.
        """
        acked = self._window.ack(number)
        if not acked:
            return
        self._counts.acked += acked
        self._hold.acked()
        # Reading a page for every acknowledged message would read each message many times.
        if self._window.room >= WINDOW // 2:
            self.catch_up()

    def doubt(self) -> None:
        """Push nothing until `check` has found that the numbers still mean what they did.

        Redis may have come back older. Then numbers this client has seen are given again, and the
        one that follows its last would look as if nothing were missing between them.
        """
        self._happened(_DOUBT)
        self._hold.doubt()

    def check(self, revoked_by: Callable[[Revocations], bool]) -> None:
        """Compare with the store; see `DeviceHold.check`."""
        self._hold.check(revoked_by, self.settled)

    def settled(self, top: int) -> None:
        """The numbers mean what they did, and the inbox goes up to `top`."""
        self._happened(_SETTLED)
        if top > self._window.top:
            self._found_gap(top)
            self._window.top = top
        self.catch_up()

    def stop(self, cause: Cause = BROKEN_OFF) -> None:
        """Push no more; save what was acknowledged and give the device free."""
        self._happened(_END)
        # What is missing lies in the inbox, behind the device's cursor: connecting again reads it.
        self._healed()
        self._hold.release(cause)

    def _fault(self) -> None:
        self._end(codes.INTERNAL_ERROR)
