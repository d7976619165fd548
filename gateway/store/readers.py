"""The readers of an inbox, and their positions in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import dropwhile
from typing import Final, NamedTuple, Self

from homeport.frames import Cursor

from gateway.redis.errors import OperationFailed
from gateway.store.blocks import NOBODY, BlockedBy
from gateway.store.endings import End, Loss
from gateway.store.entries import Entry

DISPLACED: Final = "!"
"""Instead of a session: the device had to make room for another."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """Where a device stands as it connects.

    Pushes follow `cursor`; `top` is the inbox's last number. `entries` are the first of those that
    wait; there are more when the last of them is below `top`. `lost` is the range, both ends
    included, that was dropped before this device acknowledged it. `resumed` is true when `cursor`
    is the client's own and nothing is lost. `seen_ms` is when an earlier session of the device was
    seen last, 0 where there was none. `since_ms` is since when this one is connected; it is later
    than that of each earlier session of the device.
    """

    cursor: Cursor
    top: int
    resumed: bool
    lost: tuple[int, int] | None
    entries: list[Entry]
    blocked_by: BlockedBy = NOBODY
    seen_ms: int = 0
    since_ms: int = 0

    def past_what_is_gone(self, top_ms: int, now_ms: int) -> Self:
        """The same device, with `entries` as they were read: it does not stand before what was
        dropped, or has expired by `now_ms`. `top_ms` is the time of the inbox's last number."""
        start = self.cursor
        left = list(dropwhile(lambda entry: entry.expired(now_ms), self.entries))
        # What is missing between the cursor and the first that is left was dropped; where none is
        # left, everything read here was, or everything up to the top.
        if left:
            ms, gone = left[0].ms, left[0].seq - 1
        elif self.entries:
            ms, gone = self.entries[-1].ms, self.entries[-1].seq
        else:
            ms, gone = top_ms, self.top
        if gone == start.number:
            return replace(self, entries=left)
        return replace(
            self,
            cursor=Cursor(start.epoch, ms, gone),
            resumed=False,
            lost=(start.number + 1, gone),
            entries=left,
        )


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader of an inbox: one device of one user, as session `session`.

    An `ephemeral` reader is not a device, and nothing of it is kept.
    """

    app_id: str
    user: str
    device: str
    session: str
    ephemeral: bool = False

    @property
    def row(self) -> str:
        """The field of its row in the user's hash."""
        return f"s:{self.session}" if self.ephemeral else f"d:{self.device}"


class Arrival(NamedTuple):
    """A session that comes: `issued_ms` is when its token was issued; `cursor` is the client's own,
    None where it has none; `platform` is what the device runs on, "" where it does not say."""

    issued_ms: int
    cursor: Cursor | None = None
    platform: str = ""


class Progress(NamedTuple):
    """How far a device has come: it has dealt with everything up to `cursor`. With `end`, its
    session is over. `loss` is the last that it was told of, where that is new."""

    cursor: Cursor
    end: End | None = None
    loss: Loss | None = None


class TokenRevoked(OperationFailed):
    """The token is older than the user's revocation time."""


class TooManyDevices(OperationFailed):
    """The user's device limit is reached, and no device is replaced."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The state of a device by `ReferenceStore.check`.

    `epoch` is empty where the session's numbering, or its device's row, is void; `holder` is the
    session that has the device, or `DISPLACED`; `revoked_before_ms` is 0 where nothing was revoked;
    `block_change` is `BlockedBy.change` as it is now.
    """

    epoch: str
    top: int
    holder: str
    revoked_before_ms: int
    block_change: int = NOBODY.change
