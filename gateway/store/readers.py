"""The readers of an inbox, and their positions in it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import dropwhile
from typing import Final

from gateway.redis.errors import OperationFailed
from gateway.store.blocks import NOBODY, BlockedBy
from gateway.store.entries import Entry
from protocol.frames import Cursor

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


class TokenRevoked(OperationFailed):
    """The token is older than the user's revocation time."""


class TooManyDevices(OperationFailed):
    """The user's device limit is reached, and no device is replaced."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The state of a device by `InboxStore.check`.

    `epoch` is empty where the session's numbering, or its device's row, is void; `holder` is the
    session that has the device, or `DISPLACED`; `revoked_before_ms` is 0 where nothing was revoked;
    `block_change` is `BlockedBy.change` as it is now.
    """

    epoch: str
    top: int
    top_ms: int
    holder: str
    revoked_before_ms: int
    block_change: int = NOBODY.change


def where_it_stands(
    start: Cursor,
    top_ms: int,
    top: int,
    resumed: bool,
    entries: list[Entry],
    blocked_by: BlockedBy,
    now_ms: int,
    seen_ms: int,
) -> DeviceState:
    """Where a device stands that goes on at `start`, with `entries` from there on: not before what
    was dropped, or has expired by `now_ms`."""
    left = list(dropwhile(lambda entry: entry.expired(now_ms), entries))
    # What is missing between the cursor and the first that is left was dropped; where none is left,
    # everything read here was, or everything up to the top.
    if left:
        ms, gone = left[0].ms, left[0].seq - 1
    elif entries:
        ms, gone = entries[-1].ms, entries[-1].seq
    else:
        ms, gone = top_ms, top
    if gone == start.seq:
        return DeviceState(start, top, resumed, None, left, blocked_by, seen_ms)
    before = Cursor(start.epoch, ms, gone)
    return DeviceState(before, top, False, (start.seq + 1, gone), left, blocked_by, seen_ms)
