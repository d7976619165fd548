"""A delivery of an inbox that answers when the test says so."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, cast

from homeport import codec, codes
from homeport.frames import Cursor, Reset

from gateway.session.counts import Counts
from gateway.session.delivery import Delivery, DeliveryState
from gateway.session.hold import DeviceHold
from gateway.session.inboxes import Attached, Page, SessionInboxes
from gateway.session.saving import Saving
from gateway.session.wire import Wire
from gateway.store.inbox import Waiting
from gateway.store.lateness import FRESH_MS
from gateway.store.readers import Checked, Reader, Revocations
from gateway.store.stored import Reference, StoredMessage
from gateway.tasks import Tasks
from tests.harness import FakeClock, until

START = 4
"""The number after which the delivery goes on."""


def kept(number: int) -> Waiting:
    """A number whose message can be shown: the text of the number."""
    message = StoredMessage(number, number * 10, number, 0, 1, None, b"%d" % number)
    return Waiting(Reference(number, "ann", number, number * 10, 1, hole=False), message)


def gone(number: int) -> Waiting:
    """A number of which nothing is left."""
    return Waiting(Reference(number, "ann", number, number * 10, 1, hole=False), None)


def hole(number: int, seq: int) -> Waiting:
    """A number that says that the conversation with ann is another above `seq`."""
    return Waiting(Reference(number, "ann", seq, number * 10, 0, hole=True), None)


def page(
    *numbers: int | Waiting,
    here: int | None = None,
    top: int | None = None,
    epoch: str = "e",
    asked: float = 1000.0,
) -> Page:
    """A page with these numbers, which are kept unless they are something else already.

    It begins after `here`, or right before the first; `top` is the last, unless it is said.
    """
    waiting = [kept(each) if isinstance(each, int) else each for each in numbers]
    if here is None:
        here = waiting[0].reference.number - 1
    if top is None:
        top = waiting[-1].reference.number if waiting else here
    return Page(epoch, top, here, waiting, asked)


class Line:
    """A wire that keeps what it is given."""

    def __init__(self) -> None:
        self.congested = False
        self.sent: list[bytes] = []

    def send(self, payload: bytes) -> None:
        """See `Wire`."""
        self.sent.append(payload)


class Inbox:
    """An inbox that owes answers: of pages, and of checks. `asked` are the numbers after which
    pages were asked for, and how many."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.pages: deque[asyncio.Future[Page]] = deque()
        self.checks: deque[asyncio.Future[Checked]] = deque()
        self.asked: list[tuple[int, int]] = []
        self.saved: list[Any] = []

    async def page(self, _: Reader, after: int, most: int) -> Page:
        """As `SessionInboxes.page`."""
        self.asked.append((after, most))
        self.pages.append(asyncio.get_running_loop().create_future())
        return await self.pages[-1]

    async def check(self, *_: Any) -> Checked:
        """As `SessionInboxes.check`."""
        self.checks.append(asyncio.get_running_loop().create_future())
        return await self.checks[-1]

    def fresh(self, page: Page) -> bool:
        """As `SessionInboxes.fresh`."""
        return (self.clock.steady - page.asked) * 1000 <= FRESH_MS

    def payload(self, _: Reader, waiting: Waiting) -> bytes | None:
        """As `SessionInboxes.payload`, with the record itself as the push."""
        reference, message = waiting
        if reference.hole:
            place = (reference.number, reference.time_ms, reference.peer, reference.seq)
            return codec.encode(Reset(*place))
        return None if message is None else message.record

    def now_ms(self) -> int:
        """As `SessionInboxes.now_ms`."""
        return 1000

    def ack(self, *said: Any) -> None:
        """As `SessionInboxes.ack`."""
        self.saved.append(said)


class Setting:
    """A delivery of an inbox that goes on after number `START`."""

    def __init__(self) -> None:
        self.inbox, self.line, self.tasks = Inbox(), Line(), Tasks()
        self.counts = Counts()
        self.ended: list[codes.CloseCode] = []
        inboxes = cast("SessionInboxes", self.inbox)
        reader = Reader("app", "alice", "d", "s" * 16, False)
        cursor = Cursor("e", START * 10, START)
        attached = Attached(cursor, START, True, None, page(here=START))
        self.hold = DeviceHold(
            inboxes,
            Saving(),
            self.tasks,
            reader,
            attached,
            end=self.ended.append,
            blocks=lambda _: None,
        )
        wire, end = cast("Wire", self.line), self.ended.append
        self.delivery = Delivery(inboxes, self.counts, self.tasks, wire, self.hold, end, seen_ms=0)

    @property
    def state(self) -> DeliveryState:
        """Where the delivery is."""
        return self.delivery.state

    def at(self, state: DeliveryState) -> bool:
        """True where the delivery is there."""
        return self.state is state

    def stored(self, number: int, *, late: bool = False) -> None:
        """Number `number` was stored, and is heard of; too late to be pushed as it came, if
        `late`."""
        self.delivery.stored(number, number * 10, None if late else b"%d" % number)

    async def page_asked(self) -> asyncio.Future[Page]:
        """The next page that is asked for."""
        await until(lambda: self.inbox.pages)
        return self.inbox.pages.popleft()

    async def answer(self, page: Page) -> None:
        """Answer the next page, and wait until it was dealt with."""
        (await self.page_asked()).set_result(page)
        await until(lambda: self.inbox.pages or self.state is not DeliveryState.READING)

    async def checked(self, top: int, epoch: str = "e") -> None:
        """Answer the next check: the inbox goes up to `top`."""
        await until(lambda: self.inbox.checks)
        self.inbox.checks.popleft().set_result(Checked(epoch, top, "s" * 16, Revocations()))

    async def idle(self) -> None:
        """Every task has ended."""
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
