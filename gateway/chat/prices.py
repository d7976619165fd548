"""What each request costs: the one table (SPEC.md section 17.1).

A token stands for what a short direct message costs the region, gateway and Redis together: some
120 us. A price is known before any work is done, from what is asked for: by how many messages are
read, how many inboxes written, how many commands sent. What is known of a group only once it was
read is paid for then, before anything is written (`fan_out`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from gateway.chat.principal import User

_BYTES: Final = 4 * 1024
"""Bytes of a body that cost one token: 32 KiB are 0.9 ms of gateway and Redis, more of its disk."""

_INBOXES: Final = 4
"""Inboxes that one token writes: a message to 1,000 users takes Redis some 16 ms."""

_READ: Final = 8
"""Messages that one token reads, of a page that ends at 128 KiB."""

CHANGE: Final = 2
"""What changes one thing: a mark, a block, a seat, a message."""

_LOOKED: Final = 128
"""Messages, or rows, that one token looks into."""

LIST: Final = 4
"""What reads up to a thousand rows of a user: blocks, unread counts."""

GROUPS: Final = 16
"""A page of a user's groups: two commands for each."""


def send(body: bytes) -> int:
    """A message to one user; a group or a room costs `fan_out` or `heard` besides."""
    return 1 + len(body) // _BYTES


def edit(peer: str, seq: int, body: bytes) -> int:
    """Another text of a message; in a group it costs `fan_out` besides."""
    return CHANGE + len(body) // _BYTES


def fan_out(members: int) -> int:
    """What a message or a notice to a group costs besides, for its members' inboxes."""
    return members // _INBOXES


def told(hearers: int) -> int:
    """What a word that is stored nowhere costs besides, for those who may hear it."""
    return hearers // _READ


def history(peer: str, limit: int, *, before: int | None = None, after: int | None = None) -> int:
    """A page of history."""
    return 1 + limit // _READ


def conversations(limit: int, *, after: Any = None) -> int:
    """A page of conversations: a row, a message and often a bucket's call for each."""
    return 1 + limit // _INBOXES


def payer(user: User) -> Callable[[int], None]:
    """Has `user` pay for what a list or a count costs besides: for messages that must be looked
    into, and for conversations beyond those of one call. Raises `Refused`."""

    def pay(looked_into: int) -> None:
        user.allowance.pay(user.app.tier, looked_into // _LOOKED)

    return pay


def users(users: Sequence[str], expires_s: float = 0) -> int:
    """What is done for each of a list of users; a subscription costs the same however long."""
    return 1 + len(users) // _INBOXES


def join(room: str, *, last: int = 0, epoch: str = "", after: int = 0) -> int:
    """To join a room, with its last messages."""
    return CHANGE + last // _READ
