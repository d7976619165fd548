"""The ends and losses that are noted per user, for operators who ask why messages did not arrive.

The last ends of sessions lie in a list, the newest first; the last loss lies in the user's hash.
The script that saves an acknowledgement (ack.lua) writes both, and they reveal no more than a
device's row in that hash does. Times are milliseconds since 1970.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, Self

ENDS_KEPT: Final = 8
"""Ends of sessions that are kept for a user: some 60 bytes each."""

ENDS_MS: Final = 30 * 24 * 60 * 60 * 1000
"""How long they are kept after the last of them."""

By = Literal["gateway", "client", "nobody"]

_BY: Final[dict[str, By]] = {"g": "gateway", "c": "client", "n": "nobody"}


class Cause(NamedTuple):
    """The side that sent the first close frame, and its code; nobody and 0: the connection broke
    off."""

    by: By
    code: int


BROKEN_OFF: Final = Cause("nobody", 0)


class End(NamedTuple):
    """A session ended."""

    ms: int
    cause: Cause

    def pack(self, session: str, device: str) -> str:
        """As it is kept, with whose it was."""
        return f"{self.ms} {self.cause.by[0]}{self.cause.code} {session} {device}"


class Loss(NamedTuple):
    """A device was told that the numbers `first` to `last` are gone, both included."""

    ms: int
    first: int
    last: int

    def pack(self, device: str) -> str:
        """As it is kept, with whose it was."""
        return f"{self.ms} {self.first} {self.last} {device}"


class NotedEnd(NamedTuple):
    """An `End` as it was kept."""

    ms: int
    cause: Cause
    session: str
    device: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `End.pack` wrote."""
        ms, cause, session, device = text.split(" ")
        return cls(int(ms), Cause(_BY[cause[0]], int(cause[1:])), session, device)


class NotedLoss(NamedTuple):
    """A `Loss` as it was kept."""

    ms: int
    first: int
    last: int
    device: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `Loss.pack` wrote."""
        ms, first, last, device = text.split(" ")
        return cls(int(ms), int(first), int(last), device)
