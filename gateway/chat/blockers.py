"""The users who block a principal's user, as far as its door has heard.

A door without sessions reads them for each principal. A session reads them as it attaches, and
hears of each change on the user's channel. Changes are numbered without a hole, so a missed change
is noticed, and the whole set is read again.
"""

from __future__ import annotations

from homeport import codes

from gateway.chat.refused import Refused
from gateway.store.blocks import NOBODY, BlockedBy
from gateway.store.events import BlockChanged


class _Unread(frozenset[str]):
    """The blockers of a user while nobody has read them: it can't be said who is one."""

    def __contains__(self, _: object) -> bool:
        raise Refused(codes.UNAVAILABLE, retry_after=1.0)

    def __or__(self, _: object) -> _Unread:
        return self

    def __sub__(self, _: object) -> _Unread:
        return self


class Blockers:
    """The blockers that the store had when they were read."""

    __slots__ = ("_users",)

    def __init__(self, users: frozenset[str]) -> None:
        self._users = users

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
    """Blockers that a session keeps up to date. Starts while the first reading is under way: until
    `read` ends it, whoever asks is refused with unavailable."""

    __slots__ = ("_change", "_heard")

    def __init__(self) -> None:
        super().__init__(_Unread())
        self._change = 0
        self._heard: list[BlockChanged] | None = []  # while reading

    def differs(self, change: int) -> bool:
        """True when the store is at another change than this."""
        return change != self._change

    def begin(self) -> bool:
        """Another reading begins; False where one is under way already."""
        if self._heard is not None:
            return False
        self._heard = []
        return True

    def read(self, state: BlockedBy) -> bool:
        """What the store holds, and on top of it what was heard meanwhile. Returns as `hear`."""
        heard, self._heard = self._heard or [], None
        self._users = state.users or NOBODY.users
        self._change = state.change
        missed = False
        for event in heard:
            missed = self.hear(event) or missed
        return missed

    def failed(self) -> None:
        """The reading failed: whatever comes next, it is to be read again."""
        self._heard = None
        self._change = -1

    def hear(self, event: BlockChanged) -> bool:
        """Take in a change; returns True when one before it was missed, so `begin` and read."""
        if self._heard is not None:
            self._heard.append(event)
        if event.change <= self._change:
            return False
        missed = event.change > self._change + 1
        self._change = event.change
        if event.blocked:
            self._users |= {event.by}
        else:
            self._users -= {event.by}
        return missed
