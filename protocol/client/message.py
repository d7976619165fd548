"""What `Client.messages` and `Client.history` yield and `Client.send` returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from msgspec import Struct

from protocol import frames
from protocol.frames import Place

_NOTHING = frames.Extra()


class Message(Struct, frozen=True):
    """One message of the user's inbox, or of a conversation's history.

    Attributes:
        id: 16 bytes, the same for everyone who got the message.
        sender: a user id; empty where the server itself says something.
        to: a user id, or ``g:`` and a group's id.
        time: when the gateway accepted it, in milliseconds since 1970.
        kind: what the body is; ``text`` is UTF-8.
        body: as the sender gave it.
        seq: its number in this user's inbox, within `epoch`; in history, its number in the
            conversation; 0 for one that is in neither.
        ms: when it was stored there, in milliseconds since 1970.
        epoch: names the inbox's numbering; "" for a message that did not come from the inbox.
        own: the connected user sent it, from this device or another.
        mentions: ids of users it speaks of.
        reply: the id of the message it answers, or None.
        expires: when its own time to live ends, in milliseconds since 1970, or None.
    """

    id: bytes
    sender: str
    to: str
    time: int
    kind: str
    body: bytes
    seq: int
    ms: int
    epoch: str
    own: bool
    mentions: tuple[str, ...] = ()
    reply: bytes | None = None
    expires: int | None = None

    @classmethod
    def of(cls, inner: frames.Message, user: str, seq: int, ms: int, epoch: str = "") -> Self:
        """What `user` is shown of a frame's message."""
        extra = inner.extra or _NOTHING
        return cls(
            inner.id,
            inner.sender,
            inner.to,
            inner.time,
            inner.kind,
            inner.body,
            seq,
            ms,
            epoch,
            inner.sender == user,
            extra.mentions,
            extra.reply,
            extra.expires,
        )

    @property
    def place(self) -> Place:
        """Where a message of `Client.history` stands, for its ``before`` and ``after``."""
        return Place(self.ms, self.seq)

    @property
    def peer(self) -> str:
        """The conversation, as `Client.send` calls it: the other user. A notice has the group's,
        or none."""
        return self.to if self.own or ":" in self.to else self.sender

    @property
    def text(self) -> str:
        """The body as UTF-8.

        Raises:
            UnicodeDecodeError: it is not.
        """
        return self.body.decode()

    def __repr__(self) -> str:
        # Messages end up in logs; bodies and user ids must not.
        return f"<Message {self.id.hex()} seq={self.seq} kind={self.kind!r} {len(self.body)} bytes>"


@dataclass(frozen=True, slots=True)
class Sent:
    """An accepted message: its ``id`` (16 bytes) and ``time`` (milliseconds since 1970)."""

    id: bytes
    time: int
