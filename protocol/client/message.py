"""What `Client.messages` yields and `Client.send` returns."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct


class Message(Struct, frozen=True):
    """One message of the user's inbox.

    Attributes:
        id: 16 bytes, the same for everyone who got the message.
        sender, to: user ids.
        time: when the gateway accepted it, in milliseconds since 1970.
        kind: what the body is; ``text`` is UTF-8.
        body: as the sender gave it.
        seq: its number in this user's inbox, within `epoch`.
        ms: when it was stored in the inbox, in milliseconds since 1970.
        epoch: names the inbox's numbering.
        own: the connected user sent it, from this device or another.
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

    @property
    def peer(self) -> str:
        """The conversation, as `Client.send` calls it: the other user. Empty for a notice."""
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
