"""What is asked of a conversation that is to keep a message, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from homeport.limits import DEDUPE_WINDOW_MS

from gateway.redis.errors import Unavailable
from gateway.store.stored import COUNTS


class Stored(NamedTuple):
    """A message was stored as number `seq` at `time_ms`; `repeated` where it was before.

    Of a message that no conversation holds, only the time is known: `seq` is 0.
    """

    seq: int
    time_ms: int
    repeated: bool = False


class StaleMembers(Unavailable):
    """The group has another version than `Recipients` says: `version`, 0 where there is no group.
    Nothing was stored; read the group, and try again."""

    def __init__(self, version: int) -> None:
        super().__init__("stale_members", detail="the group has changed meanwhile; try again")
        self.version = version


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A message for a conversation. `record` is sealed, `time_ms` is when it was accepted.

    `sender` is "" where it is the server. `flags` are those of `gateway.store.stored`.
    `expires_ms` is when its own time to live ends; None: when the tier's does. `event` is what the
    app's webhooks are told of it, "" for nothing: a byte, what of it is wanted
    (`gateway.store.hook_queue`), and the event, sealed. For `remembered_ms` a repetition with the
    same id adds nothing.
    """

    id: bytes
    record: bytes
    time_ms: int
    sender: str = ""
    flags: int = COUNTS
    expires_ms: int | None = None
    event: bytes = b""
    remembered_ms: int = DEDUPE_WINDOW_MS
