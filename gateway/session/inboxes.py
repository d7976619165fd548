"""Inboxes, as the sessions of their users use them: by the app and the time as they are now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

from homeport import codec
from homeport.frames import Connect, Cursor, Reset

from gateway.apps.app import App
from gateway.apps.tiers import Tier
from gateway.chat.records import Records
from gateway.clock import Clock
from gateway.security.tokens import Identity
from gateway.store.blocks import NOBODY
from gateway.store.directory import AppDirectory
from gateway.store.inbox import InboxStore, Waiting
from gateway.store.lateness import Lateness
from gateway.store.readers import Arrival, Checked, Progress, Reader
from gateway.store.rows import conversation_of
from gateway.store.stored import Reference


class Page(NamedTuple):
    """What waits in an inbox: numbers `here` + 1 and so on; what is up to `here` is gone.

    `epoch` is that of the inbox' numbering, `top` its last number: where `waiting` ends before, the
    rest is to be asked for. The messages were asked for at `asked`, in steady seconds.
    """

    epoch: str
    top: int
    here: int
    waiting: list[Waiting]
    asked: float


@dataclass(frozen=True, slots=True)
class Attached:
    """Where a device stands as it connects.

    Pushes follow `cursor`; `top` is the inbox's last number. `page` holds the first of what waits.
    `lost` is the range, both ends included, that was gone before this device acknowledged it.
    `resumed` is true when `cursor` is the client's own and nothing is lost. `block_change`,
    `seen_ms` and `since_ms` are those of `Standing`.
    """

    cursor: Cursor
    top: int
    resumed: bool
    lost: tuple[int, int] | None
    page: Page
    block_change: int = NOBODY.change
    seen_ms: int = 0
    since_ms: int = 0


class SessionInboxes:
    """One per process. `records` open what `store` holds.

    Each method but `attach`, `check`, `now_ms` and `fresh` may raise as `AppDirectory.known`; those
    that ask the store, as its method of the same name.
    """

    def __init__(
        self,
        store: InboxStore,
        records: Records,
        lateness: Lateness,
        directory: AppDirectory,
        clock: Clock,
    ) -> None:
        self._store = store
        self._records = records
        self._lateness = lateness
        self._directory = directory
        self._clock = clock

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._clock.wall_ms()

    async def attach(
        self, reader: Reader, app: App, identity: Identity, frame: Connect
    ) -> Attached:
        """Have `reader` take the device, as its connect `frame` asks; `identity` is of its
        token."""
        issued_ms = identity.issued_s * 1000
        arrival = Arrival(issued_ms, frame.cursor, frame.platform, identity.digest)
        now_ms = self._clock.wall_ms()
        standing = await self._store.attach(reader, app.tier, arrival, now_ms, app.device_policy)
        if not (standing.seen_ms or reader.ephemeral):
            self._store.new_device(reader.app_id, app.tier)
        start, here = standing.start, standing.here
        page = await self._read(
            reader, app.tier, start.epoch, standing.top, here, standing.references
        )
        # The device does not begin before what was dropped, or has ended.
        cursor = Cursor(start.epoch, 0, here) if here > start.number else start
        for reference, _ in takewhile(lambda each: _is_gone(each), page.waiting):
            cursor = Cursor(start.epoch, reference.time_ms, reference.number)
        lost = None if cursor == start else (start.number + 1, cursor.number)
        return Attached(
            cursor,
            standing.top,
            standing.resumed and lost is None,
            lost,
            page,
            standing.block_change,
            standing.seen_ms,
            standing.since_ms,
        )

    async def page(self, reader: Reader, after: int, most: int) -> Page:
        """Read up to `most` of what follows number `after`."""
        tier = self._directory.known(reader.app_id).tier
        epoch, top, here, references = await self._store.page(
            reader.app_id, reader.user, after, most
        )
        return await self._read(reader, tier, epoch, top, here, references)

    async def _read(
        self,
        reader: Reader,
        tier: Tier,
        epoch: str,
        top: int,
        here: int,
        references: list[Reference],
    ) -> Page:
        asked = self._clock.steady()
        waiting = await self._store.messages(
            reader.app_id, tier, reader.user, references, self._clock.wall_ms()
        )
        return Page(epoch, top, here, waiting, asked)

    def fresh(self, page: Page) -> bool:
        """False where what `page` holds may have been recalled since it was read."""
        age_ms = (self._clock.steady() - page.asked) * 1000
        return self._lateness.fresh(self._clock.wall_ms() - age_ms)

    def check(self, reader: Reader, cursor: Cursor, since_ms: int) -> Awaitable[Checked]:
        """Compare what `reader`, connected since `since_ms`, believes with the store."""
        return self._store.check(reader, cursor, since_ms, self._clock.wall_ms())

    def ack(self, saved: Callable[[Any], None], reader: Reader, progress: Progress) -> None:
        """Save what `reader` acknowledged; `saved` is called with the store's answer."""
        tier = self._directory.known(reader.app_id).tier
        self._store.ack(saved, reader, tier, progress, self._clock.wall_ms())

    def payload(self, reader: Reader, waiting: Waiting) -> bytes | None:
        """What `reader` is sent for one number of the inbox; None where it can be shown nothing.

        Raises:
            UnknownKeyVersion: as `Records.open`.
        """
        (number, peer, seq, ms, _, hole), message = waiting
        if hole:
            return codec.encode(Reset(number, ms, peer, seq))
        if message is None or message.record is None:
            return None
        if message.expires_ms is not None and message.expires_ms <= self._clock.wall_ms():
            return None  # it has ended since it was read
        app = self._directory.known(reader.app_id)
        opened = self._records.readable(app, conversation_of(reader.user, peer), message.record)
        return None if opened is None else codec.push_bytes(number, ms, seq, opened)


def _is_gone(waiting: Waiting) -> bool:
    """Whether nothing is left of one number of an inbox."""
    return waiting.message is None and not waiting.reference.hole
