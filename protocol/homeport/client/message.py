"""What `Client.messages` and `Conversation.history` yield and `Client.send` returns.

A message's id is 16 bytes on the wire, and 32 hexadecimal digits here, as in logs and in the CLI.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from msgspec import Struct

from homeport import frames
from homeport.client import checks, notices
from homeport.client.notices import Notice

_NOTHING = frames.Extra()


def text_of(kind: str, body: bytes) -> str:
    """A body as a text; never raises, because any user can send any bytes.

    Bytes that are not UTF-8 become U+FFFD. A body that is meant for programs has the text "": a
    body of the kind ``binary``, and of the server's own kinds (``homeport.group``,
    ``homeport.recall``, ``homeport.edit``; `Message.notice` is what those say).
    """
    if kind == "binary" or kind.startswith("homeport."):
        return ""
    return body.decode(errors="replace")


class Message(Struct, frozen=True):
    """One message of the user's inbox, or of a conversation's history.

    Attributes:
        id: 32 hexadecimal digits, the same for all recipients of the message.
        sender: a user id; empty in a notice of the server.
        to: a user id, or ``g:`` and a group's id.
        time: when the gateway accepted it, in milliseconds since 1970.
        kind: what the body is: ``text``, ``binary``, one that the sender chose, or one of the
            server's own, which begin with ``homeport.``.
        body: as the sender gave it.
        seq: its number in this user's inbox, within `epoch`; in history, its number in the
            conversation; 0 for one that is in neither.
        stored: when it was stored there, in milliseconds since 1970.
        epoch: names the inbox's numbering; "" for a message that did not come from the inbox.
        own: the connected user sent it, from this device or another.
        mentions: ids of the users whom the message mentions.
        reply: the id of the message that this one answers, or None.
        expires: when its own time to live ends, in milliseconds since 1970, or None.
        edits: how often its sender edited it.
        edited: when they last did, in milliseconds since 1970, or None.
    """

    id: str
    sender: str
    to: str
    time: int
    kind: str
    body: bytes
    seq: int
    stored: int
    epoch: str
    own: bool
    mentions: tuple[str, ...] = ()
    reply: str | None = None
    expires: int | None = None
    edits: int = 0
    edited: int | None = None

    @classmethod
    def of(cls, inner: frames.Message, user: str, seq: int, stored: int, epoch: str = "") -> Self:
        """What `user` is shown of a frame's message."""
        extra = inner.extra or _NOTHING
        return cls(
            inner.id.hex(),
            inner.sender,
            inner.to,
            inner.time,
            inner.kind,
            inner.body,
            seq,
            stored,
            epoch,
            inner.sender == user,
            extra.mentions,
            extra.reply,
            extra.expires,
            extra.edits,
            extra.edited,
        )

    @property
    def peer(self) -> str:
        """What `Client.conversation` calls the conversation: the other user's id, or ``g:`` and the
        group's. A notice of the server that is about no group has none: "".
        """
        return self.to if self.own or ":" in self.to else self.sender

    @property
    def text(self) -> str:
        """The body as a text; "" for programs' bodies, and U+FFFD for what is not UTF-8."""
        return text_of(self.kind, self.body)

    @property
    def notice(self) -> Notice | None:
        """What the server reports: that a group changed, or that a message was recalled or edited.

        None for every other message, and for a notice of a newer server that can't be read.
        """
        return notices.read(self.kind, self.sender, self.body)

    def __repr__(self) -> str:
        # Messages end up in logs; bodies and user ids must not.
        return f"<Message {self.id} seq={self.seq} kind={self.kind!r} {len(self.body)} bytes>"


@dataclass(frozen=True, slots=True)
class Sent:
    """An accepted message.

    Attributes:
        id: 32 hexadecimal digits.
        time: when the gateway accepted it, in milliseconds since 1970.
        peer: the recipient, as it was given to `Client.send`.
    """

    id: str
    time: int
    peer: str

    def __repr__(self) -> str:
        # It ends up in logs; user ids must not.
        return f"<Sent {self.id}>"


MessageRef = Message | Sent
"""What names a message: one that this client was handed, or what a send returned."""


def named(message: MessageRef) -> tuple[str, bytes, int]:
    """How a request names `message`: the conversation, the id, and the time, by which it is found.

    Raises:
        TypeError: it is no message.
        ValueError: it is a notice of the server, which is in no conversation.
    """
    checks.instance("message", message, Message, Sent)
    if not message.peer:
        raise ValueError("message is a notice of the server, not a message of a conversation")
    return message.peer, wire_id(message), message.time


def wire_id(message: MessageRef | str) -> bytes:
    """The 16 bytes of the id of `message`, or of the id that `message` is.

    Raises:
        TypeError: it is something else.
        ValueError: it is a text that is no id.
    """
    checks.instance("the message", message, Message, Sent, str)
    return checks.hex_id("the message's id", message if isinstance(message, str) else message.id)
