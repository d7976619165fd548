"""What `Client.messages` and `Conversation.history` yield and `Client.send` returns.

A message's id is 16 bytes on the wire, and 32 hexadecimal digits here, as in logs and in the CLI.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from msgspec import Struct

from homeport import frames
from homeport.client import checks, notices
from homeport.client.notices import EditNotice, Notice, RecallNotice
from homeport.frames import Cursor

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
    """One message of a conversation, which arrived in the user's inbox or stands in the history.

    Attributes:
        id: 32 hexadecimal digits, the same for all recipients of the message.
        sender: a user id; empty in a notice of the server.
        to: a user id, or ``g:`` and a group's id.
        peer: what `Client.conversation` calls the conversation: the other user's id, or ``g:`` and
            the group's. "" in a notice of a newer server that can't be read.
        seq: its number in the conversation, the same for all who take part; 0 for one that has
            none, because it was sent with ``online_only``.
        time: when the gateway accepted it, in milliseconds since 1970.
        kind: what the body is: ``text``, ``binary``, one that the sender chose, or one of the
            server's own, which begin with ``homeport.``.
        body: as the sender gave it.
        own: the connected user sent it, from this device or another.
        mentions: ids of the users whom the message mentions.
        reply: the `seq` of the message that this one answers, or None.
        expires: when its own time to live ends, in milliseconds since 1970, or None.
        edits: how often its sender edited it.
        edited: when they last did, in milliseconds since 1970, or None.
        cursor: the client's cursor once this message is acknowledged; None for a message that did
            not come from the inbox.
    """

    id: str
    sender: str
    to: str
    peer: str
    seq: int
    time: int
    kind: str
    body: bytes
    own: bool
    mentions: tuple[str, ...] = ()
    reply: int | None = None
    expires: int | None = None
    edits: int = 0
    edited: int | None = None
    cursor: Cursor | None = None

    @classmethod
    def of(cls, inner: frames.Message, user: str, seq: int, cursor: Cursor | None = None) -> Self:
        """What `user` is shown of a frame's message."""
        extra = inner.extra or _NOTHING
        own = inner.sender == user
        peer = inner.to if own or ":" in inner.to else inner.sender or _peer_of_notice(inner, user)
        return cls(
            inner.id.hex(),
            inner.sender,
            inner.to,
            peer,
            seq,
            inner.time,
            inner.kind,
            inner.body,
            own,
            extra.mentions,
            extra.reply,
            extra.expires,
            extra.edits,
            extra.edited,
            cursor,
        )

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
class MessageRef:
    """Names a message, where a method takes one: ``MessageRef("bob", 7)``.

    Attributes:
        peer: the conversation, as `Message.peer`.
        seq: the message's number there.
    """

    peer: str
    seq: int

    def __repr__(self) -> str:
        # It ends up in logs; user ids must not.
        return f"<{type(self).__name__} seq={self.seq}>"


@dataclass(frozen=True, slots=True, repr=False)
class Sent(MessageRef):
    """An accepted message.

    Attributes:
        peer: the recipient, as it was given to `Client.send`.
        seq: its number in the conversation; 0 for one sent with ``online_only`` or to a room.
        id: 32 hexadecimal digits.
        time: when the gateway accepted it, in milliseconds since 1970.
    """

    id: str
    time: int


def named(message: Message | MessageRef) -> tuple[str, int]:
    """How a request names `message`: the conversation and the number in it.

    Raises:
        TypeError: it is no message.
        ValueError: it has no number in a conversation.
    """
    checks.instance("message", message, Message, MessageRef)
    if not message.peer or message.seq < 1:
        raise ValueError("message has no number in a conversation, so nothing can name it")
    return message.peer, message.seq


def numbered(name: str, message: Message | MessageRef | int, peer: str) -> int:
    """The number of `message`, the argument called `name`, in the conversation with `peer`.

    Raises:
        TypeError: it is neither a message nor a number.
        ValueError: it is a message of another conversation, or has no number.
    """
    checks.instance(name, message, Message, MessageRef, int)
    if isinstance(message, int):
        return message
    conversation, seq = named(message)
    if conversation != peer:
        raise ValueError(f"{name} is a message of another conversation")
    return seq


def _peer_of_notice(inner: frames.Message, user: str) -> str:
    """The conversation that a notice of the server between two users is about: it is addressed as
    the message was that it speaks of."""
    if inner.to != user:
        return inner.to
    notice = notices.read(inner.kind, inner.sender, inner.body)
    return notice.sender if isinstance(notice, RecallNotice | EditNotice) else ""
