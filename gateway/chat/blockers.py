"""The users who block a principal's user, as far as its door has heard.

A door without sessions reads them for each principal. The sessions of a user in one process share
them: the first reads them as it connects, all hear of each change on the user's channel, and they
stay in memory for a while after the last. Changes are numbered without a hole, so attaching, which
says the number of the last one, says whether they are still right; a missed change is noticed, and
the whole set is read again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Set
from typing import Final

from homeport import codes

from gateway.chat.refused import Refused
from gateway.store.blocks import NOBODY, BlockedBy, BlockStore, Everybody
from gateway.store.events import BlockChanged

READS: Final = 3
"""How often blockers are read at once, where changes are missed meanwhile. The regular check
compares again."""

IDLE: Final = 200_000
"""The number of blockers that are kept for users who are not connected, about 100 bytes each."""


class _Unread(frozenset[str]):
    """The blockers of a user while nobody has read them: it can't be said who is one."""

    def __contains__(self, _: object) -> bool:
        raise Refused(codes.UNAVAILABLE, retry_after=1.0)


class Blockers:
    """The blockers that the store had when they were read."""

    __slots__ = ("_users",)

    def __init__(self, users: Set[str]) -> None:
        self._users = users

    def __len__(self) -> int:
        return len(self._users)

    def admit(self, recipient: str) -> None:
        """Let the user send to `recipient`.

        Raises:
            Refused: blocked.
        """
        if recipient in self._users:
            raise Refused(codes.BLOCKED)

    def __contains__(self, user: str) -> bool:
        """True where `user` blocks the principal's user."""
        return user in self._users


class HeardBlockers(Blockers):
    """The blockers of `user`, kept up to date by the user's sessions. Before the first `read`,
    whoever asks is refused with unavailable.

    `told` has for each of these sessions what is to be called after a reading.
    """

    __slots__ = ("_change", "_heard", "app_id", "reading", "told", "user")

    def __init__(self, app_id: str, user: str) -> None:
        super().__init__(_Unread())
        self.app_id = app_id
        self.user = user
        self.told: dict[str, Callable[[], None]] = {}
        self.reading: asyncio.Future[None] | None = None
        self._change = -1
        self._heard: list[BlockChanged] | None = []  # since a reading began

    @property
    def known(self) -> bool:
        """Whether the last reading did not fail."""
        return self._change >= 0

    def differs(self, change: int) -> bool:
        """True when the store is at another change than this."""
        return change != self._change

    def begin(self) -> None:
        """A reading begins."""
        if self._heard is None:
            self._heard = []

    def read(self, state: BlockedBy) -> bool:
        """What the store holds, and on top of it what was heard meanwhile. Returns as `hear`."""
        heard, self._heard = self._heard or [], None
        self._users = state.users or NOBODY.users
        self._change = state.change
        missed = False
        for event in heard:
            missed = self.hear(event) or missed
        for tell in tuple(self.told.values()):
            tell()
        return missed

    def failed(self) -> None:
        """The reading failed: whatever comes next, it is to be read again."""
        self._change = -1

    def hear(self, event: BlockChanged) -> bool:
        """Take in a change; returns True when one before it was missed, so that they are to be read
        again."""
        if self._heard is not None:
            self._heard.append(event)
        if event.change <= self._change or isinstance(self._users, _Unread):
            return False
        missed = event.change > self._change + 1
        self._change = event.change
        if isinstance(self._users, Everybody):
            return missed
        if not isinstance(self._users, set):  # from here on changed in place: it may be large
            self._users = set(self._users)
        if event.blocked:
            self._users.add(event.by)
        else:
            self._users.discard(event.by)
        return missed


class BlockerCache:
    """The blockers of the users who are connected to this process, or were lately."""

    def __init__(self, blocks: BlockStore) -> None:
        self._blocks = blocks
        self._held: dict[tuple[str, str], HeardBlockers] = {}
        self._idle: OrderedDict[tuple[str, str], HeardBlockers] = OrderedDict()
        self._idle_users = 0

    def hold(self, app_id: str, user: str, session: str) -> HeardBlockers:
        """Those of `user`, for one more session; `release` them with it."""
        key = app_id, user
        blockers = self._held.get(key)
        if blockers is None:
            blockers = self._idle.pop(key, None)
            if blockers is None:
                blockers = HeardBlockers(app_id, user)
            else:
                self._idle_users -= len(blockers)
            self._held[key] = blockers
        blockers.told[session] = _nothing
        return blockers

    def release(self, blockers: HeardBlockers, session: str) -> None:
        """The session has ended; to say so twice does no harm."""
        if blockers.told.pop(session, None) is None or blockers.told:
            return
        key = blockers.app_id, blockers.user
        del self._held[key]
        if not blockers:
            return
        self._idle[key] = blockers
        self._idle_users += len(blockers)
        while self._idle_users > IDLE:
            _, oldest = self._idle.popitem(last=False)
            self._idle_users -= len(oldest)

    async def attached(self, blockers: HeardBlockers, change: int) -> None:
        """Attaching said that the store is at `change`: read the blockers where they are others.

        Raises:
            Unavailable, CommandFault: they could not be read.
        """
        if not blockers.differs(change):
            return
        if change == NOBODY.change:
            blockers.read(NOBODY)
        else:
            await self.read(blockers)

    async def read(self, blockers: HeardBlockers) -> None:
        """Read them from the store, once for all who ask meanwhile.

        Raises:
            Unavailable, CommandFault: they could not be read; the caller must try again.
        """
        while (other := blockers.reading) is not None:
            await asyncio.wait((other,))
            if blockers.reading is None and blockers.known:
                return
        blockers.reading = asyncio.get_running_loop().create_future()
        try:
            for _ in range(READS):
                blockers.begin()
                state = await self._blocks.blocked_by(blockers.app_id, blockers.user)
                if not blockers.read(state):
                    return
        except BaseException:
            blockers.failed()
            raise
        finally:
            blockers.reading.set_result(None)
            blockers.reading = None


def _nothing() -> None:
    """Whoever holds blockers need not hear of them."""
