"""The readers of an inbox, and their positions in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, Self

from homeport.frames import Cursor

from gateway.redis.errors import OperationFailed
from gateway.store.blocks import NOBODY
from gateway.store.endings import End, Loss

DISPLACED: Final = "!"
"""Instead of a session: the device had to make room for another."""


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
    """A session that comes: `issued_ms` is when its token was issued, `digest` names that token;
    `cursor` is the client's own, None where it has none; `platform` is what the device runs on, ""
    where it does not say."""

    issued_ms: int
    cursor: Cursor | None = None
    platform: str = ""
    digest: str = ""


class Revocations(NamedTuple):
    """Which tokens of a user are void: those issued before `before_ms`, 0 where there are none, and
    those whose digest is among `tokens`."""

    before_ms: int = 0
    tokens: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, fields: list[bytes]) -> Self:
        """Read what HGETALL returned."""
        found = dict(zip(fields[::2], fields[1::2], strict=True))
        before_ms = int(found.pop(b"before", 0))
        return cls(before_ms, frozenset(digest.decode() for digest in found))


class Progress(NamedTuple):
    """How far a device has come: it has dealt with everything up to `cursor`. With `end`, its
    session is over. `loss` is the last that it was told of, where that is new."""

    cursor: Cursor
    end: End | None = None
    loss: Loss | None = None


class TokenRevoked(OperationFailed):
    """The token is older than the user's revocation time, or was revoked by itself."""


class TooManyDevices(OperationFailed):
    """The user's device limit is reached, and no device is replaced."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The state of a device by `InboxStore.check`.

    `epoch` is empty where the session's numbering, or its device's row, is void; `holder` is the
    session that has the device, or `DISPLACED`; `block_change` is `BlockedBy.change` as it is now.
    """

    epoch: str
    top: int
    holder: str
    revoked: Revocations
    block_change: int = NOBODY.change
